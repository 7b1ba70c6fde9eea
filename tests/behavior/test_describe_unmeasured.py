"""What was not measured is not absent; one bad clip costs itself alone; what no body can do is no behavior."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from bemerc.behavior.describe import micro_expressions, phrases, references, rules
from bemerc.behavior.describe import run as describer
from bemerc.behavior.describe.description import SLOTS, Description, read_descriptions
from bemerc.behavior.signals import events
from bemerc.behavior.tokens import file as tokens
from bemerc.cache import NO_TRACK, Features, Head, Kind, Rows, write_cache
from bemerc.core.errors import MediaError
from bemerc.corpus.manifest import MODALITIES, Manifest
from bemerc.corpus.readers import folder
from bemerc.language.inputs import prompts, variants
from bemerc.media.audio import read_sound
from bemerc.media.container import NoTrackError
from bemerc.media.video import Video
from tests.behavior.test_describe import AUDIO, FACE, POSE, audio, face, pose
from tests.clips import write_clip

NOTHING = Description("No face was visible.", "No body was visible.", "No body was visible.", "No voice was heard.")


def caches(tmp_path: Path, failures: dict[str, str]) -> tuple[Manifest, dict[Kind, Path | None]]:
    """One clip that was measured and others that were not, for these reasons, in all three modalities."""
    paths: dict[Kind, Path | None] = {}
    for kind, columns, frames in (("face", FACE, face()), ("pose", POSE, pose()), ("audio", AUDIO, audio())):
        path = tmp_path / f"{kind}.h5"
        write_cache(path, Head(kind, columns, "clip", "x/1", {}), Rows([("good", frames, 2.0, None)], failures))
        paths[kind] = path  # type: ignore[index]
    return folder.from_ids({"good", *failures}).manifest(tmp_path), paths


def test_a_clip_that_cannot_be_opened_is_described_as_unmeasured(tmp_path: Path) -> None:
    silent = next(reason for reason in NO_TRACK if "sound" in reason)
    manifest, paths = caches(tmp_path, {"cut": "The clip cannot be opened (Invalid data).", "silent": silent})
    describer.run(manifest, paths, tmp_path / "out.jsonl", rules.Params())
    rows = {row["id"]: row for row in map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())}
    assert [rows["cut"][slot] for slot in SLOTS] == [None] * 4
    assert set(rows["cut"]["reasons"].values()) == {"The clip cannot be opened (Invalid data)."}
    assert rows["silent"]["voice"] == NOTHING.voice
    assert "reasons" not in rows["good"]
    assert [json.loads(line)["id"] for line in (tmp_path / describer.EVENTS).read_text().splitlines()] == [
        "good",
        "silent",
    ]
    descriptions = read_descriptions(tmp_path / "out.jsonl")
    assert all("could not be measured" in line for line in descriptions["cut"].lines())
    assert (tmp_path / "out.jsonl").stat().st_mode & 0o077 == 0
    # Nothing is trained on or asked about what was not measured.
    assert prompts.align_prompts("cut", vars(descriptions["cut"]), MODALITIES) == ()
    assert phrases.statements(descriptions["cut"]) == set()
    everything = variants.Variant("sentence", True, True, True, "target", "rules", True)
    assert variants.sentences(everything, {"rules": descriptions}, ["cut"]) == {"cut": {}}


def test_missing_tracks_are_recognised_by_their_sentence(tmp_path: Path) -> None:
    sounds = write_clip(tmp_path / "sound.wav", 0.3, picture=False)
    silent = write_clip(tmp_path / "silent.mp4", 0.3, tone_hz=None)
    with pytest.raises(NoTrackError) as picture, Video(sounds):
        pass
    with pytest.raises(NoTrackError) as sound:
        read_sound(silent)
    assert {str(picture.value), str(sound.value)} == NO_TRACK
    (tmp_path / "cut.mp4").write_bytes(silent.read_bytes()[:300])
    with pytest.raises(MediaError) as cut, Video(tmp_path / "cut.mp4"):
        pass
    assert str(cut.value) not in NO_TRACK


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_modality_without_a_cache_is_unmeasured_and_not_absent(tmp_path: Path, modality: str) -> None:
    manifest, paths = caches(tmp_path, {})
    describer.run(manifest, {**paths, modality: None}, tmp_path / "out.jsonl", rules.Params())
    description = read_descriptions(tmp_path / "out.jsonl")["good"]
    empty = {slot for slot in SLOTS if not getattr(description, slot)}
    assert empty == set(description.reasons) == {"face": {SLOTS[0]}, "pose": {SLOTS[2]}, "audio": {SLOTS[3]}}[modality]
    assert not {getattr(description, slot) for slot in SLOTS} & {NOTHING.facial_expression, NOTHING.voice}


def test_an_unmeasured_body_is_not_absent_where_no_face_is_visible() -> None:
    blind = replace(face(), values=np.full_like(face().values, np.nan))
    description = rules.describe({"face": blind})
    assert description.facial_expression == NOTHING.facial_expression
    assert description.body_language == ""
    assert set(description.reasons) == {"body_language", "posture", "voice"}


@pytest.mark.parametrize(
    "times",
    [
        lambda stamps: stamps * np.nan,
        lambda stamps: stamps + np.inf,
        lambda stamps: stamps * 1e-8,
        lambda stamps: stamps * 1e-300,
        lambda stamps: -stamps,
        lambda stamps: stamps * 0,
    ],
)
def test_one_clip_with_a_wrong_clock_never_ends_the_others(tmp_path: Path, times: object) -> None:
    manifest, paths = caches(tmp_path, {})
    usual = describer.run(manifest, paths, tmp_path / "alone.jsonl", rules.Params())
    for kind in MODALITIES:
        path, frames = paths[kind], {"face": face(), "pose": pose(), "audio": audio()}[kind]
        rows = [("bad", frames, 2.0, None), ("good", frames, 2.0, None)]
        write_cache(path, Head(kind, frames.columns, "clip", "x/1", {}), Rows(rows))
        with h5py.File(path, "a") as file:
            stamps = file["timestamps_s"]
            half = len(stamps) // 2
            stamps[:half] = times(stamps[:half])  # type: ignore[operator]
    start = time.monotonic()
    both = folder.from_ids({"bad", "good"}).manifest(tmp_path)
    describer.run(both, paths, tmp_path / "out.jsonl", rules.Params(), usual)
    descriptions = read_descriptions(tmp_path / "out.jsonl")
    assert descriptions["good"] == read_descriptions(tmp_path / "alone.jsonl")["good"]
    assert set(descriptions["bad"].reasons) == set(SLOTS)
    made = tokens.run(both.__class__(
        tuple(replace(u, split="train") for u in both.utterances), both.labels, both.corpora, both.folder
    ), paths, tmp_path / "tokens.h5", tokens.Params(k=2))  # fmt: skip
    assert made.modalities
    with tokens.open_tokens(tmp_path / "tokens.h5") as read:
        assert not any(read["bad"][m].mask.any() for m in MODALITIES)
        assert all(read["good"][m].mask.any() for m in MODALITIES)
    assert time.monotonic() - start < 10


def test_windows_are_bounded_whatever_the_step() -> None:
    series = np.abs(np.sin(np.arange(5000) / 7))
    start = time.monotonic()
    events.brief_peaks(series, 1e-9, 0.3)
    clip = face()
    micro_expressions.spot({"face": Features(clip.values, clip.timestamps_s * 1e-3, clip.columns)})
    assert time.monotonic() - start < 10
    np.testing.assert_allclose(
        events.running_median(series, 3), [np.median(series[max(0, i - 3) : i + 4]) for i in range(len(series))]
    )
    np.testing.assert_array_equal(events.running_median(np.array([1.0, np.nan, 3.0]), 1), [1.0, np.nan, 3.0])


@pytest.mark.parametrize("value", [-90.0, 55.0])
def test_what_no_body_can_do_is_no_behavior(value: float) -> None:
    still = pose(4.0)
    slipped = replace(still, values=still.values.copy())
    slipped.values[12, POSE.index("lean_deg")] = value
    assert rules.describe({"pose": slipped}) == rules.describe({"pose": still})
    assert "lean_deg" not in references.GENERAL.rest
