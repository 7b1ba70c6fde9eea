"""How long a clip's sound is: what the header states counts, what FFmpeg guesses does not, and nothing is missed in vain."""

from __future__ import annotations

import math
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest

from bemerc.media.audio import read_sound
from bemerc.media.video import probe
from tests.clips import write_clip

pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg makes these clips")
SECONDS = 6.0


def ffmpeg(*arguments: str | Path) -> None:
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", *map(str, arguments)], check=True)


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Silence, then noise: a bit rate measured at the beginning is far too low."""
    path = tmp_path_factory.mktemp("sound") / "uneven.wav"
    ffmpeg("-f", "lavfi", "-i", f"anoisesrc=r=44100:a=0.3:d={SECONDS}", "-af", "volume=0:enable='lt(t,2)'", path)
    return path


# File name -> how it is encoded, and whether its header says how long it is.
KINDS = {
    "a.aac": (["-c:a", "aac"], False),
    "vbr.mp3": (["-c:a", "libmp3lame", "-q:a", "4", "-write_xing", "0"], False),
    "tagged.mp3": (
        ["-c:a", "libmp3lame", "-q:a", "4", "-write_xing", "0", "-metadata", f"comment={'x' * 60000}"],
        False,
    ),
    "xing.mp3": (["-c:a", "libmp3lame", "-q:a", "4"], True),
    "a.ac3": (["-c:a", "ac3"], False),
    "a.latm": (["-c:a", "aac", "-f", "latm"], False),
    "a.flac": (["-c:a", "flac"], True),
    "a.ogg": (["-c:a", "libvorbis"], True),
    "a.opus": (["-c:a", "libopus"], True),
    "a.m4a": (["-c:a", "aac"], True),
    "a.mka": (["-c:a", "aac"], True),
    "a.wma": (["-c:a", "wmav2"], True),
    "a.avi": (["-c:a", "libmp3lame"], True),
    "a.ts": (["-c:a", "aac"], True),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_whole_file_is_not_found_too_short(uneven: Path, tmp_path: Path, name: str) -> None:
    arguments, stated = KINDS[name]
    ffmpeg("-i", uneven, *arguments, tmp_path / name)
    sound = read_sound(tmp_path / name)
    assert sound.faults == []
    assert sound.duration_s == pytest.approx(SECONDS, abs=0.15)
    assert len(sound.waveform) / 16_000 == pytest.approx(SECONDS, abs=0.15)
    assert math.isfinite(probe(tmp_path / name).duration_s) is stated


@pytest.mark.parametrize("name", ["xing.mp3", "a.flac", "a.mka"])
def test_a_file_that_was_cut_off_is(uneven: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    ffmpeg("-i", uneven, *KINDS[name][0], path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    sound = read_sound(path)
    assert sound.faults
    assert sound.duration_s == len(sound.waveform) / 16_000 < SECONDS - 1


@pytest.mark.parametrize("share", [0.0, 0.3, 4.0])
def test_an_avi_whose_header_is_wrong_is_as_long_as_its_sound(tmp_path: Path, share: float) -> None:
    path = write_clip(tmp_path / "a.avi", 3.0, picture=False)
    data = bytearray(path.read_bytes())
    at = data.index(b"strh") + 8 + 32
    struct.pack_into("<I", data, at, round(struct.unpack_from("<I", data, at)[0] * share))
    path.write_bytes(data)
    sound = read_sound(path)
    assert sound.faults == []
    assert sound.duration_s == pytest.approx(3.0, abs=0.1)


def test_an_avi_from_a_pipe_is_as_long_as_its_sound(uneven: Path, tmp_path: Path) -> None:
    with (tmp_path / "a.avi").open("wb") as file:
        command = ["ffmpeg", "-nostdin", "-v", "error", "-i", str(uneven), "-c:a", "aac", "-f", "avi", "pipe:1"]
        file.write(subprocess.run(command, capture_output=True, check=True).stdout)
    assert math.isclose(read_sound(tmp_path / "a.avi").duration_s, SECONDS, abs_tol=0.1)
    assert read_sound(tmp_path / "a.avi").faults == []


@pytest.mark.parametrize("suffix", ["mkv", "webm", "mp4"])
def test_a_track_that_is_shorter_than_the_picture_is_whole(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    picture, tone = "color=black:s=64x48:r=10:d=8", "sine=300:d=2"
    codecs = ["-c:v", "libvpx", "-c:a", "libopus"] if suffix == "webm" else ["-c:v", "libx264", "-c:a", "aac"]
    ffmpeg("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", tone, *codecs, path)
    sound = read_sound(path)
    assert sound.faults == []
    assert sound.duration_s == pytest.approx(8.0, abs=0.1)
    assert len(sound.waveform) / 16_000 == pytest.approx(2.0, abs=0.1)
    assert np.abs(sound.waveform).max() > 0.1
