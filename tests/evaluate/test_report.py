"""Results, report text, plots: the best system is named, DVC reads the files, the same inputs give the same bytes."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest

from bemerc.cache import Choice
from bemerc.core.errors import CorpusError, DiskError
from bemerc.corpus.manifest import Manifest, write_manifest
from bemerc.evaluate import evaluation, plots, report, report_text, results, test_access, test_set
from bemerc.language.inputs import prompts
from bemerc.language.predict.records import Prediction, best_label, read_predictions, write_predictions
from tests.cli.test_cli import bemerc
from tests.errors import raises
from tests.evaluate.test_baselines import LABELS, corpus, token_file
from tests.interop.test_exchange import face_cache


def predictions(manifest: Manifest, hit: float, seed: int) -> list[Prediction]:
    """Test predictions that are right with probability ``hit``."""
    rng = np.random.default_rng(seed)
    result = []
    for u in manifest.by_split("test"):
        scores = rng.dirichlet(np.ones(len(LABELS)))
        best, gold = int(scores.argmax()), LABELS.index(str(u.label))
        aim = gold if rng.random() < hit else (gold + 1) % len(LABELS)
        scores[[aim, best]] = scores[[best, aim]]
        named = dict(zip(LABELS, map(float, scores), strict=True))
        result.append(Prediction(u.id, u.label, best_label(named), named, None))
    return result


@dataclasses.dataclass(frozen=True)
class World:
    folder: Path
    manifest: Manifest
    hits: dict[str, float]

    @property
    def params(self) -> evaluation.Params:
        return evaluation.Params(variants=tuple(self.hits), resamples=300)

    def run(self, out: str = "results", **more: Any) -> dict[str, Any]:
        files = {name: self.folder / f"{name}.jsonl" for name in self.hits}
        return report.run(
            self.folder / "manifest.jsonl",
            files,
            self.folder / "tokens.h5",
            self.folder / out,
            self.params,
            prompts.Params(),
            **more,
        )

    def text(self, out: str = "results") -> str:
        return (self.folder / out / "report.md").read_text(encoding="utf-8")


def world(folder: Path, hits: dict[str, float], name: str = "tiny") -> World:
    manifest = dataclasses.replace(corpus(), corpora=(name,))
    write_manifest(folder / "manifest.jsonl", manifest.utterances, manifest.labels, manifest.corpora)
    token_file(folder / "tokens.h5", manifest, {"face": 0.7, "pose": 0.0, "audio": 0.1}).close()
    for seed, (variant, hit) in enumerate(hits.items()):
        write_predictions(folder / f"{variant}.jsonl", predictions(manifest, hit, seed))
    return World(folder, manifest, hits)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = world(tmp_path_factory.mktemp("good"), {"T": 0.4, "TV": 0.5, "TVB": 0.98})
    made.run(epochs={"T": made.folder / "nothing.csv"})
    return made


def test_the_report_sets_clips_with_several_faces_apart(good: World) -> None:
    test = [u.id for u in good.manifest.by_split("test")]
    choices = {id_: Choice("speaking", "speaking", 2 + i % 2, 0.9, False) for i, id_ in enumerate(sorted(test)[:7])}
    face_cache(good.folder / "face.h5", test, choices=choices, failures={})
    good.run("crowds", face_cache=good.folder / "face.h5")
    row = next(line for line in good.text("crowds").splitlines() if line.startswith("| several faces"))
    assert row.split("|")[2].strip() == "7"
    assert "several faces" not in good.text()


def test_metrics_are_nested_plain_numbers_and_those_of_evaluate(good: World) -> None:
    metrics = json.loads((good.folder / "results" / "metrics.json").read_text())
    given = {name: predictions(good.manifest, hit, seed) for seed, (name, hit) in enumerate(good.hits.items())}
    expected = evaluation.evaluate(good.manifest, given, good.params)
    for name in given:
        assert metrics["systems"][name]["accuracy"] == expected["systems"][name]["accuracy"]

    def leaves(value: Any) -> list[Any]:
        return [leaf for part in value.values() for leaf in leaves(part)] if isinstance(value, dict) else [value]

    assert all(type(leaf) in (int, float) for leaf in leaves(metrics))


def test_the_report_opens_with_the_results(good: World) -> None:
    opening = good.text().split("## ")[0]
    assert "60 labelled utterances in 20 dialogues, 3 labels" in opening
    assert re.search(r"Behavior's worth, TVB minus TV, is \+\d\d\.\d points of weighted F1 \(interval \+", opening)
    assert "face and body add to words and voice" in opening
    assert "TVB is" in opening
    assert "*perceived* emotion" in opening
    assert "synthetic corpus" not in opening


@pytest.mark.slow
def test_the_report_says_how_often_test_was_used(tmp_path: Path) -> None:
    """The same predictions count once; others count, and the report of the first ones stays the same."""
    made = world(tmp_path, {"T": 0.4, "TVB": 0.6})
    made.run()
    first = made.text()
    assert "Dev picked the epoch and the temperature. Test was used once, here." in first
    made.run()
    assert made.text() == first
    first_predictions = (tmp_path / "TVB.jsonl").read_bytes()
    for seed in (7, 8):
        write_predictions(tmp_path / "TVB.jsonl", predictions(made.manifest, 0.6, seed))
        made.run()
    assert "Test was used before, with other predictions of TVB (2 sets)**" in made.text()
    (tmp_path / "results" / "test_access.jsonl").rename(tmp_path / "results" / "test_looks.jsonl")  # as before 0.2
    made.run()
    assert "TVB (2 sets)**" in made.text()
    made.run("elsewhere")
    assert "Test was used once" in made.text("elsewhere")
    (tmp_path / "TVB.jsonl").write_bytes(first_predictions)
    made.run()
    assert made.text() == first
    (tmp_path / "results" / "test_access.jsonl").write_text("{}\n")
    with pytest.raises(test_set.EvaluationError, match=r"test_access.jsonl: .* Correct or remove it"):
        made.run()


def test_if_the_regression_wins_the_report_says_so(tmp_path: Path) -> None:
    made = world(tmp_path, {"T": 0.3, "TV": 0.3, "TVB": 0.3})
    made.run()
    opening = made.text().split("## ")[0]
    assert "**The plain regression on the prompt's window and tokens beats TVB** by" in opening
    assert re.search(r"Best of all by weighted F1: regression on", opening)
    assert "may be chance" in opening


def test_the_sample_is_called_synthetic_and_its_cases_are_separate(tmp_path: Path) -> None:
    made = world(tmp_path, {"T": 0.4, "TVB": 0.9}, name="sample")
    cases = {u.id: ("words", "all")[i % 2] for i, u in enumerate(made.manifest.utterances)}
    (tmp_path / "truth.jsonl").write_text(
        "\n".join(json.dumps({"id": id_, "case": case}) for id_, case in cases.items())
    )
    truth = results.sample_truth(tmp_path / "truth.jsonl", hint_share=0.3)
    assert truth.ceilings["T"] < truth.ceilings["TV"] < truth.ceilings["TVB"] < 1
    made.run(truth=truth)
    text = made.text()
    assert "synthetic corpus" in text.split("## ")[0]
    assert "Behavior's worth" not in text.split("## ")[0]  # there is no TV to compare with
    assert re.search(r"\| words, face and voice \| 30 \|.*\n\| words only \| 30 \|", text)
    assert "best possible accuracy" in text
    with pytest.raises(CorpusError, match=f"lacks {made.manifest.by_split('test')[0].id}, .* and 55 more"):
        made.run(truth=results.SampleTruth({}, {}))
    with raises(CorpusError, path=tmp_path / "none.jsonl", missing=True):
        results.sample_truth(tmp_path / "none.jsonl", hint_share=0.3)


def test_every_link_of_the_report_leads_somewhere(good: World) -> None:
    links = re.findall(r"\]\(([^)]+)\)", good.text())
    assert len(links) == 4
    assert all((good.folder / "results" / link).is_file() for link in links)


def test_every_markdown_table_has_even_rows(good: World) -> None:
    for block in re.findall(r"(?:^\|.*\n)+", good.text(), flags=re.MULTILINE):
        assert len({line.count("|") for line in block.splitlines()}) == 1


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def test_plot_files_hold_what_dvc_templates_read(good: World) -> None:
    plots = good.folder / "results" / "plots"
    rows = table(plots / "confusion_TVB.csv")
    assert len(rows) == 60
    assert set(rows[0]) == {"actual", "predicted"}
    right = sum(row["actual"] == row["predicted"] for row in rows) / 60
    ladder = {(r["system"], r["metric"]): r for r in table(plots / "ladder.csv")}
    assert float(ladder["TVB", "accuracy"]["value"]) == pytest.approx(right)
    assert len(ladder) == 11 * 3
    labels = [r for r in table(plots / "per_class.csv") if r["system"] == "TVB"]
    assert [r["label"] for r in labels] == list(LABELS)
    assert sum(float(r["support"]) for r in labels) == 60


@pytest.mark.slow
def test_the_same_inputs_give_the_same_bytes(good: World) -> None:
    epochs = {"TVB": good.folder / "epochs.csv"}
    rows = [f"{e},{2 / e},{0.1 * e}" for e in range(1, 5)]
    epochs["TVB"].write_text("\n".join(["epoch,loss,dev_accuracy", *rows]) + "\n")
    good.run("one", epochs=epochs)
    good.run("two", epochs=epochs)
    one, two = (
        {p.relative_to(good.folder / out): p.read_bytes() for p in sorted((good.folder / out).rglob("*.*"))}
        for out in ("one", "two")
    )
    assert one == two
    assert Path("plots/training.png") in one
    assert Path("plots/training.csv") in one
    assert not any(b"Software" in data or b"matplotlib" in data for path, data in one.items() if path.suffix == ".png")


def test_curves_are_what_the_models_folder_tells(tmp_path: Path) -> None:
    table, begun = tmp_path / "epochs.csv", tmp_path / "begun.csv"
    table.write_text("epoch,loss,dev_accuracy\n1,2.0,0.5\n2,0.1,0.75\n")
    begun.write_text("epoch,loss\n")
    assert report.read_curves({"T": table, "TV": begun, "TVB": tmp_path / "none"}) == {
        "T": [{"epoch": 1, "loss": 2.0, "dev_accuracy": 0.5}, {"epoch": 2, "loss": 0.1, "dev_accuracy": 0.75}]
    }


def test_pictures_show_something(good: World) -> None:
    for name in ("ladder", "confusion", "per_class"):
        picture = matplotlib.image.imread(good.folder / "results" / "plots" / f"{name}.png")
        assert min(picture.shape[:2]) > 300
        assert picture[..., :3].std() > 0.1


def test_the_terminal_table_tells_the_same(good: World) -> None:
    metrics = json.loads((good.folder / "results" / "metrics.json").read_text())
    shown = report_text.format_table(metrics)
    value = metrics["systems"]["TVB"]["accuracy"]["value"]
    assert re.search(rf"^TVB: words, voice, face and body +{100 * value:.1f} \[", shown, flags=re.MULTILINE)
    assert re.search(r"^TVB - TV: behavior's worth +\+\d", shown, flags=re.MULTILINE)
    assert len({len(line) for line in shown.splitlines() if line.startswith("---")}) == 1
    assert max(map(len, shown.splitlines())) <= 120


DAMAGE = {
    "cut": lambda text: text[: len(text) // 2],
    "no object": lambda text: "[]",
    "empty": lambda text: "",
    "deep": lambda text: "[" * 100_000,
    "not a number": lambda text: text.replace('"utterances": 60', '"utterances": "\\u001b[2J"'),
    "NaN": lambda text: text.replace('"dialogues": 20', '"dialogues": NaN'),
    "another level": lambda text: json.dumps(json.loads(text) | {"systems": {"T": 3}}),
    "another name": lambda text: json.dumps(
        json.loads(text) | {"differences": {"T": json.loads(text)["systems"]["T"]}}
    ),
    "a metric less": lambda text: text.replace("macro_f1", "macro"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_metrics_are_a_sentence(good: World, tmp_path: Path, kind: str) -> None:
    whole = (good.folder / "results" / "metrics.json").read_text()
    assert results.read_metrics(good.folder / "results" / "metrics.json") == json.loads(whole)
    (tmp_path / "metrics.json").write_text(DAMAGE[kind](whole))
    with pytest.raises(test_set.EvaluationError) as caught:
        results.read_metrics(tmp_path / "metrics.json")
    assert "\x1b" not in str(caught.value)
    shown = bemerc("evaluate", "--show", "--out", tmp_path)
    assert shown.returncode == 1
    assert "Traceback" not in shown.stderr


def test_metrics_of_one_dialogue_can_be_shown_and_say_that_intervals_are_missing(tmp_path: Path) -> None:
    made = world(tmp_path, {"T": 0.4, "TVB": 0.6})
    kept = tuple(u for u in made.manifest.utterances if u.split != "test" or "/dia0_" in u.id)
    alone = dataclasses.replace(made.manifest, utterances=kept)
    write_manifest(tmp_path / "manifest.jsonl", alone.utterances, alone.labels, alone.corpora)
    for seed, variant in enumerate(made.hits):
        write_predictions(tmp_path / f"{variant}.jsonl", predictions(alone, 0.6, seed))
    made.run()
    text = made.text()
    assert "one dialogue is too little for intervals" in text
    assert "% intervals" not in text
    shown = report_text.format_table(results.read_metrics(tmp_path / "results" / "metrics.json"))
    assert "[" not in shown.split("\n", 1)[1]


@pytest.mark.parametrize("line", ["{", '{"variant": "T"}', "3", '{"variant": 1, "test": "a", "predictions": "b"}'])
def test_a_damaged_record_of_test_access_is_a_sentence_and_stays(tmp_path: Path, line: str) -> None:
    made = world(tmp_path, {"T": 0.4})
    (tmp_path / "results").mkdir()
    notes = tmp_path / "results" / test_access.ACCESS_FILE
    notes.write_text(line + "\n")
    with pytest.raises(test_set.EvaluationError):
        test_access.note(tmp_path / "results", made.manifest, {"T": tmp_path / "T.jsonl"})
    assert notes.read_text() == line + "\n"


def test_a_disk_that_refuses_leaves_the_last_report_whole(good: World) -> None:
    good.run("kept")
    folder = good.folder / "kept"
    before = (folder / "metrics.json").read_bytes(), (folder / "report.md").read_bytes()
    (folder / "plots" / "ladder.csv").unlink()
    (folder / "plots" / "ladder.csv").mkdir()  # a folder in the way
    with pytest.raises(DiskError):
        good.run("kept")
    assert ((folder / "metrics.json").read_bytes(), (folder / "report.md").read_bytes()) == before
    assert not list(folder.rglob("*.partial"))


def test_evaluate_and_compare_obey_params_yaml(good: World, tmp_path: Path) -> None:
    """As dvc repro does: the same resamples, seed and confidence, else two commands give two intervals."""
    data = tmp_path / "data"
    data.mkdir()
    for name in ("manifest.jsonl", "tokens.h5"):
        (data / name).symlink_to(good.folder / name)
    (tmp_path / "params.yaml").write_text(
        "evaluate: {variants: [T], resamples: 200, seed: 3, confidence: 0.5}\n"
        "prompt: {window: 2, windowing: sliding, template: plain, repeat_target_utterance: true}\n"
    )
    files = [good.folder / f"{name}.jsonl" for name in ("T", "TVB")]
    output = bemerc("evaluate", *files, "--data", data, "--out", tmp_path / "judged", cwd=tmp_path)
    assert output.returncode == 0, output.stderr
    metrics = results.read_metrics(tmp_path / "judged" / "metrics.json")
    params = evaluation.Params(variants=("T", "TVB"), resamples=200, seed=3, confidence=0.5)
    given = {name: read_predictions(good.folder / f"{name}.jsonl") for name in ("T", "TVB")}
    expected = evaluation.evaluate(good.manifest, given, params)["systems"]["T"]["accuracy"]
    assert metrics["systems"]["T"]["accuracy"] == expected
    compared = json.loads(bemerc("compare", *files, "--data", data, "--json", cwd=tmp_path).stdout)
    assert (compared["resamples"], compared["confidence"]) == (200, 0.5)
    assert compared["rows"][0]["measured"]["accuracy"] == pytest.approx(expected)
    elsewhere = bemerc("compare", *files, "--data", data, "--json", "--params", tmp_path / "none.yaml", cwd=tmp_path)
    assert elsewhere.returncode == 1


def test_a_variant_without_a_file_is_named(good: World) -> None:
    files = {"T": good.folder / "T.jsonl"}
    with pytest.raises(test_set.EvaluationError, match="No predictions were named for TV, TVB;"):
        report.run(
            good.folder / "manifest.jsonl",
            files,
            good.folder / "tokens.h5",
            good.folder / "no",
            good.params,
            prompts.Params(),
        )
    (good.folder / "empty.jsonl").write_text("")
    files |= {"TV": good.folder / "empty.jsonl", "TVB": good.folder / "TVB.jsonl"}
    with raises(test_set.EvaluationError, path="TV", missing=True):
        report.run(
            good.folder / "manifest.jsonl",
            files,
            good.folder / "tokens.h5",
            good.folder / "no",
            good.params,
            prompts.Params(),
        )
    assert not (good.folder / "no").exists()


def test_names_of_a_corpus_cannot_break_a_table() -> None:
    assert report_text.cell("A|B\nC") == "A\\|B C"
    assert report_text.cell("") == "(no name)"
    assert report_text.cell("[a](http://b) `c` <d> \u202e") == "\\[a\\](http://b) \\`c\\` \\<d\\> \\\\u202e"


def test_a_label_that_looks_like_a_formula_is_drawn_as_text(tmp_path: Path) -> None:
    labels = ("joy$\\frac$", "\x1b[2J\u9ad8" + "x" * 5000)
    plots.save_confusions(tmp_path / "a.png", labels, {"$\\frac$": np.eye(2, dtype=np.int64)})
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
