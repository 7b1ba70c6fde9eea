"""benchmarks/controls.py: steps are skipped when and only when nothing changed; the table is judged from the predictions in the work folder."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import yaml

from bemerc.behavior.tokens import file as tokens
from bemerc.cache import Features, Head, Rows, write_cache
from bemerc.corpus.manifest import Manifest, write_manifest
from bemerc.language.predict.records import write_predictions
from benchmarks import control_measures, pipeline_steps
from benchmarks import controls as command
from tests.evaluate.test_baselines import corpus, token_file
from tests.evaluate.test_report import predictions

UNITS = ("AU01", "AU12", "AU45")


def project(root: Path) -> None:
    """A project with one stage that counts how often it ran."""
    (root / "bemerc").mkdir(parents=True)
    script = "import pathlib, sys\nout = pathlib.Path('ran.txt')\nout.write_text((out.read_text() if out.exists() else '') + 'x')\nprint(sys.argv)\n"
    (root / "bemerc" / "count.py").write_text(script)
    (root / "fail.py").write_text("raise SystemExit('data/x: there is no such thing.')\n")
    count = f"python {root}/bemerc/count.py --variant ${{item.variant}}"
    stages = {
        "count": {"cmd": count, "deps": ["bemerc/count.py"], "params": ["count"]},
        "fail": {"cmd": f"python {root}/fail.py", "deps": []},
    }
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    (root / "params.yaml").write_text(yaml.safe_dump({"count": {"seed": 1}, "other": {"seed": 1}}))


def test_a_step_runs_once_and_again_when_what_it_follows_from_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(tmp_path / "project")
    monkeypatch.setattr(pipeline_steps, "ROOT", tmp_path / "project")
    folder = tmp_path / "work"

    def run(before: str = "", **changes: int) -> int:
        pipeline_steps.write_params(folder, {section: {"seed": seed} for section, seed in changes.items()})
        pipeline_steps.Steps(total=1, threads=1).run(folder, before, "count", "TVB")
        return len((folder / "ran.txt").read_text())

    assert run() == 1
    assert run() == 1
    assert run(other=2) == 1  # another stage's params
    assert run(count=2) == 2
    assert run(before="another", count=2) == 3
    code = tmp_path / "project" / "bemerc" / "count.py"
    code.write_text(code.read_text() + "\n")
    assert run(before="another", count=2) == 4
    assert "'--variant', 'TVB'" in (folder / "logs" / "countTVB.txt").read_text()


def test_a_step_runs_again_when_a_module_of_a_package_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """dvc.yaml names packages: their modules are a stage's code as much as its script is."""
    project(tmp_path / "project")
    monkeypatch.setattr(pipeline_steps, "ROOT", tmp_path / "project")
    (tmp_path / "project" / "bemerc" / "deep").mkdir(parents=True)
    module = tmp_path / "project" / "bemerc" / "deep" / "inner.py"
    module.write_text("A = 1\n")
    document = yaml.safe_load((tmp_path / "project" / "dvc.yaml").read_text())
    document["stages"]["count"]["deps"].append("bemerc/deep")
    (tmp_path / "project" / "dvc.yaml").write_text(yaml.safe_dump(document))
    pipeline_steps.write_params(tmp_path / "work", {})
    before = pipeline_steps.fingerprint("", tmp_path / "work", "count", "count")
    module.write_text("A = 2\n")
    assert pipeline_steps.fingerprint("", tmp_path / "work", "count", "count") != before


def test_a_failing_step_ends_with_its_sentence_and_is_not_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project(tmp_path / "project")
    monkeypatch.setattr(pipeline_steps, "ROOT", tmp_path / "project")
    pipeline_steps.write_params(tmp_path / "work", {})
    with pytest.raises(SystemExit, match=r"(?s)fail failed in .*data/x: there is no such thing\."):
        pipeline_steps.Steps(total=1, threads=1).run(tmp_path / "work", "", "fail")
    assert not (tmp_path / "work" / ".done").exists()


def test_a_plan_is_written_as_the_command_that_takes_it() -> None:
    plan = SimpleNamespace(first=3, recipe="", corpus_seed=7, systems=("mose, w = 1", "gate"))
    names = ("first", "recipe", "corpus_seed", "systems")
    assert (
        pipeline_steps.command_of_plan("benchmarks.x", plan, *names, separator=";")
        == "python -m benchmarks.x --first 3 --corpus-seed 7 --systems 'mose, w = 1;gate'"
    )


def test_shuffled_labels_share_one_backbone_and_align_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, str]] = []

    def call(folder: Path, stage: str, variant: str | None, threads: int) -> None:
        calls.append((folder.name, stage))
        (folder / "models" / stage).mkdir(parents=True)
        (folder / "models" / stage / "weights").write_text(folder.name)

    monkeypatch.setattr(pipeline_steps, "call", call)
    plan, manifest = command.Plan(first=200, corpora=1, seeds=1, dialogues=100, work=tmp_path, jobs=1), corpus(0)
    data = plan.corpus(0) / "data"
    write_manifest(data / "manifest.jsonl", manifest.utterances, manifest.labels, manifest.corpora)
    for _ in range(2):  # what is done is not done again
        command.train_shuffled(plan, pipeline_steps.Steps(total=2, threads=1), 0, "")
    assert calls[:4] == [("shuffled", stage) for stage in ("backbone", "align", "merc", "predict")]
    assert calls[4:] == [(f"shuffled{deal}", stage) for deal in (1, 2, 3) for stage in ("merc", "predict")]
    folders = [plan.shuffled(0, deal) for deal in range(command.SHUFFLES)]
    for folder in folders:
        assert (folder / "models" / "align" / "weights").read_text() == "shuffled"
        assert (folder / "models" / "merc" / "weights").read_text() == folder.name
    assert len({(folder / "data" / "manifest.jsonl").read_text() for folder in folders}) == command.SHUFFLES


