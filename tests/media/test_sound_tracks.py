"""Several sound tracks: the one with a voice is taken unless a number is asked for, and the choice is noted."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from bemerc.cache import open_cache
from bemerc.core.config import from_mapping
from bemerc.core.errors import ConfigError
from bemerc.corpus import transcribe
from bemerc.corpus.readers import recording
from bemerc.extraction import run
from bemerc.extraction.audio import prosody
from bemerc.extraction.face import extractor
from bemerc.extraction.jobs import Job, extractor_spec
from bemerc.media.audio import read_sound
from bemerc.media.container import NoTrackError, length_s
from bemerc.media.pitch import SAMPLE_RATE_HZ
from bemerc.media.video import probe
from tests.clips import ffmpeg
from tests.media.test_sound_channels import RATE, noise, write_wav
from tests.spoken import music, spoken
from tests.whispers import tiny_whisper

pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg makes these clips")


def join(path: Path, *tracks: np.ndarray, codec: str = "pcm_s16le") -> Path:
    """A file with these mono sounds as its tracks, the first one the players' choice."""
    files = [write_wav(path.with_name(f"{path.stem}{i}.wav"), track[None]) for i, track in enumerate(tracks)]
    arguments: list[str | Path] = []
    for file in files:
        arguments += ["-i", file]
    for number in range(len(files)):
        arguments += ["-map", str(number), f"-disposition:a:{number}", "0" if number else "default"]
    ffmpeg(*arguments, "-c:a", codec, path)
    return path


def voice() -> np.ndarray:
    """Two seconds of words."""
    words = spoken(2.0)
    return np.interp(np.arange(2 * RATE) / RATE, np.arange(len(words)) / SAMPLE_RATE_HZ, words)


def melody() -> np.ndarray:
    """Two seconds of chords, louder than the words."""
    chords = music(2.0)
    return 2 * np.interp(np.arange(2 * RATE) / RATE, np.arange(len(chords)) / SAMPLE_RATE_HZ, chords)


SILENCE = np.zeros(2 * RATE)
TRACKS = {
    "silence, voice": (lambda: (SILENCE, voice()), 2),
    "voice, silence": (lambda: (voice(), SILENCE), 1),
    "music, voice": (lambda: (melody(), voice()), 2),
    "tone, noise, voice": (lambda: (0.5 * np.sin(np.arange(2 * RATE) * 0.03), noise(0.1, 1), voice()), 3),
    "voice, the same louder": (lambda: (0.5 * voice(), voice()), 1),
    "silence, noise": (lambda: (SILENCE, noise(0.1, 1)), 2),
    "silence, silence": (lambda: (SILENCE, SILENCE), 1),
}


@pytest.mark.parametrize("name", TRACKS)
def test_the_track_with_a_voice_is_taken(tmp_path: Path, name: str) -> None:
    make, place = TRACKS[name]
    tracks = make()
    path = join(tmp_path / "a.mkv", *tracks)
    sound = read_sound(path)
    assert f"track {place} was taken" in sound.choices[0]
    assert sound.losses.notes(0.5, 0.6) == list(sound.choices)
    assert sound.faults == []
    alone = read_sound(write_wav(tmp_path / "alone.wav", tracks[place - 1][None]))
    np.testing.assert_allclose(sound.waveform, alone.waveform, atol=1e-4)
    for until_s in (0.3, 1.0):
        np.testing.assert_array_equal(read_sound(path, until_s).cut(0, until_s), sound.cut(0, until_s))


def test_a_number_is_obeyed_and_may_be_too_high(tmp_path: Path) -> None:
    path = join(tmp_path / "a.mp4", SILENCE, voice(), codec="aac")
    assert np.abs(read_sound(path, track=1).waveform).max() < 1e-3
    assert np.abs(read_sound(path, track=2).waveform).max() > 0.1
    assert read_sound(path, track=2).choices == ()
    with pytest.raises(NoTrackError, match="no sound track 3; it has 2"):
        read_sound(path, track=3)


def test_the_parameter_is_a_part_of_what_is_measured(tmp_path: Path) -> None:
    path = join(tmp_path / "a.mkv", SILENCE, voice())
    jobs, store = [Job("a", path)], tmp_path / "store"
    levels = {}
    for track in ("auto", 1, 2):
        params = run.AudioParams(track=track, max_failed_share=1.0)  # type: ignore[arg-type]
        outcome = run.extract_audio(jobs, tmp_path / "out", store, params, 1)
        with open_cache(outcome.paths["audio"]) as cache:
            assert cache.params.get("track", "auto") == track
            assert ("track 2 was taken" in cache.notes.get("a", "")) is (track == "auto")
            levels[track] = float(cache["a"].column("energy_db").max())
    assert levels["auto"] == levels[2] > -20
    assert levels[1] == -100
    names = {
        extractor_spec("audio", prosody.__name__, prosody.Params(), track).recorded_params.get("track")
        for track in ("auto", 1, 2)
    }
    assert names == {None, 1, 2}
    assert "track" not in extractor_spec("face", extractor.__name__, extractor.Params()).recorded_params


def test_a_track_that_cannot_be_is_named() -> None:
    for cls in (run.AudioParams, run.VideoParams, recording.Params):
        from_mapping({"track": 2}, cls, "params")
        for wrong in (0, -1, "loudest", True, 1.5):
            with pytest.raises(ConfigError, match="track"):
                from_mapping({"track": wrong}, cls, "params")


def test_a_transcript_is_of_its_track(tmp_path: Path) -> None:
    path = join(tmp_path / "a.mkv", SILENCE, voice())
    whisper = str(tiny_whisper(tmp_path / "whisper"))
    transcripts = transcribe.run([path], whisper, tmp_path / "out")
    assert set(transcripts.files) == {path}
    assert "No speech" in transcribe.run([path], whisper, tmp_path / "out", track=1).without[path]
    assert "no sound track 3" in transcribe.run([path], whisper, tmp_path / "out", track=3).without[path]
    assert transcribe.run([path], whisper, tmp_path / "out").files == transcripts.files


@pytest.mark.parametrize("seconds", [20, 40])
def test_a_browsers_recording_is_as_long_as_its_packets(tmp_path: Path, seconds: int) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    source = ["-f", "lavfi", "-i", f"sine=300:d={seconds}", "-c:a", "libopus", "-f", "webm", "-live", "1"]
    path = clips / "a.webm"
    path.write_bytes(
        subprocess.run(["ffmpeg", "-nostdin", "-v", "error", *source, "pipe:1"], capture_output=True, check=True).stdout
    )
    assert np.isnan(probe(path).duration_s)
    assert length_s(path) == pytest.approx(seconds, abs=0.1)
    assert read_sound(path).duration_s == pytest.approx(seconds, abs=0.1)
    words = tmp_path / "a.vtt"
    words.write_text("WEBVTT\n\n00:00.000 --> 00:05.000\nOne.\n\n00:06.000 --> 00:12.000\nTwo.\n")
    turns = recording.read_dir(clips, {path: words}).utterances
    assert [u.text for u in turns] == (["One. Two."] if seconds == 20 else ["One.", "Two."])
