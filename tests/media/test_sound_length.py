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
from bemerc.media.video import Video, probe
from tests.clips import ffmpeg, write_clip

pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg makes these clips")
SECONDS = 6.0


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
def test_a_complete_file_is_not_too_short(uneven: Path, tmp_path: Path, name: str) -> None:
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
def test_an_avi_with_a_wrong_header_is_as_long_as_its_sound(tmp_path: Path, share: float) -> None:
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


# Of these the last three state no length of a track, and a browser's Matroska does not either.
_SHORTER = ["mkv", "webm", "mp4", "browser.mkv", "browser.webm", "flv", "nut", "wmv"]


def _two_tracks(path: Path, picture_s: float, sound_s: float) -> Path:
    picture, tone = f"color=black:s=64x48:r=10:d={picture_s}", f"sine=300:d={sound_s}"
    codecs = {
        ".webm": ["-c:v", "libvpx", "-c:a", "libopus"],
        ".wmv": ["-c:v", "wmv2", "-c:a", "wmav2"],
    }.get(path.suffix, ["-c:v", "libx264", "-c:a", "aac"])
    ffmpeg("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", tone, *codecs, path)
    if "browser" in path.name:
        path.write_bytes(path.read_bytes().replace(b"DURATION", b"XXXXXXXX"))
    return path


@pytest.mark.parametrize("name", _SHORTER)
def test_a_track_that_is_shorter_than_the_picture_is_whole(tmp_path: Path, name: str) -> None:
    sound = read_sound(_two_tracks(tmp_path / f"a.{name}", 8, 2))
    assert sound.faults == []
    assert sound.duration_s == pytest.approx(8.0, abs=0.2)
    assert len(sound.waveform) / 16_000 == pytest.approx(2.0, abs=0.1)
    assert np.abs(sound.waveform).max() > 0.1


@pytest.mark.parametrize("name", _SHORTER)
def test_a_picture_that_is_shorter_than_the_sound_is_whole(tmp_path: Path, name: str) -> None:
    with Video(_two_tracks(tmp_path / f"a.{name}", 2, 8)) as video:
        times_s = [frame.timestamp_s for frame in video]
    assert video.faults == []
    assert video.duration_s == pytest.approx(8.0, abs=0.2)
    assert times_s[-1] == pytest.approx(1.9, abs=0.1)


@pytest.mark.parametrize("name", ["mkv", "browser.mkv", "flv"])
def test_tracks_that_both_end_early_were_cut_off(tmp_path: Path, name: str) -> None:
    path = _two_tracks(tmp_path / f"a.{name}", 8, 8)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert any("ends at" in note for note in read_sound(path).faults)
    with Video(path) as video:
        list(video)
    assert any("ends at" in note for note in video.faults)
