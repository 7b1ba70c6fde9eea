"""The five names: real clips through extract, describe, a tiny training, predict and compare, as a notebook would."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bemerc.api import Measured, compare, describe, extract, load_model, open_cache, predict
from bemerc.behavior.tokens import file
from bemerc.core.errors import BemercError
from bemerc.corpus.manifest import Manifest, Split, write_manifest
from bemerc.language.inputs import prompts
from bemerc.language.inputs.variants import LADDER
from bemerc.language.model import model_folder
from bemerc.language.predict import score_labels as scorer
from bemerc.language.predict.evidence import read_evidence
from bemerc.language.predict.records import write_predictions
from bemerc.language.train import align, crossfit, merc
from tests import toy_language as language
from tests.cli.test_cli import bemerc
from tests.clips import write_clip

SPLITS: tuple[Split, ...] = ("train", "train", "train", "dev", "dev", "test", "test", "test")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Measured]:
    """A folder of eight clips with different tones, and what measuring them gave."""
    base = tmp_path_factory.mktemp("notebook")
    for i in range(len(SPLITS)):
        write_clip(base / "clips" / f"{SPLITS[i]}/{i}.mp4", 0.4, tone_hz=150 + 60 * (i % 2) + i)
    return base, extract(base / "clips", base / "features", workers=1)


@pytest.fixture(scope="module")
def trained(world: tuple[Path, Measured]) -> tuple[Manifest, Path]:
    """The clips with labels, and a TV model trained on them."""
    base, measured = world
    turns = tuple(
        dataclasses.replace(
            u, text=("a fine day", "not again")[i % 2], label=("joy", "anger")[i % 2], split=SPLITS[int(u.id[-1])]
        )
        for i, u in enumerate(measured.manifest.utterances)
    )
    manifest = dataclasses.replace(measured.manifest, utterances=turns, labels=("joy", "anger"))
    file.run(manifest, measured.caches, base / "tokens.h5", file.Params(k=2))
    shape = language.build(base / "backbone", manifest)
    with file.open_tokens(base / "tokens.h5") as read:
        merc.run("TV", manifest, read, None, None, prompts.Params(), shape, language.TRAINING, base / "model")
    return manifest, base / "model"


def test_what_was_measured_can_be_opened(world: tuple[Path, Measured]) -> None:
    _, measured = world
    assert [u.id for u in measured.manifest.utterances] == sorted(f"{SPLITS[i]}/{i}" for i in range(8))
    assert measured.outcomes[1].measured == 8
    assert measured.caches["audio"] is not None
    with open_cache(measured.caches["audio"]) as audio:
        pitch = audio["train/1"].column("pitch_hz")
        assert np.nanmedian(pitch) == pytest.approx(211, rel=0.02)


def test_descriptions_come_back_and_are_left_behind(world: tuple[Path, Measured]) -> None:
    base, measured = world
    by_rules = describe(caches=base / "features", out=base / "features")
    assert list(by_rules) == [u.id for u in measured.manifest.utterances]
    assert (base / "features" / "descriptions.jsonl").is_file()


def test_predictions_and_their_comparison(trained: tuple[Manifest, Path], world: tuple[Path, Measured]) -> None:
    (manifest, model), (base, _) = trained, world
    answer = predict(model, base / "clips", base / "features")
    assert [one.id for one in answer.predictions] == [u.id for u in manifest.utterances]
    assert all(sum(one.scores.values()) == pytest.approx(1) for one in answer.predictions)
    assert {one.corpora for one in answer.predictions} == {answer.metadata.corpora}
    assert set(answer.metadata.labels) == {"joy", "anger"}
    gold = {u.id: u.label for u in manifest.utterances}
    judged = [dataclasses.replace(one, gold=gold[one.id]) for one in answer.predictions]
    right = [
        dataclasses.replace(one, label=one.gold or "", scores={label: float(label == one.gold) for label in one.scores})
        for one in judged
    ]
    write_manifest(base / "manifest.jsonl", manifest.utterances, manifest.labels, manifest.corpora)
    for name, given in (("model", judged), ("truth", right)):
        write_predictions(base / f"{name}.jsonl", given)
    comparison = compare(base / "manifest.jsonl", [base / "model.jsonl", base / "truth.jsonl"])
    assert comparison.utterances == 3
    assert comparison.rows[1].measured["accuracy"].value == 1.0
    assert comparison.rows[1].against is not None


def test_a_loaded_model_answers_like_its_folder_without_being_read_again(
    trained: tuple[Manifest, Path], world: tuple[Path, Measured], monkeypatch: pytest.MonkeyPatch
) -> None:
    (_, model), (base, _) = trained, world
    loaded = load_model(model)
    assert set(loaded.labels) == {"joy", "anger"}
    assert len(repr(loaded)) < 300
    expected = predict(model, base / "clips", base / "features").predictions
    monkeypatch.setattr(model_folder, "load", None)  # whoever loads from now on fails
    assert predict(loaded, base / "clips", base / "features").predictions == expected
    assert predict(loaded, base / "clips", base / "features").predictions == expected


def test_the_command_prints_who_said_what_when(trained: tuple[Manifest, Path], tmp_path: Path) -> None:
    _, model = trained
    write_clip(tmp_path / "clips" / "talk.mp4", 1.0)
    cues = "1\n00:00:00,000 --> 00:00:00,400\nANN: a fine day\n\n2\n00:00:00,500 --> 00:00:01,000\nBEN: not again\n"
    (tmp_path / "clips" / "talk.srt").write_text(cues, encoding="utf-8")
    answer = bemerc("predict", "clips", "--model", model, "--workers", "1", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    first, second, *_ = answer.stdout.splitlines()
    assert re.fullmatch(r'talk/0000  00:00\.0 ANN "a fine day"  (joy|anger) 0\.\d\d  (joy|anger) 0\.\d\d', first)
    assert second.startswith('talk/0001  00:00.5 BEN "not again"  ')
    with (tmp_path / "features" / "utterances.csv").open(encoding="utf-8-sig", newline="") as table:
        rows = list(csv.DictReader(table))
    names = ["id", "dialogue", "turn", "start_s", "end_s", "speaker", "text", "label", "p_joy", "p_anger", "sentences"]
    assert list(rows[0]) == [*names, "quality", "uncertain", "unmeasured", "note"]
    assert float(rows[1]["p_joy"]) + float(rows[1]["p_anger"]) == pytest.approx(1, abs=1e-3)
    assert "No face was visible." in rows[0]["sentences"]
    listed = json.loads(bemerc("predict", "clips", "--model", model, "--json", cwd=tmp_path).stdout)
    assert [one["label"] for one in listed["predictions"]] == [row["label"] for row in rows]
    assert (listed["predictions"][0]["speaker"], listed["without"]) == ("ANN", [])
    counted = bemerc("predict", "clips", "--model", model, "--evidence", "--turns", "1", "--json", cwd=tmp_path)
    evidence = read_evidence(tmp_path / json.loads(counted.stdout)["evidence"])
    assert [one.label for one in evidence] == [row["label"] for row in rows]
    assert {"explanation", "turn:talk/0000"} <= set(evidence[1].parts)
    bemerc("predict", "clips", "--model", model, cwd=tmp_path)
    assert not (tmp_path / "features" / "evidence.jsonl").exists()  # it was that of another run


@pytest.mark.slow
def test_a_variant_that_reads_descriptions_gets_them_made_for_new_clips(
    trained: tuple[Manifest, Path], world: tuple[Path, Measured], tmp_path: Path
) -> None:
    (manifest, _), (base, measured) = trained, world
    shape = language.build(tmp_path / "backbone", manifest)
    quick = dataclasses.replace(language.TRAINING, epochs=1)
    with file.open_tokens(base / "tokens.h5") as read:
        by_rules = describe(caches=base / "features", out=base / "features")
        align.run(manifest, read, by_rules, None, shape, quick, tmp_path / "align")
        alone = crossfit.Params(folds=1, limit=4)
        own = crossfit.run(
            manifest, read, by_rules, tmp_path / "align", shape, quick, scorer.Params(), alone, tmp_path / "work"
        )
        for name, description, described in (("rules", "rules", by_rules), ("crossfit", "crossfit", own)):
            inputs = dataclasses.replace(LADDER["TV"], description=description)
            given = (manifest, read, None, tmp_path / "align", prompts.Params(), shape, quick, tmp_path / name, None)
            merc.run(name, *given, inputs, {description: described})
    merc.keep_align_model(tmp_path / "align", tmp_path / "crossfit")
    for name in ("rules", "crossfit"):
        answer = predict(tmp_path / name, caches=base / "features", out=tmp_path / "out")
        assert len(answer.predictions) == len(measured.manifest.utterances)
    assert (tmp_path / "out" / "crossfit.jsonl").is_file()
    assert (tmp_path / "out" / "descriptions.jsonl").is_file()
    by_align = describe(caches=base / "features", out=tmp_path / "out", align=tmp_path / "align")
    assert list(by_align) == [u.id for u in measured.manifest.utterances]


def test_faults_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(BemercError, match="nowhere"):
        extract(tmp_path / "nowhere", tmp_path)
    with pytest.raises(BemercError, match="Name a folder of clips"):
        describe(out=tmp_path)


def test_the_names_cost_nothing_until_they_are_called() -> None:
    heavy = "{'torch', 'transformers', 'cv2', 'av', 'ai_edge_litert', 'sklearn'}"
    code = f"import sys, bemerc.api; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
