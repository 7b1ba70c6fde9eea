"""Speech beside prosody, end to end: the store's promises, tokens that hold both, a training and a prediction with them."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from bemerc.api import extract, predict
from bemerc.behavior.describe import rules
from bemerc.behavior.describe import run as describer
from bemerc.behavior.tokens import file
from bemerc.cache import caches_at, open_cache
from bemerc.core.errors import BemercError, CacheError
from bemerc.corpus.manifest import Manifest, Split
from bemerc.extraction import run, validate
from bemerc.extraction.audio import speech_encoder
from bemerc.extraction.jobs import extractor_spec, jobs_from_folder, jobs_from_manifest
from bemerc.extraction.outcome import Outcome
from bemerc.extraction.params import AudioParams
from bemerc.extraction.write_caches import write_no_speech
from bemerc.interop import exporters, importers
from bemerc.language.inputs import prompts
from bemerc.language.model import behavior_model
from bemerc.language.train import merc
from tests import hums
from tests import toy_language as language
from tests.clips import write_clip
from tests.encoders import WIDTH, tiny_encoder

SPLITS: tuple[Split, ...] = ("train", "train", "train", "dev", "test", "test")
LENGTHS_S = (0.5, 0.8, 0.4, 0.6, 0.5, 0.01)


@dataclasses.dataclass(frozen=True)
class World:
    """Clips with labels, an encoder, and what measuring them gave."""

    folder: Path
    manifest: Manifest
    params: AudioParams
    outcome: Outcome

    @property
    def paths(self) -> dict[str, Path]:
        return {kind: self.folder / "features" / f"{kind}.h5" for kind in ("audio", "speech")}

    def speech(self, out: Path, workers: int = 1, **options: object) -> Outcome:
        """Measure speech into ``out`` with the same store, or with other options of the encoder."""
        params = dataclasses.replace(
            self.params,
            encoder=dataclasses.replace(self.params.encoder, **options),  # type: ignore[arg-type]
        )
        outcome = run.extract_speech(jobs_from_manifest(self.manifest), out, self.folder / "store", params, workers)
        assert outcome is not None
        return outcome


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    base = tmp_path_factory.mktemp("speech")
    for i, seconds in enumerate(LENGTHS_S):
        write_clip(base / "clips" / f"{SPLITS[i]}/{i}.mp4", seconds, tone_hz=150 + 60 * (i % 2) + i)
    jobs = jobs_from_folder(base / "clips")
    from bemerc.corpus.readers import folder

    manifest = folder.read(base / "clips").manifest(base / "clips")
    turns = tuple(
        dataclasses.replace(u, text="so", label=("joy", "anger")[i % 2], split=SPLITS[int(u.id[-1])])
        for i, u in enumerate(manifest.utterances)
    )
    manifest = dataclasses.replace(manifest, utterances=turns, labels=("joy", "anger"))
    small = speech_encoder.Params(name_or_path=str(tiny_encoder(base / "wavlm")), layers=(1, -1), device="cpu")
    params = AudioParams(speech_backend="encoder", encoder=small)
    run.extract_audio(jobs, base / "features", base / "store", params, 1)
    outcome = run.extract_speech(jobs, base / "features", base / "store", params, 2)
    assert outcome is not None
    return World(base, manifest, params, outcome)


def test_what_was_measured_is_a_cache_like_any_other(world: World) -> None:
    assert world.outcome.measured == len(LENGTHS_S)
    assert not world.outcome.failures
    with open_cache(world.paths["speech"], "speech") as cache, open_cache(world.paths["audio"]) as prosody:
        assert cache.rate == 50.0
        assert len(cache.columns) == WIDTH
        assert cache.params["layers"] == [1, 3]
        assert cache.params["encoder"] == "wavlm"
        assert str(world.folder) not in str(cache.params), "where a model lies is nobody's business"
        longest, shortest = cache["train/1"], cache["test/5"]
        assert longest.timestamps_s[-1] == pytest.approx(prosody["train/1"].timestamps_s[-1], abs=0.03)
        assert len(shortest.values) == 0, "less than a frame of sound"
        report = validate.check_rows(cache, validate.check_against_clips(cache, world.manifest, world.folder / "store"))
        assert not report.errors, report.format_text()


@pytest.mark.slow
def test_the_bytes_do_not_depend_on_workers_and_nothing_is_measured_twice(world: World, tmp_path: Path) -> None:
    again = world.speech(tmp_path)
    assert again.measured == 0
    assert (tmp_path / "speech.h5").read_bytes() == world.paths["speech"].read_bytes()
    other = run.extract_speech(
        jobs_from_manifest(world.manifest), tmp_path / "one", tmp_path / "store", world.params, 1
    )
    assert other is not None
    assert other.measured == len(LENGTHS_S)
    assert (tmp_path / "one" / "speech.h5").read_bytes() == world.paths["speech"].read_bytes()


@pytest.mark.slow
def test_another_layer_measures_speech_alone_and_its_tokens_are_refused(world: World, tmp_path: Path) -> None:
    calibration = file.run(world.manifest, world.paths, tmp_path / "tokens.h5", file.Params(k=2))
    assert world.speech(tmp_path, layers=(1,)).measured == len(LENGTHS_S)
    paths = {**world.paths, "speech": tmp_path / "speech.h5"}
    with pytest.raises(CacheError, match=r"audio: the cache \(by prosody/\d \+ encoder/1\).*differ in wavlm_"):
        file.run(world.manifest, paths, tmp_path / "other.h5", file.Params(k=2), calibration)


def test_tokens_hold_both_and_the_mean_of_each_segment(world: World, tmp_path: Path) -> None:
    plain = file.run(world.manifest, {"audio": world.paths["audio"]}, tmp_path / "plain.h5", file.Params(k=2))
    both = file.run(world.manifest, world.paths, tmp_path / "both.h5", file.Params(k=2, calibration="none"))
    columns = both.modalities["audio"].columns
    own = plain.modalities["audio"].columns
    assert columns[: len(own)] == own
    assert len(columns) == len(own) + WIDTH
    with file.open_tokens(tmp_path / "both.h5") as read, open_cache(world.paths["speech"]) as cache:
        frames = cache["train/1"]
        half = frames.timestamps_s < cache.duration_s("train/1") / 2
        truth = [frames.values[half].mean(axis=0), frames.values[~half].mean(axis=0)]
        np.testing.assert_allclose(read["train/1"]["audio"].values[:, len(own) :], truth, rtol=1e-4, atol=1e-5)
        short = read["test/5"]["audio"]
        assert short.mask.any(), "prosody knows it"
        np.testing.assert_allclose(
            short.values[short.mask, len(own) :][0], both.modalities["audio"].mean[len(own) :], atol=1e-5
        )


def test_who_was_trained_without_speech_reads_caches_that_have_it(world: World, tmp_path: Path) -> None:
    plain = file.run(world.manifest, {"audio": world.paths["audio"]}, tmp_path / "a.h5", file.Params(k=2))
    file.run(world.manifest, world.paths, tmp_path / "b.h5", file.Params(k=2), plain)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_where_nothing_is_asked_for_an_empty_cache_stands_in(world: World, tmp_path: Path) -> None:
    """DVC wants the file; tokens, descriptions and 'bemerc cache' take it for what it is."""
    none = dataclasses.replace(world.params, speech_backend="none")
    assert run.extract_speech([], tmp_path, tmp_path / "store", none) is None
    path = write_no_speech(tmp_path)
    with open_cache(path, "speech") as cache:
        assert (len(cache), cache.columns) == (0, ())
        assert not validate.check_rows(cache).issues
    assert path.read_bytes() == write_no_speech(tmp_path / "again").read_bytes()
    paths = {"audio": world.paths["audio"], "speech": path}
    file.run(world.manifest, paths, tmp_path / "a.h5", file.Params(k=2))
    file.run(world.manifest, {"audio": world.paths["audio"]}, tmp_path / "b.h5", file.Params(k=2))
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    describer.run(world.manifest, paths, tmp_path / "said.jsonl", rules.Params())
    (tmp_path / "audio.h5").write_bytes(world.paths["audio"].read_bytes())
    assert list(caches_at(tmp_path)) == ["audio"]


def test_it_goes_out_to_other_tools(world: World, tmp_path: Path) -> None:
    with open_cache(world.paths["speech"]) as cache:
        assert len(exporters.to_npy(cache, tmp_path / "npy", whole=False).files) >= len(LENGTHS_S) - 1
        assert np.load(tmp_path / "npy" / "train" / "1.npy").shape == cache["train/1"].values.shape
        exporters.to_mmsa({"speech": cache}, tmp_path / "out.pkl", world.manifest)
    importers.from_mmsa(tmp_path / "out.pkl", tmp_path / "back", None, None)
    made = importers.from_mertools(tmp_path / "npy", tmp_path / "theirs", world.manifest, "speech", 50.0)
    for path in (tmp_path / "back" / "speech.h5", made.path):
        paths = {"audio": world.paths["audio"], "speech": path}
        tokens = file.run(world.manifest, paths, path.with_name("tokens.h5"), file.Params(k=2))
        assert (
            sum(name.endswith(".level") and name[-7].isdigit() for name in tokens.modalities["audio"].columns) >= WIDTH
        )


def test_a_training_and_a_prediction_with_speech(world: World, tmp_path: Path) -> None:
    file.run(world.manifest, world.paths, tmp_path / "tokens.h5", file.Params(k=2))
    shape = language.build(tmp_path / "backbone", world.manifest)
    with file.open_tokens(tmp_path / "tokens.h5") as read:
        merc.run("TV", world.manifest, read, None, None, prompts.Params(), shape, language.TRAINING, tmp_path / "model")
    facts = behavior_model.read_metadata(tmp_path / "model")
    assert sum(name.startswith("wavlm_") for name in facts.columns["audio"]) == WIDTH
    answer = predict(tmp_path / "model", out=tmp_path / "out", caches=world.folder / "features")
    assert len(answer.predictions) == len(LENGTHS_S)
    with pytest.raises(BemercError, match=r"prosody/\d \+ encoder/1, and extract_audio\.speech_backend is none"):
        predict(tmp_path / "model", world.folder / "clips", tmp_path / "out")


def test_what_is_not_there_is_told_before_anything_is_measured(world: World, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(
        "extract_video: {}\nextract_audio: {speech_backend: encoder, encoder: {name_or_path: nowhere/wavlm}}\n"
    )
    with pytest.raises(BemercError, match="bemerc fetches no encoder by itself"):
        extract(world.folder / "clips", tmp_path / "out", params=tmp_path / "p.yaml")
    assert not (tmp_path / "out").exists()


def test_a_wide_cache_is_described_in_a_few_lines(world: World) -> None:
    with open_cache(world.paths["speech"]) as cache:
        description = validate.describe_cache(cache)
    assert f"and {WIDTH - 4} more of an encoder" in description
    assert len(description.splitlines()) < 20


# ------------------------------------------------------------------------------------------------- several clips at once


def test_one_process_takes_several_clips_and_a_crash_costs_one(tmp_path: Path) -> None:
    for i in range(7):
        write_clip(tmp_path / "clips" / f"{i}.mp4", 1.2 if i != 4 else 0.2, tone_hz=3000 if i == 2 else 200 + 20 * i)
    log = tmp_path / "log.txt"
    spec = extractor_spec("speech", "tests.hums", hums.Params(str(log)))
    outcome = run.run(jobs_from_folder(tmp_path / "clips"), (spec,), tmp_path, tmp_path / "store", 2, 0.5)
    assert outcome.failures == {"4": "Too short to hum."}
    assert set(outcome.retryable) == {"2"}
    assert "SIGSEGV" in outcome.retryable["2"]
    calls = [tuple(map(int, line.split())) for line in log.read_text().splitlines()]
    assert max(count for _, count in calls) == 4
    assert len(Counter(pid for pid, _ in calls)) == 3, "one process at a time: it dies beside others, and alone"
    with open_cache(tmp_path / "speech.h5") as cache:
        assert sum(cache.frames(id_) for id_ in cache) == 5


# ---------------------------------------------------------------------------------------------------------------- eGeMAPS

HAS_SMILE = importlib.util.find_spec("opensmile") is not None


@pytest.mark.skipif(HAS_SMILE, reason="openSMILE is installed")
def test_without_opensmile_a_sentence_says_what_to_install(world: World, tmp_path: Path) -> None:
    params = AudioParams(speech_backend="egemaps")
    with pytest.raises(BemercError, match=r"openSMILE, which is not installed.*bemerc\[egemaps\].*licence"):
        run.extract_speech(jobs_from_manifest(world.manifest), tmp_path, tmp_path / "store", params)


@pytest.mark.skipif(not HAS_SMILE, reason="openSMILE is not installed: pip install 'bemerc[egemaps]'")
def test_egemaps_against_a_known_tone() -> None:
    from bemerc.extraction.audio import egemaps

    extractor = egemaps.open_extractor(egemaps.Params())
    at = np.arange(32000) / 16000
    tone = sum(np.sin(2 * np.pi * 150 * k * at) / k for k in range(1, 8)) * 0.1 * ((at > 0.8) & (at < 1.4))
    features = extractor.clip((tone + 1e-4 * np.random.default_rng(0).standard_normal(32000)).astype(np.float32))
    assert features.columns == egemaps.columns(egemaps.Params())
    assert len(features.values) == pytest.approx(200, abs=6)
    pitch = features.column("egemaps_F0semitoneFrom27.5Hz_sma3nz")
    voiced = np.isfinite(pitch)
    assert np.nanmedian(pitch) == pytest.approx(12 * np.log2(150 / 27.5), abs=0.1)
    assert features.timestamps_s[voiced].mean() == pytest.approx(1.1, abs=0.02)
    loud = features.column("egemaps_Loudness_sma3")
    assert features.timestamps_s[loud > loud.max() / 2].mean() == pytest.approx(1.1, abs=0.02)
    assert np.isnan(features.column("egemaps_F1amplitudeLogRelF0_sma3nz")[~voiced]).all(), "no -201 dB in silence"
    assert np.isfinite(loud).all()
    for samples in (0, 1, 959):
        assert extractor.clip(np.zeros(samples, np.float32)).values.shape == (0, 25)
    assert len(extractor.clip(np.zeros(960, np.float32)).values) >= 1


@pytest.mark.skipif(not HAS_SMILE, reason="openSMILE is not installed: pip install 'bemerc[egemaps]'")
def test_egemaps_into_tokens(world: World, tmp_path: Path) -> None:
    params = AudioParams(speech_backend="egemaps")
    outcome = run.extract_speech(jobs_from_manifest(world.manifest), tmp_path, tmp_path / "store", params, 1)
    assert outcome is not None
    assert not outcome.failures
    paths = {"audio": world.paths["audio"], "speech": tmp_path / "speech.h5"}
    tokens = file.run(world.manifest, paths, tmp_path / "tokens.h5", file.Params(k=2))
    assert "egemaps_HNRdBACF_sma3nz.spread" in tokens.modalities["audio"].columns