def test_a_mirror_links_all_but_one_and_may_be_made_again(tmp_path: Path) -> None:
    (tmp_path / "data" / "cache").mkdir(parents=True)
    for name in ("tokens.h5", "manifest.jsonl"):
        (tmp_path / "data" / name).write_text(name)
    for _ in range(2):
        pipeline_steps.mirror(tmp_path / "deep" / "data", tmp_path / "data", without="tokens.h5")
    assert sorted(p.name for p in (tmp_path / "deep" / "data").iterdir()) == ["cache", "manifest.jsonl"]
    assert (tmp_path / "deep" / "data" / "manifest.jsonl").read_text() == "manifest.jsonl"


def frames(manifest: Manifest, folder: Path) -> None:
    """face.h5 whose units follow truth.h5, all clips alike in length and frames."""
    rng = np.random.default_rng(0)
    planted = {u.id: rng.random((12, len(UNITS))).astype(np.float32) for u in manifest.utterances}
    columns = tuple(f"{unit}_r" for unit in UNITS)
    clips = [(i, Features(3 * x, np.arange(12) / 25, columns), 0.5, None) for i, x in planted.items()]
    write_cache(folder / "cache" / "face.h5", Head("face", columns, "clip", "test 1", {}), Rows(clips))
    (folder / "sample").mkdir()
    with h5py.File(folder / "sample" / "truth.h5", "w") as file:
        file["offsets"] = 12 * np.arange(len(planted) + 1)
        file["units"], file["body"] = np.concatenate(list(planted.values())), np.zeros((12 * len(planted), 1))
        for name, values in (("ids", planted), ("unit_names", UNITS), ("body_names", ["lean"])):
            file.create_dataset(name, data=list(values), dtype=h5py.string_dtype())


def finished(plan: command.Plan, hits: dict[str, float]) -> None:
    """The work folder as the steps leave it, with predictions that are right as often as ``hits`` says."""
    for number in range(plan.corpora):
        manifest, data = corpus(number), plan.corpus(number) / "data"
        write_manifest(data / "manifest.jsonl", manifest.utterances, manifest.labels, manifest.corpora)
        pipeline_steps.write_params(plan.corpus(number), {})
        token_file(data / "tokens.h5", manifest, {"face": 0.5, "audio": 0.2}).close()
        frames(manifest, data)
        deals = [plan.shuffled(number, deal) for deal in range(command.SHUFFLES)]
        for deal, folder in enumerate(deals):
            other = control_measures.shuffle_labels(manifest, number + 100 * deal)
            write_manifest(folder / "data" / "manifest.jsonl", other.utterances, other.labels, other.corpora)
        folders = [(plan.run(number, s), v, v) for s in range(plan.seeds) for v in command.VARIANTS]
        folders += [(plan.swapped(number, s), "TVB", "swapped") for s in range(plan.seeds)]
        folders += [(folder, "TVB", "shuffled") for folder in deals]
        for place, (folder, variant, name) in enumerate(folders):
            write_predictions(
                folder / "results" / "predictions" / f"{variant}.jsonl", predictions(manifest, hits[name], place)
            )


GOOD = {"T": 0.8, "TV": 0.8, "TVB": 0.97, "swapped": 0.6, "shuffled": 1 / 3}


@pytest.mark.parametrize(
    ("changed", "failing"),
    [
        ({}, set()),
        ({"TV": 0.97}, {"behavior's worth"}),
        ({"shuffled": 0.6}, {"shuffled labels"}),
        pytest.param({"swapped": 0.97}, {"swapped tokens"}, marks=pytest.mark.slow),
        pytest.param(
            {"T": 0.4},
            {"T minus regression on what T sees", "T minus regression on own words"},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_each_line_fails_when_what_it_asks_for_is_not_there(
    changed: dict[str, float], failing: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "PERMUTATIONS", 12)
    monkeypatch.setattr(command, "RESAMPLES", 300)
    plan = command.Plan(first=200, corpora=1, seeds=3, dialogues=100, work=tmp_path, jobs=1)
    finished(plan, GOOD | changed)
    lines, below = command.judge(plan)
    assert len(lines) == 11
    failed = [line.what for line in lines if not line.passed and "at least 360" not in line.asked]
    assert len(failed) == len(failing), failed
    assert all(any(part in what for what in failed) for part in failing)
    text = command.document(plan, lines, below)
    assert "`python -m benchmarks.controls --first 200 --corpora 1 --seeds 3 --dialogues 100`" in text
    for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        assert len({line.count("|") for line in block.splitlines()}) == 1


def test_swapping_is_done_on_the_file_that_predict_reads(tmp_path: Path) -> None:
    plan = command.Plan(first=200, corpora=1, seeds=1, dialogues=100, work=tmp_path, jobs=1)
    finished(plan, GOOD)
    data = plan.corpus(0) / "data"
    pipeline_steps.mirror(plan.swapped(0, 0) / "data", data, without="tokens.h5")
    with tokens.open_tokens(data / "tokens.h5") as source:
        control_measures.swap_within_speaker(corpus(0), source, plan.swapped(0, 0) / "data" / "tokens.h5", 0)
    with (
        tokens.open_tokens(data / "tokens.h5") as one,
        tokens.open_tokens(plan.swapped(0, 0) / "data" / "tokens.h5") as two,
    ):
        test = corpus(0).by_split("test")[0].id
        assert not np.array_equal(one[test]["face"].values, two[test]["face"].values)
