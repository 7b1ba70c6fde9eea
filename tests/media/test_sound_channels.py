"""Sound as recorders make it: channels that cancel or are dead, levels out of range, any rate, any layout."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bemerc.core.errors import MediaError
from bemerc.extraction.audio import prosody
from bemerc.media.audio import Sound, read_sound
from tests.clips import ffmpeg

Array = NDArray[np.float64]
RATE = 48_000
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg makes these clips")


def voice(seconds: float = 2.0, rate: int = RATE) -> Array:
    """(N,) a buzz that glides up and down around 180 Hz, with pauses, at most .5."""
    time_s = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * np.cumsum(180 * 2 ** (0.3 * np.sin(2 * np.pi * time_s))) / rate
    buzz = sum(np.sin(k * phase) / k for k in range(1, 9) if k * 230 < rate / 2)
    return np.asarray(0.4 * buzz / np.abs(buzz).max() * (time_s % 0.8 < 0.6))


def write_wav(path: Path, channels: Array, rate: int = RATE, kind: str = "<i2") -> Path:
    """(C, N) samples as a WAV file of 16 bit or float samples."""
    values = np.clip(channels, -1, 1) * 32767 if kind == "<i2" else channels
    data = np.ascontiguousarray(values.T).astype(kind).tobytes()
    size, count = np.dtype(kind).itemsize, len(channels)
    head = struct.pack("<HHIIHH", 1 if kind == "<i2" else 3, count, rate, rate * count * size, count * size, 8 * size)
    path.write_bytes(
        b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + struct.pack("<I", 16) + head
        + b"data" + struct.pack("<I", len(data)) + data
    )  # fmt: skip
    return path


def measured(sound: Sound) -> tuple[float, float]:
    """Median pitch in Hz and the level of the loud half in dB."""
    features = prosody.open_extractor(prosody.Params()).clip(sound.waveform)
    energy = features.column("energy_db")
    return float(np.nanmedian(features.column("pitch_hz"))), float(np.quantile(energy, 0.75))


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> tuple[float, float]:
    return measured(read_sound(write_wav(tmp_path_factory.mktemp("sound") / "clean.wav", voice()[None])))


def noise(level: float, seed: int) -> Array:
    return level * np.random.default_rng(seed).standard_normal(round(2.0 * RATE))


# What comes out of a recorder -> its channels, and the words of the note (none: the usual mix).
CHANNELS = {
    "mono": (lambda v: [v], ""),
    "dual mono": (lambda v: [v, v], ""),
    "left alone": (lambda v: [v, 0 * v], "only channel 1"),
    "right alone": (lambda v: [0 * v, v], "only channel 2"),
    "right alone beside hiss": (lambda v: [noise(1e-4, 1), v], "only channel 2"),
    "inverted": (lambda v: [v, -v], "cancel"),
    "inverted, uneven": (lambda v: [v, -0.8 * v], "cancel"),
    "inverted, noisy": (lambda v: [v + noise(0.01, 1), -v + noise(0.01, 2)], "cancel"),
    "centre of 5.1": (lambda v: [0 * v, 0 * v, v, 0 * v, 0 * v, 0 * v], "only channel 3"),
    "centre of 7.1, with rumble": (lambda v: [0 * v, 0 * v, v, noise(0.3, 1), *[0 * v] * 4], "only channel 3"),
    "sides of 5.1 inverted": (lambda v: [v, -v, 0 * v, 0 * v, v, -v], "cancel"),
    "5.1 inverted, centre too": (lambda v: [-v, -v, 0.9 * v, 0 * v, 0 * v, 0.7 * v], "channel 3"),
    "nine": (lambda v: [v] * 9, "not known"),
}


@pytest.mark.parametrize("name", CHANNELS)
def test_the_voice_is_kept_whatever_the_channels(tmp_path: Path, clean: tuple[float, float], name: str) -> None:
    make, words = CHANNELS[name]
    sound = read_sound(write_wav(tmp_path / "a.wav", np.stack(make(voice()))))
    assert measured(sound) == pytest.approx(clean, abs=1.5)
    assert sound.faults == []
    assert len(sound.choices) == (words != "")
    assert words in " ".join(sound.choices)
    assert sound.losses.notes(0.5, 1.0) == list(sound.choices)


def test_unrelated_and_silent_channels_are_mixed_as_ever(tmp_path: Path) -> None:
    wide = write_wav(tmp_path / "wide.wav", np.stack([noise(0.1, 1), noise(0.1, 2)]))
    apart = write_wav(tmp_path / "apart.wav", np.stack([voice(), noise(0.1, 2)]))
    silent = write_wav(tmp_path / "silent.wav", np.zeros((2, 1000)))
    for path in (wide, apart, silent):
        assert read_sound(path).choices == ()


def test_a_part_has_the_samples_that_it_has_in_the_whole(tmp_path: Path) -> None:
    """The channel is chosen by the same sound, however much of it is read."""
    channels = np.stack([np.r_[noise(0.05, 1), voice()], np.r_[noise(0.05, 2), -voice()]])
    path = write_wav(tmp_path / "a.wav", channels)
    whole = read_sound(path)
    assert "cancel" in whole.choices[0]
    for until_s in (0.5, 1.5, 3.0):
        part = read_sound(path, until_s)
        assert part.choices == whole.choices
        np.testing.assert_array_equal(part.cut(0, until_s), whole.cut(0, until_s))


@needs_ffmpeg
def test_many_channels_that_lie_apart(tmp_path: Path, clean: tuple[float, float]) -> None:
    """Decoders give a plane per channel, and PyAV knows eight."""
    write_wav(tmp_path / "a.wav", np.stack([voice()] * 12))
    ffmpeg("-i", tmp_path / "a.wav", "-mapping_family", "255", "-c:a", "libopus", tmp_path / "a.mka")
    sound = read_sound(tmp_path / "a.mka")
    assert measured(sound) == pytest.approx(clean, abs=1.5)


@pytest.mark.parametrize("rate", [1000, 8000, 11_025, 22_050, 44_100, 96_000, 192_000])
def test_any_rate(tmp_path: Path, clean: tuple[float, float], rate: int) -> None:
    sound = read_sound(write_wav(tmp_path / "a.wav", voice(rate=rate)[None], rate))
    assert sound.duration_s == pytest.approx(2.0, abs=0.01)
    assert len(sound.waveform) == pytest.approx(32_000, abs=40)
    assert measured(sound) == pytest.approx(clean, abs=3)


def test_a_rate_of_a_few_hertz_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="a rate of 2"):
        read_sound(write_wav(tmp_path / "a.wav", np.zeros((1, 30_000)), 2))


@pytest.mark.parametrize("kind", ["<f4", "<f8"])
@pytest.mark.parametrize(
    ("factor", "noted"), [(1.0, False), (2.0, False), (8.0, True), (32768.0, True), (2.0**31, True)]
)
def test_samples_beyond_full_scale(
    tmp_path: Path, clean: tuple[float, float], kind: str, factor: float, noted: bool
) -> None:
    sound = read_sound(write_wav(tmp_path / "a.wav", factor * voice()[None], kind=kind))
    assert np.isfinite(sound.waveform).all()
    assert np.abs(sound.waveform).max() <= 1
    pitch_hz, _ = measured(sound)
    assert pitch_hz == pytest.approx(clean[0], abs=1)
    assert any("full scale" in one for one in sound.choices) is noted
    if noted:  # nothing was clipped: the same sound at another level
        reference = read_sound(write_wav(tmp_path / "b.wav", voice()[None], kind=kind)).waveform
        scale = np.abs(sound.waveform).max() / np.abs(reference).max()
        assert np.abs(sound.waveform - scale * reference).max() < 1e-3


def test_samples_that_are_no_numbers_are_silence_and_named(tmp_path: Path, clean: tuple[float, float]) -> None:
    channel = voice()
    channel[[5000, 30_000, 60_000]] = np.nan, np.inf, -1e30
    for channels in (channel[None], np.stack([channel, channel])):
        sound = read_sound(write_wav(tmp_path / "a.wav", channels, kind="<f4"))
        assert np.abs(sound.waveform).max() < 0.6
        assert measured(sound) == pytest.approx(clean, abs=0.5)
        assert f"{3 * len(channels)} samples" in sound.faults[0]


@pytest.mark.parametrize("level", [1.0, 1e-2, 1e-3])
def test_quiet_recordings_keep_their_pitch(tmp_path: Path, clean: tuple[float, float], level: float) -> None:
    pitch_hz, level_db = measured(read_sound(write_wav(tmp_path / "a.wav", level * voice()[None])))
    assert pitch_hz == pytest.approx(clean[0], abs=1)
    assert level_db == pytest.approx(clean[1] + 20 * np.log10(level), abs=1)


@pytest.mark.parametrize("offset", [0.02, -0.1, 0.4])
def test_a_constant_offset_changes_no_measure(offset: float) -> None:
    """A cheap sound card's offset was the energy of every pause."""
    sound = (voice(rate=16_000) + 1e-4 * np.random.default_rng(0).standard_normal(32_000)).astype(np.float32)
    shifted = (sound + np.float32(offset)).astype(np.float32)
    extractor = prosody.open_extractor(prosody.Params())
    one, other = extractor.clip(sound), extractor.clip(shifted)
    pauses = one.column("energy_db") < -60
    assert 0.1 < pauses.mean() < 0.5
    assert np.abs(one.column("energy_db") - other.column("energy_db"))[~pauses].max() < 0.3
    assert np.quantile(np.abs(one.column("energy_db") - other.column("energy_db")), 0.95) < 3
    assert np.nanmax(np.abs(one.column("pitch_hz") - other.column("pitch_hz"))) < 1
    assert np.median(np.abs(one.column("spectral_centroid_hz") - other.column("spectral_centroid_hz"))) < 20


