"""What earlier releases left on people's disks is read and means the same: params, models, tokens, caches, a store.

The files and the numbers in expected.json were made by tests/old_files/make.py with the code of that time.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bemerc.behavior.describe import rules
from bemerc.behavior.describe.description import SLOTS, read_descriptions
from bemerc.behavior.describe.references import References
from bemerc.behavior.tokens import calibration, file
from bemerc.cache import open_cache
from bemerc.core.config import load
from bemerc.corpus import prepare
from bemerc.corpus.manifest import read_manifest
from bemerc.extraction import params as extraction
from bemerc.extraction import recompute
from bemerc.extraction.face import action_units, head_pose
from bemerc.extraction.face import extractor as face_extractor
from bemerc.extraction.fingerprint import WHOLE_CLIP
from bemerc.extraction.jobs import extractor_spec
from bemerc.extraction.store import Store
from bemerc.extraction.validate import describe_cache
from bemerc.language.inputs import prompts, variants
from bemerc.language.model import behavior_model, model_folder
from bemerc.language.predict import generate, records, score_labels
from bemerc.language.teacher import vlm
from bemerc.language.tiny_lm import model as tiny_lm
from bemerc.language.train import crossfit, loop
from bemerc.sample import plan as sample

OLD = Path(__file__).resolve().parent / "old_files"
EXPECTED = json.loads((OLD / "expected.json").read_text(encoding="utf-8"))
PARAMS = OLD / "params.yaml"
EXTRACTORS = {
    "face": ("bemerc.extraction.face.extractor", extraction.face_extractor.Params(landmarks=False)),
    "pose": ("bemerc.extraction.pose.body", extraction.body.Params()),
    "audio": ("bemerc.extraction.audio.prosody", extraction.prosody.Params()),
}


def test_every_section_of_an_old_params_file_is_read_with_its_values() -> None:
    sections = {
        "sample": sample.Params,
        "prepare": prepare.Params,
        "extract_video": extraction.VideoParams,
        "extract_audio": extraction.AudioParams,
        "tokens": file.Params,
        "describe": rules.Params,
        "teacher": vlm.Params,
        "backbone": tiny_lm.Params,
        "model": behavior_model.Params,
        "prompt": prompts.Params,
        "predict": score_labels.Params,
        "crossfit": crossfit.Params,
    }
    for section, cls in sections.items():
        load(PARAMS, section, cls)
    assert load(PARAMS, "prompt", prompts.Params) == prompts.Params()
    for section, epochs, rate in (("align", 4, 3e-3), ("merc", 6, 6e-3)):
        params = load(PARAMS, section, loop.Params)
        assert (params.epochs, params.adapter_lr, params.ema_decay) == (epochs, rate, 0.98)


def test_the_variants_of_an_old_params_file_mean_the_same() -> None:
    read = variants.read(PARAMS)
    assert set(read) == set(EXPECTED["variants"])
    for name, old in EXPECTED["variants"].items():
        old = {new: old.get(former, old.get(new)) for new, former in zip(vars(read[name]), old, strict=True)}
        old["description"] = old["description"].replace("student", "crossfit")
        assert vars(read[name]) == old, name


@pytest.mark.parametrize(("variant", "source"), [("TVB", None), ("student", "crossfit")])
def test_an_old_model_predicts_the_same(tmp_path: Path, variant: str, source: Any) -> None:
    manifest = read_manifest(OLD / "manifest.jsonl")
    shutil.copytree(OLD, tmp_path / "old")  # nothing may be written beside the old files
    with file.open_tokens(tmp_path / "old" / "tokens.h5") as tokens:
        described = variants.read_described(variants.read(PARAMS)[variant], OLD, manifest)
        folder, how = tmp_path / "old" / "merc" / variant, score_labels.Params(device="cpu")
        predictions = score_labels.MercModel(folder).score(manifest, tokens, ("test",), how, described)
    before = records.read_predictions(OLD / "predictions" / f"{variant}.jsonl")
    assert [one.id for one in predictions] == [one.id for one in before]
    for new, old in zip(predictions, before, strict=True):
        assert (new.label, new.gold, new.manifest) == (old.label, old.gold, old.manifest)
        assert new.scores == pytest.approx(old.scores, abs=1e-6)


def test_an_old_align_model_says_the_same() -> None:
    for folder in (OLD / "align", OLD / "merc" / "student" / variants.FORMER_CROSSFIT):
        with file.open_tokens(OLD / "tokens.h5") as tokens:
            how = score_labels.Params(device="cpu")
            described = generate.generate_descriptions(folder, list(EXPECTED["said"]), tokens, how, 12)
        assert {id: [getattr(one, slot) for slot in SLOTS] for id, one in described.items()} == EXPECTED["said"]


def test_an_old_model_is_trained_on(tmp_path: Path) -> None:
    params = behavior_model.Params(str(OLD / "backbone"), device="cpu", rank=2, alpha=8.0, projector_hidden=8)
    with file.open_tokens(OLD / "tokens.h5") as tokens:
        model = model_folder.build(params, tokens.widths, tokens.k, OLD / "align")
    loaded, _ = model_folder.load(OLD / "align", device="cpu")
    before = loaded.projectors.state_dict()
    assert all(bool((value == before[name]).all()) for name, value in model.projectors.state_dict().items())


@pytest.mark.parametrize("modality", ["face", "pose", "audio"])
def test_an_old_cache_holds_the_same(modality: Any) -> None:
    old = EXPECTED["caches"][modality]
    with open_cache(OLD / "caches" / f"{modality}.h5", modality) as cache:
        assert {id: list(cache[id].values.shape) for id in cache.ids} == old["shape"]
        assert float(np.nansum(cache["speaker"].values.astype(float))) == pytest.approx(old["sum"], rel=1e-9)
        assert cache.duration_s("speaker") == old["duration_s"]
        assert dict(cache.failures) == old["failures"]
        landmarks = cache.landmarks("speaker")
    if modality == "face":
        assert landmarks is not None
        assert landmarks.shape == (16, 478, 3)


@pytest.mark.parametrize("modality", ["face", "pose", "audio"])
def test_a_clip_in_an_old_store_counts_as_finished(modality: Any) -> None:
    module, params = EXTRACTORS[modality]
    new, old, store = extractor_spec(modality, module, params), EXPECTED["store"][modality], Store(OLD / "store")
    if new.version != old["version"]:
        pytest.skip(f"{modality} is measured in another way since: {new.version}")
    assert {id: new.key(content, WHOLE_CLIP) for id, content in EXPECTED["contents"].items()} == {
        id: name for id, name in old.items() if id != "version"
    }
    finished = store.result(modality, old["speaker"], new.columns)
    with open_cache(OLD / "caches" / f"{modality}.h5", modality) as cache:
        np.testing.assert_array_equal(finished.features.values, cache["speaker"].values)


def test_old_references_and_descriptions_are_read() -> None:
    usual = References.from_json((OLD / "references.json").read_text(encoding="utf-8"))
    assert usual.quantiles["volume_db"] == tuple(sorted(usual.quantiles["volume_db"]))
    assert read_descriptions(OLD / "rules.jsonl")["speaker"].voice
    with file.open_tokens(OLD / "tokens.h5") as tokens:
        assert isinstance(tokens.calibration, calibration.Calibration)
        assert len(tokens) == len(read_manifest(OLD / "manifest.jsonl").utterances)


def test_of_an_older_mesh_angles_are_recomputed_and_action_units_are_named_as_outdated(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    old, new = OLD / "caches" / "face.h5", tmp_path / "face.h5"
    outcome = recompute.run(old, new)
    assert outcome.outdated == action_units.COLUMNS
    assert outcome.extractor == EXPECTED["store"]["face"]["version"]
    assert outcome.extractor in outcome.sentence()
    assert set(outcome.differences) == {*head_pose.POSE_COLUMNS, *head_pose.GAZE_COLUMNS}
    with open_cache(old) as before, open_cache(new) as after:
        assert after.extractor == before.extractor
        for name in action_units.COLUMNS:
            np.testing.assert_array_equal(after["speaker"].column(name), before["speaker"].column(name))
        np.testing.assert_allclose(
            after["speaker"].column("pose_yaw_deg"), before["speaker"].column("pose_yaw_deg"), atol=3
        )


def test_what_an_older_release_measured_is_named_where_it_matters(caplog: pytest.LogCaptureFixture) -> None:
    with open_cache(OLD / "caches" / "face.h5") as cache:
        assert f"measures anew, by {face_extractor.VERSION}" in describe_cache(cache)
        columns = calibration.token_columns((cache,))
        zeros = (0.0,) * len(columns)
        for extractor, warnings in ((cache.extractor, 0), (face_extractor.VERSION, 1)):
            fitted = calibration.Statistics(extractor, columns, zeros, zeros)
            calibration.check_fit({"face": cache}, calibration.Calibration({"face": fitted}))
            assert len(caplog.records) == warnings
    with open_cache(OLD / "caches" / "audio.h5") as cache:
        assert "measures anew" not in describe_cache(cache)
