"""benchmarks/ablation.py: every row is trained where it must be and no more than once; the table is compare's."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import yaml

from bemerc.corpus.manifest import Modality, write_manifest
from bemerc.language.predict.records import write_predictions
from benchmarks import ablation, pipeline_steps
from tests.evaluate.test_baselines import corpus, token_file
from tests.evaluate.test_report import predictions

ROWS = ("TVB", "TV", "no_face", "crossfit", "calibration_none", "short_question")
HITS = {"TV": 0.5, "no_face": 0.7, "TVB": 0.9, "crossfit": 0.9}


class Called:
    """Stands where pipeline scripts run: remembers them, and leaves what the next ones read."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    def __call__(self, folder: Path, stage: str, variant: str | None, threads: int) -> None:
        self.calls.append((folder.name, stage if variant is None else f"{stage}@{variant}"))
        of = corpus(0)
        if stage == "prepare":
            (folder / "data").mkdir(exist_ok=True)
            write_manifest(folder / "data" / "manifest.jsonl", of.utterances, of.labels, of.corpora)
        if stage in ("tokens", "crossfit"):
            (folder / "data" / f"{stage}.made").touch()
        if stage == "tokens":
            shown: dict[Modality, float] = {"face": 0.9, "pose": 0.0, "audio": 0.0}
            token_file(folder / "data" / "tokens.h5", of, shown).close()
        if variant is not None and stage == "predict":
            seed = int(folder.name[4])
            file = folder / "results" / "predictions" / f"{variant}.jsonl"
            write_predictions(file, predictions(of, HITS[variant] if "none" not in folder.name else 0.6, seed))


def plan(work: Path, rows: tuple[str, ...] = ROWS, seeds: int = 2) -> ablation.Plan:
    return ablation.Plan(dialogues=20, seeds=seeds, rows=rows, corpus_seed=7, work=work, jobs=1)


@pytest.mark.slow
def test_what_is_shared_is_made_once_and_what_is_done_is_not_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = Called()
    monkeypatch.setattr(pipeline_steps, "call", called)
    ablation.run_all(plan(tmp_path))
    assert len(called.calls) == len(set(called.calls)), "no step twice"
    stages = [(folder, stage) for folder, stage in called.calls if folder.startswith("seed0")]
    assert [s for f, s in stages if f == "seed0"] == [
        "backbone",
        "align",
        *(f"{stage}@{name}" for name in ("TVB", "TV", "no_face") for stage in ("merc", "predict")),
    ]
    assert ("seed0-crossfit", "crossfit") in stages
    assert ("seed0-none", "merc@TVB") in stages
    assert ("tokens_none", "tokens") in called.calls
    assert ("seed0-short_question", "merc@TVB") in stages
    params = {
        f: yaml.safe_load((tmp_path / f / "params.yaml").read_text())
        for f in ("seed1-crossfit", "seed1-none", "seed1-short_question")
    }
    assert params["seed1-crossfit"]["crossfit"]["folds"] == 2
    assert params["seed1-none"]["crossfit"]["folds"] == 0
    assert params["seed1-none"]["merc"]["seed"] == 1
    assert (tmp_path / "seed0-none" / "data").resolve() != (tmp_path / "seed0" / "data").resolve()
    assert params["seed1-short_question"]["prompt"]["repeat_target_utterance"] is False
    assert params["seed1-none"]["prompt"]["repeat_target_utterance"] is True
    before = len(called.calls)
    ablation.run_all(plan(tmp_path))
    assert len(called.calls) == before
    ablation.run_all(plan(tmp_path, ROWS[:2]))
    assert len(called.calls) == before


