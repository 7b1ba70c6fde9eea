"""The five names: real clips through extract, describe, a tiny training, predict and compare, as a notebook would."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bemerc.api import Measured, compare, describe, extract, open_cache, predict
from bemerc.behavior.tokens import file
from bemerc.core.errors import BemercError
from bemerc.corpus.manifest import Manifest, Split, write_manifest
from bemerc.language.inputs import prompts
from bemerc.language.inputs.variants import LADDER
from bemerc.language.predict import score_labels as scorer
from bemerc.language.predict.records import write_predictions
from bemerc.language.train import align, crossfit, merc
from tests import toy_language as language
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
    base, found = world
    turns = tuple(
        dataclasses.replace(
            u, text=("a fine day", "not again")[i % 2], label=("joy", "anger")[i % 2], split=SPLITS[int(u.id[-1])]
        )
        for i, u in enumerate(found.manifest.utterances)
    )
    manifest = dataclasses.replace(found.manifest, utterances=turns, labels=("joy", "anger"))
    file.run(manifest, found.caches, base / "tokens.h5", file.Params(k=2))
    shape = language.build(base / "backbone", manifest)
    with file.open_tokens(base / "tokens.h5") as read:
        merc.run("TV", manifest, read, None, None, prompts.Params(), shape, language.TRAINING, base / "model")
    return manifest, base / "model"


def test_what_was_measured_can_be_opened(world: tuple[Path, Measured]) -> None:
    _, found = world
    assert [u.id for u in found.manifest.utterances] == sorted(f"{SPLITS[i]}/{i}" for i in range(8))
    assert found.outcomes[1].measured == 8
    assert found.caches["audio"] is not None
    with open_cache(found.caches["audio"]) as audio:
        pitch = audio["train/1"].column("pitch_hz")
        assert np.nanmedian(pitch) == pytest.approx(211, rel=0.02)


def test_descriptions_come_back_and_are_left_behind(world: tuple[Path, Measured]) -> None:
    base, found = world
    said = describe(caches=base / "features", out=base / "features")
    assert list(said) == [u.id for u in found.manifest.utterances]
    assert (base / "features" / "descriptions.jsonl").is_file()


def test_predictions_and_their_comparison(trained: tuple[Manifest, Path], world: tuple[Path, Measured]) -> None:
    (manifest, model), (base, _) = trained, world
    answer = predict(model, base / "clips", base / "features")
    assert [one.id for one in answer.predictions] == [u.id for u in manifest.utterances]
    assert all(sum(one.scores.values()) == pytest.approx(1) for one in answer.predictions)
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
    found = compare(base / "manifest.jsonl", [base / "model.jsonl", base / "truth.jsonl"])
    assert found.utterances == 3
    assert found.rows[1].measured["accuracy"].value == 1.0
    assert found.rows[1].against is not None


def test_a_variant_that_reads_descriptions_gets_them_made_for_new_clips(
    trained: tuple[Manifest, Path], world: tuple[Path, Measured], tmp_path: Path
) -> None:
    (manifest, _), (base, found) = trained, world
    shape = language.build(tmp_path / "backbone", manifest)
    quick = dataclasses.replace(language.TRAINING, epochs=1)
    with file.open_tokens(base / "tokens.h5") as read:
        said = describe(caches=base / "features", out=base / "features")
        align.run(manifest, read, said, None, shape, quick, tmp_path / "align")
        alone = crossfit.Params(folds=1, limit=4)
        own = crossfit.run(
            manifest, read, said, tmp_path / "align", shape, quick, scorer.Params(), alone, tmp_path / "work"
        )
        for name, description, described in (("rules", "rules", said), ("student", "student", own)):
            inputs = dataclasses.replace(LADDER["TV"], description=description)
            given = (manifest, read, None, tmp_path / "align", prompts.Params(), shape, quick, tmp_path / name, None)
            merc.run(name, *given, inputs, {description: described})
    merc.keep_student(tmp_path / "align", tmp_path / "student")
    for name in ("rules", "student"):
        answer = predict(tmp_path / name, caches=base / "features", out=tmp_path / "out")
        assert len(answer.predictions) == len(found.manifest.utterances)
    assert (tmp_path / "out" / "student.jsonl").is_file()
    assert (tmp_path / "out" / "descriptions.jsonl").is_file()
    told = describe(caches=base / "features", out=tmp_path / "out", align=tmp_path / "align")
    assert list(told) == [u.id for u in found.manifest.utterances]


def test_faults_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(BemercError, match="nowhere"):
        extract(tmp_path / "nowhere", tmp_path)
    with pytest.raises(BemercError, match="Name a folder of clips"):
        describe(out=tmp_path)


def test_the_names_cost_nothing_until_they_are_called() -> None:
    heavy = "{'torch', 'transformers', 'cv2', 'av', 'mediapipe', 'sklearn'}"
    code = f"import sys, bemerc.api; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