def test_a_hole_in_sound_with_an_offset_is_silence() -> None:
    sound = np.r_[voice(rate=16_000) + 0.1, np.zeros(16_000), voice(rate=16_000) + 0.1].astype(np.float32)
    features = prosody.open_extractor(prosody.Params()).clip(sound)
    inside = (features.timestamps_s > 2.05) & (features.timestamps_s < 2.95)
    assert (features.column("energy_db")[inside] == -100).all()


def test_sound_that_was_clipped_keeps_its_pitch(clean: tuple[float, float]) -> None:
    sound = voice(rate=16_000)
    extractor = prosody.open_extractor(prosody.Params())
    one, other = (
        extractor.clip(x.astype(np.float32)).column("pitch_hz") for x in (sound, np.clip(4 * sound, -0.6, 0.6))
    )
    both = np.isfinite(one) & np.isfinite(other)
    assert both.mean() > 0.6
    assert np.quantile(np.abs(one - other)[both] / one[both], 0.95) < 0.02


@needs_ffmpeg
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("a.wav", ["-c:a", "pcm_s24le"]),
        ("b.wav", ["-c:a", "pcm_u8"]),
        ("c.wav", ["-c:a", "pcm_alaw", "-ar", "8000"]),
        ("d.wav", ["-c:a", "adpcm_ima_wav"]),
        ("e.avi", ["-c:a", "pcm_mulaw", "-ar", "8000"]),
        ("f.mp3", ["-c:a", "libmp3lame", "-q:a", "4", "-write_xing", "0"]),
        ("g.aac", ["-c:a", "aac"]),
        ("h.webm", ["-c:a", "libopus", "-live", "1"]),
        ("i.flac", ["-c:a", "flac", "-sample_fmt", "s32"]),
        ("j.m4a", ["-c:a", "alac"]),
        ("k.mov", ["-c:a", "pcm_s16be"]),
        ("l.ts", ["-c:a", "mp2"]),
        ("m.wma", ["-c:a", "wmav2"]),
        ("n.mp4", ["-c:a", "ac3"]),
        ("o.mkv", ["-c:a", "aac", "-ac", "6"]),
        ("p.caf", ["-c:a", "pcm_f32le"]),
    ],
)
def test_what_recorders_write(tmp_path: Path, clean: tuple[float, float], name: str, arguments: list[str]) -> None:
    source = write_wav(tmp_path / "source.wav", np.stack([voice(), voice()]))
    ffmpeg("-i", source, *arguments, tmp_path / name)
    sound = read_sound(tmp_path / name)
    pitch_hz, level_db = measured(sound)
    assert sound.faults == []
    assert pitch_hz == pytest.approx(clean[0], abs=1.5)
    assert level_db == pytest.approx(clean[1], abs=8 if name == "o.mkv" else 1.5)
    assert sound.duration_s == pytest.approx(2.0, abs=0.15)
