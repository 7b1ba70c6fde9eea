"""``bemerc conflict evaluate``: models and predictions files in, a page out; what cannot be judged is refused before it costs."""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bemerc.core.errors import CorpusError, ModelError
from bemerc.corpus import provenance
from bemerc.corpus.conflict import ConflictItem, ConflictSet, Subset, must_fit, read_conflict_set, write_conflict_set
from bemerc.corpus.manifest import write_manifest
from bemerc.evaluate import evaluation, test_access, test_set
from bemerc.evaluate.conflict import judge, plot, report, sets, summary, systems, text
from bemerc.evaluate.conflict.items import System
from bemerc.language.inputs import prompts
from bemerc.language.predict import score_labels
from bemerc.language.predict.records import write_predictions
from bemerc.language.train import merc
from tests import toy_language as language
from tests.cli.test_cli import bemerc
from tests.conflict_world import conflict_set, system

PARAMS = evaluation.Params(resamples=200)
HOW = score_labels.Params(device="cpu")


class World:
    """A project with two models, TVB and T, and conflict items that pair what the toy corpus has."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data, self.models = folder, folder / "data", folder / "models" / "merc"
        self.manifest = language.manifest({"train": 6, "dev": 2, "test": 6})
        of = self.manifest
        write_manifest(self.data / "manifest.jsonl", of.utterances, of.labels, of.corpora)
        tokens = language.write(self.data / "tokens.h5", self.manifest)
        backbone = language.build(folder / "models" / "backbone", self.manifest)
        training = replace(language.TRAINING, epochs=1)
        for name in ("TVB", "T"):
            inputs, to = replace(merc.variants.LADDER[name], align=False), self.models / name
            merc.run(name, self.manifest, tokens, {}, None, prompts.Params(), backbone, training, to, None, inputs)
        shutil.copytree(self.models / "TVB", self.models / "again")
        self.conflicts = self.items()
        write_conflict_set(self.data / "conflict.jsonl", self.conflicts)
        (folder / "params.yaml").write_text("evaluate: {variants: [T, TVB], resamples: 200}\n")

    def items(self) -> ConflictSet:
        """All of test: each subset in turn, and recombinations of the consistent ones."""
        subsets: tuple[Subset, ...] = ("consistent", "video_aligned", "audio_aligned")
        made, agreeing = [], []
        for i, u in enumerate(self.manifest.by_split("test")):
            assert u.label is not None
            other = language.LABELS[(language.LABELS.index(u.label) + 1) % 3]
            subset = subsets[i % 3]
            voice, face = {"consistent": (u.label, u.label), "video_aligned": (other, u.label)}.get(
                subset, (u.label, other)
            )
            item = ConflictItem(
                u.id, "predictors", subset, "test", u.dialogue, u.id, u.id, u.label, voice, face, 0.8, 0.4
            )
            made.append(item)
            agreeing += [item] if subset == "consistent" else []
        for a, b in pairwise(agreeing):
            made.append(
                replace(
                    a,
                    id=f"{a.id} ~ {b.id}",
                    way="recombined",
                    subset="other",
                    face_of=b.id,
                    label=None,
                    label_face=b.label_face,
                )
            )
        learned = provenance.learned(self.manifest)
        return ConflictSet(
            tuple(sorted(made, key=lambda one: one.id)), self.manifest.labels, learned, {}, (0.3, 0.4, 0.5)
        )

    def run(self, *words: str | Path) -> Any:
        return bemerc("conflict", "evaluate", *words, cwd=self.folder)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("conflict"))


def test_models_of_the_params_are_judged_and_the_page_links_what_is_there(world: World) -> None:
    answer = world.run()
    assert answer.returncode == 0, answer.stderr
    out = world.folder / "results" / "conflict"
    page = (out / summary.PAGE).read_text()
    for link in re.findall(r"\]\(([^)]+)\)", page):
        assert (out / link).is_file(), link
    document = json.loads((out / summary.JSON_FILE).read_text())
    assert list(document["systems"]) == ["TVB"], "T reads neither face nor voice"
    assert document["systems"]["TVB"]["recombined"]["shifts"]["face"]["to_new"]["value"] is not None
    with (out / report.ITEMS_FILE).open(encoding="utf-8-sig", newline="") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    assert set(rows) == {item.id for item in world.conflicts.items}
    mixed = next(row for row in rows.values() if row["way"] == "recombined")
    assert float(mixed["TVB_p_voice"]) <= 1
    assert mixed["TVB_face_swapped"]
    assert (out / test_access.ACCESS_FILE).is_file()
    assert summary.section(world.folder / "results")[1].count("\n") == 2, "a line per system below the head"


def test_seeds_a_baseline_and_a_predictions_file_stand_side_by_side(world: World) -> None:
    model = score_labels.MercModel(world.models / "TVB")
    with language.file.open_tokens(world.data / "tokens.h5") as tokens:
        predictions = model.score(world.manifest, tokens, ("test",), HOW)
    write_predictions(world.folder / "theirs.jsonl", predictions)
    answer = world.run(
        "two=models/merc/TVB",
        "two=models/merc/again",
        "--baseline",
        "theirs.jsonl",
        "--split",
        "test",
        "--out",
        "o",
        "--json",
    )
    assert answer.returncode == 0, answer.stderr
    rows = json.loads(answer.stdout)["systems"]
    assert (rows["two"]["seeds"], rows["theirs"]["seeds"]) == (2, 1)
    assert rows["theirs"]["recombined"] is None, "a predictions file knows no recombined items"
    assert rows["two"]["gap"]["value"] == pytest.approx(rows["theirs"]["gap"]["value"]), "the same model"
    assert rows["two"]["against"]["specificity"]["gap"]["value"] == pytest.approx(0)
    table = world.run("models/merc/TVB", "--out", "o", "--latex")
    assert r"\begin{tabular}" in table.stdout


def test_a_split_without_items_is_a_page_that_says_so(world: World) -> None:
    answer = world.run("models/merc/TVB", "--split", "dev", "--out", "nothing")
    assert answer.returncode == 0, answer.stderr
    out = world.folder / "nothing"
    assert text.NOTHING in (out / summary.PAGE).read_text()
    assert (out / report.PICTURE).is_file()
    assert json.loads((out / summary.JSON_FILE).read_text())["systems"] == {}
    assert not (out / test_access.ACCESS_FILE).exists()


def test_an_empty_set_gives_its_reason(world: World, tmp_path: Path) -> None:
    empty = replace(world.conflicts, items=(), made={"nothing": "Both sides are at chance."})
    write_conflict_set(tmp_path / "conflict.jsonl", empty)
    assert world.run("--items", tmp_path / "conflict.jsonl", "--out", tmp_path).returncode == 0
    assert "Both sides are at chance." in (tmp_path / summary.PAGE).read_text()
    assert summary.section(tmp_path.parent) == []


def test_the_second_look_at_test_with_other_answers_is_counted(tmp_path: Path, world: World) -> None:
    of = conflict_set()
    for follows, before in ((0.5, 0), (0.6, 1), (0.6, 1)):
        one = system(of, "M", follows)
        assert test_access.note(tmp_path, world.manifest, {"M": systems.digest(one)}) == {"M": before}


def test_a_model_that_reads_neither_side_is_refused(world: World) -> None:
    with pytest.raises(systems.DeafModelError) as caught:
        systems.checked({"T": [world.models / "T"]}, world.manifest.labels)
    assert caught.value.name == "T"
    answer = world.run("models/merc/T")
    assert answer.returncode == 1
    assert answer.stderr.strip() == str(caught.value).replace(f"{world.folder}/", "")


def test_a_model_of_other_labels_and_an_unknown_baseline_are_refused(world: World) -> None:
    with pytest.raises(ModelError):
        systems.checked({"TVB": [world.models / "TVB"]}, ("neutral", "joy"))
    with pytest.raises(systems.SystemNameError) as caught:
        systems.checked({"TVB": [world.models / "TVB"]}, world.manifest.labels, "LoRA")
    assert caught.value.name == "LoRA"


def test_items_of_another_manifest_are_stale(world: World) -> None:
    place = world.data / "conflict.jsonl"
    with pytest.raises(provenance.StaleError) as caught:
        must_fit(replace(world.conflicts, manifest="0" * 32), world.manifest, place, "test")
    assert caught.value.actual == "0" * 32
    must_fit(read_conflict_set(place), world.manifest, place, "test")


def test_items_whose_test_split_has_changed_since_are_refused(world: World) -> None:
    """The fingerprint is of train and dev alone."""
    turns = world.manifest.utterances
    gone = replace(world.manifest, utterances=tuple(u for u in turns if u.id != "made/test/d0_u0"))
    other = replace(
        world.manifest,
        utterances=tuple(
            replace(u, label="anger" if u.label == "joy" else "joy") if u.split == "test" else u for u in turns
        ),
    )
    for manifest in (gone, other):
        with pytest.raises(CorpusError):
            must_fit(world.conflicts, manifest, world.data / "conflict.jsonl", "test")


def test_predictions_that_lack_an_item_are_refused(world: World, tmp_path: Path) -> None:
    model = score_labels.MercModel(world.models / "TVB")
    with language.file.open_tokens(world.data / "tokens.h5") as tokens:
        predictions = model.score(world.manifest, tokens, ("test",), HOW)
    write_predictions(tmp_path / "p.jsonl", predictions[1:])
    with pytest.raises(test_set.EvaluationError, match=predictions[0].id):
        systems.predicted(tmp_path / "p.jsonl", world.manifest, world.conflicts, "test")


@pytest.mark.slow
def test_a_corpus_without_conflict_is_an_error_or_an_empty_set_that_says_why(world: World, tmp_path: Path) -> None:
    """In the toy corpus face and voice always show the label."""
    words = ("conflict", "build", "data/manifest.jsonl", "--set", "conflict.ways=[predictors]", "--out")
    refused = bemerc(*words, tmp_path / "no.jsonl", cwd=world.folder)
    assert refused.returncode == 1
    assert not (tmp_path / "no.jsonl").exists()
    answer = bemerc(*words, tmp_path / "empty.jsonl", "--or-empty", cwd=world.folder)
    assert answer.returncode == 0, answer.stderr
    made = read_conflict_set(tmp_path / "empty.jsonl")
    assert made.items == ()
    assert made.made["nothing"] in refused.stderr
    must_fit(made, world.manifest, tmp_path / "empty.jsonl", "test")


def test_the_report_has_the_section_of_its_own_folder(world: World) -> None:
    assert world.run("models/merc/TVB", "--out", "judged/conflict").returncode == 0
    assert bemerc("predict", "data/manifest.jsonl", "--model", "models/merc/TVB", cwd=world.folder).returncode == 0
    answer = bemerc("evaluate", "results/predictions/TVB.jsonl", "--out", "judged", cwd=world.folder)
    assert answer.returncode == 0, answer.stderr
    page = (world.folder / "judged" / "report.md").read_text()
    assert "## When face and voice disagree" in page
    assert (world.folder / "judged" / re.findall(r"\]\((conflict/[^)]+)\)", page)[0]).is_file()


@pytest.mark.parametrize(
    "texts",
    [("a/TVB", "b/TVB"), ("x=a/TVB", "x=a/TVB"), ("TVB=a/TVB", "b/TVB"), ("=a",), ("a=",), ("a/TVB", "TVB=b/TVB")],
)
def test_systems_that_cannot_be_kept_apart_are_refused(texts: tuple[str, ...]) -> None:
    with pytest.raises(systems.SystemNameError):
        systems.named(texts)


def test_a_model_folder_may_be_followed_by_how_attention_is_moved(tmp_path: Path) -> None:
    assert systems.in_mode(Path("m/TVB@reallocate")) == (Path("m/TVB"), "reallocate")
    (tmp_path / "m@reversed").mkdir()
    for path in (Path("m/TVB"), Path("a@b/TVB"), Path("m/TVB@seven"), tmp_path / "m@reversed"):
        assert systems.in_mode(path) == (path, None)
    assert list(systems.named(["m/TVB", "m/TVB@reallocate"])) == ["TVB", "TVB@reallocate"]


def test_names_of_systems() -> None:
    named = systems.named(["a/TVB", "L=b/1", "L=b/2", "results/p.jsonl"])
    assert named == {"TVB": (Path("a/TVB"),), "L": (Path("b/1"), Path("b/2")), "p": (Path("results/p.jsonl"),)}
    assert systems.with_baseline(named, "L") == (named, "L")
    assert systems.with_baseline(named, "a/TVB")[1] == "TVB"
    assert systems.with_baseline(named, "B=c")[0]["B"] == (Path("c"),)
    with pytest.raises(systems.SystemNameError):
        systems.with_baseline(named, "c/TVB")


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ("id,label\na,joy\n", None),
        ("id,labels\na,joy\na,fear\n", 3),
        ("id,labels\na,rage\n", 2),
        ("id,labels\na,;\n", 2),
    ],
)
def test_a_faulty_table_of_gold_sets_is_refused(tmp_path: Path, table: str, line: int | None) -> None:
    (tmp_path / "gold.csv").write_text(table)
    with pytest.raises(CorpusError, match=f"line {line}" if line else "gold.csv"):
        sets.read_gold(tmp_path / "gold.csv", ("joy", "fear"))


def test_a_table_of_gold_sets(tmp_path: Path) -> None:
    (tmp_path / "gold.csv").write_text("id,labels\na,joy; fear\nb,joy\n")
    gold = sets.read_gold(tmp_path / "gold.csv", ("joy", "fear"))
    assert gold == {"a": frozenset({"joy", "fear"}), "b": frozenset({"joy"})}


def test_a_damaged_judgment_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / summary.FOLDER).mkdir()
    for content in ("{", "[]", '{"systems": {"M": {}}}'):
        (tmp_path / summary.FOLDER / summary.JSON_FILE).write_text(content)
        with pytest.raises(test_set.EvaluationError):
            summary.section(tmp_path)


@pytest.mark.parametrize(
    "missing", ["consistent", "video_aligned", "audio_aligned", "recombined", "all but recombined"]
)
def test_the_page_and_the_picture_of_a_set_that_lacks_something(tmp_path: Path, missing: str) -> None:
    of = conflict_set()
    if missing == "all but recombined":
        kept = [one for one in of.items if one.way == "recombined"]
    else:
        kept = [one for one in of.items if (one.way if one.way == "recombined" else one.subset) != missing]
    whole = [system(of, name, 0.6, seeds) for name, seeds in (("a|b", (0,)), ("c", (1, 2)))]
    of = replace(of, items=tuple(kept))
    judged = judge.judge(of, "test", whole, PARAMS, "c")
    report.write(tmp_path, judged, of, whole, {"c": 1})
    page = (tmp_path / summary.PAGE).read_text()
    assert "nan" not in page
    assert "a\\|b" in page
    assert ("no number for it" in page) == (missing != "recombined")
    assert ("## Recombined items" in page) == (missing != "recombined")


def test_the_same_numbers_give_the_same_picture(tmp_path: Path) -> None:
    of = conflict_set(dialogues=4)
    judged = judge.judge(of, "test", [system(of, "M", 0.6)], PARAMS)
    for name in ("a.png", "b.png"):
        plot.save(tmp_path / name, judged)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_the_sentence_says_which_side_is_followed() -> None:
    of = conflict_set(dialogues=40)
    for follows, words in ((1.0, "follows the face"), (0.0, "follows the voice"), (0.5, "no preference")):
        judged = judge.judge(of, "test", [system(of, "M", follows)], PARAMS)
        assert words in text.reading(judged, judged.rows[0])
        assert words in text.terminal(judged)
    assert System("M", ()).name in text.latex(judged)


def test_an_unknown_mode_of_a_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "TVB").mkdir()
    with pytest.raises(systems.SystemNameError) as caught:
        systems.in_mode(tmp_path / "TVB@rellocate")
    assert caught.value.name.endswith("TVB@rellocate")
