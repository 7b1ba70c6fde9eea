"""What containers say of time and shape: a table of clips, each checked against ffprobe and against what was filmed."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bemerc.media.audio import read_sound
from bemerc.media.video import Video, probe
from tests import clip_table
from tests.clip_table import CORNERS, TABLE, Clip

NAMES = [clip.name for clip in TABLE]
FFMPEG = shutil.which("ffmpeg") is not None and shutil.which("ffprobe") is not None


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    clip_table.make(folder)
    return folder


def check_upright(picture: NDArray[np.uint8]) -> None:
    """The colours of the corners are where they were filmed, and the disc in the middle is as wide as it is high."""
    height, width = picture.shape[:2]
    for place, colour in CORNERS.items():
        row = height // 9 if "top" in place else height - 1 - height // 9
        column = width // 12 if "left" in place else width - 1 - width // 12
        around = picture[row - height // 24 : row + height // 24 + 1, column - width // 32 : column + width // 32 + 1]
        measured = around.reshape(-1, 3).mean(axis=0)
        nearest = min(CORNERS, key=lambda name: float(np.abs(measured - CORNERS[name]).sum()))
        assert nearest == place
        assert np.abs(measured - colour).max() < 45, place
    disc = picture.mean(axis=2)[height // 8 : -(height // 8), width // 4 : -(width // 4)] < 50
    assert disc.any(axis=0).sum() == pytest.approx(disc.any(axis=1).sum(), rel=0.08, abs=2)


def begins(values: NDArray[np.float64], times_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """When something rises above the middle between its least and its most, each time after a rest."""
    loud = np.flatnonzero(values > (values.min() + values.max()) / 2)
    return times_s[loud[np.diff(times_s[loud], prepend=-np.inf) > 0.3]]


def check_times(clip: Clip, measured: NDArray[np.float64], listed: list[float | None]) -> None:
    """All frames are there, and as far apart as ffprobe says. Where the clip begins, versions of FFmpeg see up to 25 thousandths
    of a second apart, in clips whose sound begins with samples that are not to be heard."""
    assert all(np.diff(measured) > 0)
    assert len(listed) - clip.lost <= len(measured) <= len(listed)
    if clip.joins:
        back = [i + 1 for i, (one, other) in enumerate(itertools.pairwise(listed)) if one and other and other < one]
        half = back[0] if back else len(listed) // 2
        seam = measured[half] - measured[half - 1]
        assert 0 < seam < 0.16
        listed[half:] = [None if time is None else time - listed[half] + measured[half] for time in listed[half:]]
    expected = np.array([time for time in listed if time is not None])
    if not expected.size:  # not even ffprobe knows
        return
    shift = measured[0] - expected[0]
    assert abs(shift) <= 0.025
    apart = np.array([np.abs(measured - shift - time).min() for time in expected])
    assert (apart > 2e-3).sum() <= clip.lost


@pytest.mark.skipif(not FFMPEG, reason="ffmpeg and ffprobe are not here")
@pytest.mark.parametrize("clip", TABLE, ids=NAMES)
def test_each_clip_is_shown_as_it_was_filmed(clips: Path, clip: Clip) -> None:
    if not (clips / clip.name).exists():
        pytest.skip("this ffmpeg has not its encoder")
    check(clip, clips / clip.name, clip_table.times_s(clips / clip.name))


@pytest.mark.parametrize("name", clip_table.PYAV)
def test_so_are_clips_that_are_made_without_ffmpeg(tmp_path: Path, name: str) -> None:
    clip_table.make_with_pyav(tmp_path / name)
    apart_s = 0.08 if name == "h264_b.avi" else 0.0
    check(Clip(name, apart_s=apart_s), tmp_path / name, json.loads(clip_table.TIMES.read_text())[name])


def check(clip: Clip, path: Path, listed: list[float | None]) -> None:
    header = probe(path)
    assert header.has_audio == clip.sound
    changes = tones = np.zeros(0)
    if header.has_video:
        with Video(path) as video:
            frames = [(frame.timestamp_s, frame.rgb()) for frame in video]
        stamps = np.array([now_s for now_s, _ in frames])
        check_times(clip, stamps, listed)
        assert bool(video.faults) <= bool(clip.lost)
        first = frames[0][1]
        assert (first.shape[1], first.shape[0]) == (header.width, header.height) == clip.shown
        for _, picture in (frames[0], frames[-1]):
            check_upright(picture)
        background = [picture[:, picture.shape[1] // 4 : picture.shape[1] // 3].mean() for _, picture in frames]
        changes = begins(np.array(background), stamps)
    if clip.sound:
        wave = np.abs(read_sound(path).waveform.astype(np.float64))
        tones = begins(np.convolve(wave, np.ones(80) / 80, "same"), np.arange(len(wave)) / 16_000)
    if changes.size and tones.size:
        allowed = 0.1 if clip.joins else 1 / clip_table.FPS + 0.005  # a seam in the sound may be as long
        np.testing.assert_allclose(changes - clip.apart_s, tones, atol=allowed)
