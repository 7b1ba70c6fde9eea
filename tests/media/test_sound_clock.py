"""Sound is on the clip's clock: what FFmpeg's ``aresample=async=1`` gives, for drift, holes, overlaps, late and early tracks."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bemerc.core.errors import MediaError
from bemerc.extraction.audio import prosody
from bemerc.media import timeline
from bemerc.media.audio import Sound, read_sound
from bemerc.media.channels import Mix
from bemerc.media.losses import Losses
from tests.clips import ffmpeg

pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg makes these clips")
RATE = 16_000


@pytest.fixture(scope="module")
def bursts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 s of picture, and a burst of .2 s at every whole second."""
    path = tmp_path_factory.mktemp("sound") / "bursts.mkv"
    beeps = "aevalsrc='if(lt(mod(t,1),0.2),0.5*sin(2*PI*300*t),0)':s=48000:d=12"
    picture = ("-f", "lavfi", "-i", "color=black:s=64x48:r=25:d=12")
    ffmpeg(*picture, "-f", "lavfi", "-i", beeps, "-c:v", "libx264", "-c:a", "libopus", path)
    return path


def onsets(waveform: np.ndarray) -> list[float]:
    """When bursts begin, in seconds."""
    level = np.abs(waveform[: len(waveform) // 160 * 160]).reshape(-1, 160).max(1) > 0.1
    measured: list[float] = []
    for frame in np.flatnonzero(level & ~np.r_[False, level[:-1]]):
        if not measured or frame * 0.01 - measured[-1] > 0.3:
            measured.append(frame * 0.01)
    return measured


def filled_s(sound: Sound) -> float:
    """Seconds that were filled with silence, less those that were cut, by the sound's notes."""
    measured = [re.search(r"([\d.]+) s were (filled|cut)", note) for note in sound.faults]
    return sum(float(one[1]) * (1 if one[2] == "filled" else -1) for one in measured if one)


def by_ffmpeg(path: Path) -> np.ndarray:
    """The sound as FFmpeg lays it on the clip's clock."""
    command = ["ffmpeg", "-nostdin", "-v", "error", "-i", str(path), "-vn", "-af", "aresample=async=1:first_pts=0"]
    command += ["-ac", "1", "-ar", str(RATE), "-f", "f32le", "pipe:1"]
    return np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, np.float32)


@pytest.mark.parametrize("factor", [0.92, 0.99, 1.01, 1.08])
def test_a_clock_that_drifts(bursts: Path, tmp_path: Path, factor: float) -> None:
    path = tmp_path / "a.mkv"
    ffmpeg("-i", bursts, "-c", "copy", "-bsf:a", f"setts=ts=TS*{factor}", path)
    sound = read_sound(path)
    assert onsets(sound.waveform) == pytest.approx([i * factor for i in range(12)], abs=0.111)
    assert onsets(sound.waveform) == pytest.approx(onsets(by_ffmpeg(path)), abs=0.111)
    assert bool(sound.faults) is (abs(factor - 1) * 12 > 0.1)
    assert len(sound.waveform) / RATE == pytest.approx(12 * factor, abs=0.15)
    assert filled_s(sound) == pytest.approx(12 * (factor - 1), abs=0.11)


@pytest.mark.slow
@pytest.mark.parametrize("factor", [0.9995, 1.0005])
def test_a_long_drift_of_a_real_clock(tmp_path: Path, factor: float) -> None:
    """An hour of clicks on a clock that is wrong by half a per mille: 1.8 s at its end."""
    beeps = "aevalsrc='if(lt(mod(t,100),0.2),0.5*sin(2*PI*300*t),0)':s=8000:d=3600"
    ffmpeg("-f", "lavfi", "-i", beeps, "-c:a", "pcm_mulaw", tmp_path / "straight.mka")
    ffmpeg("-i", tmp_path / "straight.mka", "-c", "copy", "-bsf:a", f"setts=ts=TS*{factor}", tmp_path / "a.mka")
    measured = onsets(read_sound(tmp_path / "a.mka").waveform)
    assert measured == pytest.approx([100 * i * factor for i in range(36)], abs=0.111)


def test_a_jittery_clock_changes_no_sample(bursts: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    ffmpeg("-i", bursts, "-c", "copy", "-bsf:a", "setts=ts=TS+if(eq(N\\,0)\\,0\\,20*sin(N))", path)
    sound = read_sound(path)
    assert sound.faults == []
    np.testing.assert_array_equal(sound.waveform, read_sound(bursts).waveform)


@pytest.mark.parametrize("wrong_s", [-3.0, 0.4, 3.0, 1e6, 1e12])
def test_one_wrong_timestamp_is_not_believed(wrong_s: float) -> None:
    losses = Losses("sound")
    plain, wrong = timeline.Timeline(Mix(), losses), timeline.Timeline(Mix(), losses)
    starts_s = [number * 0.1 for number in range(20)]
    for into, times_s in ((plain, starts_s), (wrong, [*starts_s[:10], 1.0 + wrong_s, *starts_s[11:]])):
        for frame, start_s, next_s in zip(frames(20), times_s, [*times_s[1:], None], strict=True):
            into.add(frame, start_s, next_s)
    np.testing.assert_array_equal(plain.finish(), wrong.finish())
    assert losses.notes() == []
    assert wrong.full == ""


@pytest.mark.parametrize("hole_s", [0.5, 30, 590, 700, 3000, 7200])
def test_a_hole_of_any_length(bursts: Path, tmp_path: Path, hole_s: float) -> None:
    path = tmp_path / "a.mkv"
    later = f"setts=ts=if(gte(TS*TB\\,5.5)\\,TS+{hole_s}/TB\\,TS)"
    ffmpeg("-i", bursts, "-map", "0:a", "-c", "copy", "-bsf:a", later, path)
    sound = read_sound(path)
    expected = [*range(6), *(i + hole_s for i in range(6, 12))]
    assert onsets(sound.waveform) == pytest.approx(expected, abs=0.03)
    assert filled_s(sound) == pytest.approx(hole_s, abs=0.05)
    assert "filled" in sound.faults[0]
    assert sound.losses.notes(0, 5) == []
    assert "filled" in sound.losses.notes(5, 7)[0]


def test_a_hole_is_measured_as_silence(bursts: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    ffmpeg("-i", bursts, "-map", "0:a", "-c", "copy", "-bsf:a", "setts=ts=if(gte(TS*TB\\,5.5)\\,TS+4/TB\\,TS)", path)
    features = prosody.open_extractor(prosody.Params()).clip(read_sound(path).waveform)
    inside = (features.timestamps_s > 5.6) & (features.timestamps_s < 9.4)
    assert (features.column("energy_db")[inside] == -100).all()
    assert np.isnan(features.column("pitch_hz")[inside]).all()
    assert np.isfinite(features.values[:, 1:]).all()
    voiced = np.isfinite(features.column("pitch_hz"))
    assert voiced.mean() == pytest.approx(0.2 * 12 / 16, abs=0.06)


def test_the_edges_of_a_hole_do_not_click(tmp_path: Path) -> None:
    """A tone that is broken off: its band alone sounds, at the edges too."""
    ffmpeg("-f", "lavfi", "-i", "sine=300:r=16000:d=4", "-c:a", "pcm_s16le", tmp_path / "a.mka")
    for change in ("if(gte(TS*TB\\,2)\\,TS+1/TB\\,TS)", "if(gte(TS*TB\\,2)\\,TS-1/TB\\,TS)"):
        ffmpeg("-i", tmp_path / "a.mka", "-c", "copy", "-bsf:a", f"setts=ts={change}", tmp_path / "b.mka")
        sound = read_sound(tmp_path / "b.mka")
        assert abs(filled_s(sound)) == pytest.approx(1, abs=0.11)
        assert np.abs(np.diff(sound.waveform)).max() < 1.3 * np.abs(np.diff(sound.waveform[:16_000])).max()


@pytest.mark.parametrize("start_s", [0.05, 3.0, 700.0])
def test_a_track_that_starts_late(bursts: Path, tmp_path: Path, start_s: float) -> None:
    path = tmp_path / "a.mkv"
    ffmpeg("-i", bursts, "-itsoffset", str(start_s), "-i", bursts, "-map", "0:v", "-map", "1:a", "-c", "copy", path)
    sound = read_sound(path)
    assert onsets(sound.waveform) == pytest.approx([start_s + i for i in range(12)], abs=0.03)
    assert bool(sound.faults) is (start_s > 0.5)
    assert sound.losses.notes(start_s + 1, start_s + 2) == []


def test_a_track_that_starts_early(bursts: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    ffmpeg(
        "-itsoffset",
        "1.5",
        "-i",
        bursts,
        "-i",
        bursts,
        "-map",
        "0:v",
        "-map",
        "1:a",
        "-c:v",
        "copy",
        "-c:a",
        "aac",
        path,
    )
    picture_late = read_sound(path)
    assert onsets(picture_late.waveform) == pytest.approx(range(12), abs=0.03)
    ffmpeg("-i", path, "-c", "copy", "-copyts", "-start_at_zero", "-bsf:a", "setts=ts=TS-2.5/TB", tmp_path / "b.mkv")
    assert read_sound(tmp_path / "b.mkv").faults == []


def test_pieces_that_overlap(bursts: Path, tmp_path: Path) -> None:
    """Files joined whose second begins before the first one ends: its beginning is left out, as players do it."""
    path = tmp_path / "a.mkv"
    back = "setts=ts=if(gte(TS*TB\\,6.5)\\,TS-2.5/TB\\,TS)"
    ffmpeg("-i", bursts, "-map", "0:a", "-c", "copy", "-bsf:a", back, path)
    sound = read_sound(path)
    assert onsets(sound.waveform) == pytest.approx([0, 1, 2, 3, 4, 5, 6, 6.5, 7.5, 8.5], abs=0.11)
    assert onsets(sound.waveform) == pytest.approx(onsets(by_ffmpeg(path)), abs=0.11)
    assert "cut" in sound.faults[0]
    assert filled_s(sound) == pytest.approx(-2.5, abs=0.11)


def test_frames_without_timestamps_follow_each_other() -> None:
    losses = Losses("sound")
    plain, untimed = timeline.Timeline(Mix(), losses), timeline.Timeline(Mix(), losses)
    for number, frame in enumerate(frames(20)):
        plain.add(frame, number * 0.1, (number + 1) * 0.1)
    for number, frame in enumerate(frames(20)):
        untimed.add(frame, None if number % 3 else number * 0.1, None)
    np.testing.assert_array_equal(plain.finish(), untimed.finish())
    assert losses.notes() == []


def frames(count: int):  # type: ignore[no-untyped-def]
    import av

    rng = np.random.default_rng(0)
    for _ in range(count):
        frame = av.AudioFrame.from_ndarray(rng.integers(-9000, 9000, (1, 4800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 48_000
        yield frame


def test_more_silence_than_the_limit_ends_the_sound_with_a_word(bursts: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    ffmpeg(
        "-i", bursts, "-map", "0:a", "-c", "copy", "-bsf:a", "setts=ts=if(gte(TS*TB\\,5.5)\\,TS+11000/TB\\,TS)", path
    )
    sound = read_sound(path)
    assert onsets(sound.waveform) == pytest.approx(range(6), abs=0.03)
    assert sound.duration_s == len(sound.waveform) / RATE < 6
    assert "3 hours" in sound.faults[0]
    ffmpeg("-i", bursts, "-itsoffset", "20000", "-i", bursts, "-map", "0:v", "-map", "1:a", "-c", "copy", path)
    with pytest.raises(MediaError, match="3 hours"):
        read_sound(path)


MEMORY = """
import re, sys
from pathlib import Path
from bemerc.media.audio import read_sound
highest = lambda: int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
before = highest()
print(len(read_sound(Path(sys.argv[1])).waveform), highest() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system counts memory otherwise")
def test_holes_take_no_memory_and_a_long_track_is_not_held_twice(bursts: Path, tmp_path: Path) -> None:
    def grown(path: Path) -> tuple[float, float]:
        command = [sys.executable, "-c", MEMORY, str(path)]
        samples, kilobytes = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        return int(samples) / RATE, int(kilobytes) / 1024

    # Packets of 20 ms: after every second a hole of 590 s.
    ffmpeg("-i", bursts, "-map", "0:a", "-c", "copy", "-bsf:a", "setts=ts=TS+590*floor(TS*TB)/TB", tmp_path / "a.mkv")
    seconds, megabytes = grown(tmp_path / "a.mkv")
    assert seconds > 6400, "410 MB of samples"
    assert megabytes < 120
    ffmpeg("-f", "lavfi", "-i", "anoisesrc=r=8000:d=1500", "-c:a", "pcm_mulaw", tmp_path / "long.wav")
    seconds, megabytes = grown(tmp_path / "long.wav")
    assert seconds * RATE * 4 / 2**20 < megabytes < seconds * RATE * 4 / 2**20 + 80


def test_a_note_says_what_concerns_its_part() -> None:
    losses = Losses("sound")
    for at_s, by_s in ((10.0, 5.0), (30.0, -0.2)):
        losses.add_gap(at_s, by_s)
    losses.add_invalid(35.0, 7)
    assert len(losses.notes()) == 3
    assert losses.notes(0, 9) == losses.notes(16, 29) == []
    assert "5.00 s" in losses.notes(12, 13)[0]
    assert "0.20 s" in losses.notes(20, 31)[0]
    assert "7 samples" in losses.notes(34, 36)[0]