@pytest.mark.slow
def test_the_table_sets_every_row_against_tvb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline_steps, "call", Called())
    ablation.run_all(plan(tmp_path))
    comparison = ablation.judge(plan(tmp_path))
    regressions = [f"regression: {name}" for name in ablation.REGRESSIONS]
    assert [row.name for row in comparison.rows] == [*ROWS, *regressions]
    assert [row.seeds for row in comparison.rows] == [2] * len(ROWS) + [1] * len(regressions)
    accuracy = {row.name: row.measured["accuracy"].value for row in comparison.rows}
    assert accuracy["regression: words + tokens"] > accuracy["regression: words"], "the face's tokens tell the label"
    assert comparison.rows[1].against is not None
    assert comparison.rows[1].against["accuracy"].gap.value < 0
    text = ablation.document(plan(tmp_path), comparison)
    assert "20 dialogues, 2 training seeds" in text
    assert f"--seeds 2 --rows {','.join(ROWS)}`" in text
    assert "/other.md`" in ablation.document(plan(tmp_path), comparison, "other.md")
    for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        assert len({line.count("|") for line in block.splitlines()}) == 1
    assert all(f"| {row} |" in text for row in (*ROWS, *regressions))


def test_a_recipe_s_settings_and_its_model_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = Called()
    monkeypatch.setattr(pipeline_steps, "call", called)
    recipe = "recipes/sample_smollm2.yaml"
    asked = dataclasses.replace(plan(tmp_path, ("TVB", "TV"), 1), recipe=recipe)
    ablation.run_all(asked)
    assert "backbone" not in {stage for _, stage in called.calls}, "a pretrained model is not made"
    params = yaml.safe_load((tmp_path / "seed0" / "params.yaml").read_text())
    wanted = yaml.safe_load((pipeline_steps.ROOT / recipe).read_text())
    assert params["merc"] == {**params["merc"], **wanted["merc"], "seed": 0}
    corpus_params = yaml.safe_load((tmp_path / "corpus" / "params.yaml").read_text())
    assert corpus_params["sample"]["dialogues"] == 20, "what the command line says goes before the recipe"
    assert ablation.Plan.load(tmp_path).recipe == recipe
    assert "with a pretrained model" in ablation.document(asked, ablation.judge(asked))


def test_a_model_of_a_recipe_is_a_folder_of_the_project_or_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ablation, "ROOT", tmp_path)
    (tmp_path / "models" / "tiny").mkdir(parents=True)
    for name, wanted in (("models/tiny", str(tmp_path / "models/tiny")), ("meta-llama/Llama-2-7b-hf",) * 2):
        (tmp_path / "recipe.yaml").write_text(f"model: {{name_or_path: {name}}}\nmerc:\n")
        assert ablation.read_recipe("recipe.yaml") == {"model": {"name_or_path": wanted}}


def test_the_table_is_made_anew_without_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = Called()
    monkeypatch.setattr(pipeline_steps, "call", called)
    ablation.run_all(plan(tmp_path / "work"))
    before = len(called.calls)
    (tmp_path / "work" / "seed1" / "results" / "predictions" / "TV.jsonl").unlink()
    assert [row.seeds for row in ablation.judge(plan(tmp_path / "work")).rows[:3]] == [2, 1, 2], "one is still to come"
    out = tmp_path / "table.md"
    monkeypatch.setattr("sys.argv", ["ablation", "--from", str(tmp_path / "work"), "--out", str(out)])
    ablation.main()
    assert len(called.calls) == before
    assert ablation.judge(plan(tmp_path / "work")).rows[1].name in out.read_text()
    monkeypatch.setattr("sys.argv", ["ablation", "--from", str(tmp_path), "--out", str(out)])
    with pytest.raises(SystemExit, match="there is no such file"):
        ablation.main()


def test_a_row_that_is_no_variant_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["ablation", "--rows", "TV,nose", "--work", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"nose is no variant of params\.yaml; there are T, TV, TB, TVB"):
        ablation.main()


def test_a_params_key_may_go_down_and_name_an_item_of_a_matrix() -> None:
    params = {"a": {"b": 1}, "variants": {"TV": {"voice": "tokens"}}}
    assert pipeline_steps.value_of(params, "a", "merc@TV") == {"b": 1}
    assert pipeline_steps.value_of(params, "a.b", "x") == 1
    assert pipeline_steps.value_of(params, "variants.${item.variant}", "merc@TV") == {"voice": "tokens"}
    assert pipeline_steps.value_of(params, "a.c.d", "x") is None
