"""Prosody against sounds whose pitch, loudness and spectrum are known, and against a speech synthesiser."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bemerc.cache import Features
from bemerc.extraction.audio import prosody
from bemerc.media import pitch
from bemerc.media.speech_detector import CHUNK, speech_probability

RATE = 16000
SECONDS = np.arange(RATE) / RATE
PARAMS = prosody.Params()


def measured(sound: Any, params: prosody.Params = PARAMS) -> Features:
    return prosody.open_extractor(params).clip(np.asarray(sound, np.float32))


def buzz(hz: Any, seconds: NDArray[np.float64] = SECONDS) -> NDArray[np.float64]:
    """A voice-like sum of harmonics with the pitch ``hz``, a number or one per sample."""
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(hz, seconds.shape)) / RATE
    return np.asarray(sum(np.sin(k * phase) / k for k in range(1, 11)) * 0.15)


def inner(series: NDArray[np.float32]) -> NDArray[np.float32]:
    return series[5:-5]  # a window at the clip's end holds half a sound


@pytest.mark.parametrize("hz", [60, 85, 120, 220, 350, 560])
@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_a_tone_of_known_pitch_is_read(hz: float, noise: float) -> None:
    sound = buzz(hz) + noise * np.random.default_rng(0).standard_normal(RATE)
    features = measured(sound)
    pitch = inner(features.column("pitch_hz"))
    assert np.isfinite(pitch).mean() > 0.98
    assert np.nanmedian(np.abs(pitch / hz - 1)) < 0.004
    assert np.nanmax(np.abs(pitch / hz - 1)) < 0.06, "an octave error"
    assert inner(features.column("voicing")).min() > 0.5


def test_a_gliding_pitch_is_followed() -> None:
    hz = 150 * 2 ** (0.5 * np.sin(2 * np.pi * 2 * SECONDS))
    features = measured(buzz(hz))
    truth = np.interp(features.timestamps_s, SECONDS, hz)
    assert np.percentile(np.abs(inner(features.column("pitch_hz") / truth - 1)), 95) < 0.02


def test_silence_and_noise_have_no_pitch_but_are_measured() -> None:
    for sound, energy_db in ((np.zeros(RATE), -100.0), (0.1 * np.random.default_rng(1).standard_normal(RATE), -20.0)):
        features = measured(sound)
        assert np.isnan(features.column("pitch_hz")).mean() > 0.97
        assert features.column("voicing").max() < 0.5
        assert np.isfinite(features.values[:, 1:]).all()
        assert features.column("energy_db") == pytest.approx(energy_db, abs=1.5)


def test_a_voice_between_pauses_is_voiced_only_where_it_sounds() -> None:
    sound = buzz(140) * ((SECONDS > 0.3) & (SECONDS < 0.7))
    features = measured(sound + 1e-4 * np.random.default_rng(2).standard_normal(RATE))
    voiced = np.isfinite(features.column("pitch_hz"))
    sounding = (features.timestamps_s > 0.3) & (features.timestamps_s < 0.7)
    assert voiced[sounding].mean() > 0.9
    assert voiced[~sounding].mean() < 0.1


def test_energy_is_in_decibels_of_full_scale() -> None:
    sine = np.sin(2 * np.pi * 200 * SECONDS)
    full, half = measured(sine).column("energy_db"), measured(sine / 2).column("energy_db")
    assert np.median(full) == pytest.approx(-3.01, abs=0.05)
    assert full - half == pytest.approx(6.02, abs=0.01)


def test_the_clips_ends_are_not_taken_for_quiet() -> None:
    energy = measured(np.random.default_rng(3).standard_normal(RATE) * 0.1).column("energy_db")
    assert energy[0] == pytest.approx(-20, abs=2)
    assert energy[-1] == pytest.approx(-20, abs=2)


@pytest.mark.parametrize("hz", [300.0, 1000.0, 3500.0])
def test_a_sine_shows_where_it_is_in_the_spectrum(hz: float) -> None:
    features = measured(0.5 * np.sin(2 * np.pi * hz * SECONDS))
    row = 50
    assert features.column("spectral_centroid_hz")[row] == pytest.approx(hz, rel=0.05)
    assert features.column("spectral_rolloff_hz")[row] == pytest.approx(hz, abs=70)
    assert features.column("zero_crossing_rate")[row] == pytest.approx(2 * hz / RATE, abs=0.004)
    assert features.column("spectral_flatness")[row] < 0.01
    bands = features.values[row, -prosody.MEL_BANDS :]
    middles = prosody.mel_filters() @ np.fft.rfftfreq(prosody.FFT, 1 / RATE)
    assert abs(np.argmax(bands) - np.argmin(np.abs(middles - hz))) <= 1


def test_mel_filters_are_those_of_librosa() -> None:
    librosa = pytest.importorskip("librosa")
    theirs = librosa.filters.mel(sr=RATE, n_fft=prosody.FFT, n_mels=prosody.MEL_BANDS, htk=True, norm=None)
    ours = prosody.mel_filters()
    np.testing.assert_allclose(ours, theirs / theirs.sum(axis=1, keepdims=True), atol=1e-5)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("samples", [0, 1, 96, 159, 160, 399, 400, 16001])
def test_clips_of_any_length(samples: int) -> None:
    features = measured(0.1 * np.random.default_rng(4).standard_normal(samples))
    rows = max(1, samples // 160) if samples else 0
    assert features.values.shape == (rows, len(prosody.columns(PARAMS)))
    assert features.values.dtype == np.float32
    assert np.isfinite(features.values[:, 1:]).all()
    assert np.all(np.diff(features.timestamps_s) > 0)
    assert features.timestamps_s == pytest.approx((np.arange(rows) + 0.5) / 100)


def test_a_clip_gives_the_same_bytes_whatever_came_before_it() -> None:
    extractor = prosody.open_extractor(PARAMS)
    sound = buzz(200).astype(np.float32)
    first = extractor.clip(sound)
    extractor.clip(np.ones(5000, np.float32))
    extractor.reset()
    assert extractor.clip(sound).values.tobytes() == first.values.tobytes()


def test_a_long_clip_is_its_parts() -> None:
    """Frames are worked on in blocks; the seams must not show."""
    sound = np.tile(buzz(np.linspace(100, 200, RATE)), 12)
    long, short = measured(sound), measured(sound[:RATE])
    np.testing.assert_allclose(long.values[5:90, 2:], short.values[5:90, 2:], rtol=1e-4, atol=1e-4)
    assert np.isfinite(long.column("pitch_hz")).mean() > 0.97


@pytest.mark.parametrize("samples", [1, 127, 8191, 100_003, 3_000_000])
def test_the_loudest_sample_is_that_of_a_copy_in_64_bits(samples: int) -> None:
    sound = (0.3 + np.random.default_rng(samples).standard_normal(samples)).astype(np.float32)
    whole = sound.astype(np.float64)
    assert pitch._loudest(sound) == pytest.approx(np.abs(whole - whole.mean()).max(), rel=1e-14)


def test_samples_that_are_no_numbers_are_silence() -> None:
    sound = buzz(200).astype(np.float32)
    sound[[0, 3000, 9000]] = 0, np.nan, np.nan
    assert measured(sound).values.tobytes() == measured(np.nan_to_num(sound)).values.tobytes()


LONG = """
import resource, numpy as np
from bemerc.media import pitch
from bemerc.extraction.audio import prosody as audio
sound = np.resize(np.random.default_rng(0).standard_normal(1 << 20).astype(np.float32), 20_000_000)
extractor = audio.open_extractor(audio.Params(rate_hz=10))
extractor.clip(sound[: 1 << 21])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
extractor.clip(sound)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system counts memory otherwise")
def test_a_long_track_is_not_copied() -> None:
    """20 minutes are 80 MB; in 64 bits alone they would be 160."""
    grown = subprocess.run([sys.executable, "-c", LONG], capture_output=True, text=True, check=True).stdout
    assert int(grown) / 1024 < 60


def test_another_rate_gives_as_many_rows() -> None:
    features = measured(buzz(200), prosody.Params(rate_hz=50.0))
    assert len(features.values) == 50
    assert np.nanmedian(features.column("pitch_hz")) == pytest.approx(200, rel=0.003)


def test_params_that_cannot_be_are_named() -> None:
    assert list(PARAMS.check()) == []
    faults = " ".join(prosody.Params(rate_hz=0, pitch_floor_hz=700, voicing_threshold=2).check())
    assert all(name in faults for name in ("rate_hz", "pitch_floor_hz", "voicing_threshold"))


# ----------------------------------------------------------------------------------------------------------- espeak-ng


@pytest.fixture(scope="module")
def say() -> Any:
    """say(pitch) -> a sentence on one note at 16 kHz; pitch 0 to 99 in espeak's own units."""
    loader = pytest.importorskip("espeakng_loader")
    library = ctypes.CDLL(loader.get_library_path())
    gathered: list[NDArray[np.int16]] = []
    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)

    def take(samples: Any, count: int, _events: Any) -> int:
        if samples and count:
            gathered.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    callback = kind(take)
    rate = library.espeak_Initialize(1, 0, str(loader.get_data_path()).encode(), 0)
    library.espeak_SetSynthCallback(callback)

    def speak(pitch: int) -> NDArray[np.float64]:
        gathered.clear()
        library.espeak_SetVoiceByName(b"en-us")
        library.espeak_SetParameter(3, pitch, 0)
        library.espeak_SetParameter(4, 0, 0)  # no range: one note
        text = b"Where were you all morning? I was really worried about you."
        size = ctypes.c_size_t(len(text) + 1)
        library.espeak_Synth(text, size, 0, 1, 0, 1, None, None)
        library.espeak_Synchronize()
        sound = np.concatenate(gathered) / 32768
        return np.interp(np.arange(0, len(sound) / rate, 1 / RATE), np.arange(len(sound)) / rate, sound)

    speak.callback = callback  # type: ignore[attr-defined]  # the library calls it, so it must live as long
    return speak


# What espeak-ng sings with no pitch range, by the best harmonic comb on the whole sentence's spectrum: parameter -> Hz.
SUNG = {20: 64.7, 50: 89.0, 90: 141.7}


@pytest.mark.parametrize("note", SUNG)
def test_a_synthetic_voice_on_one_note(say: Any, note: int) -> None:
    features = measured(say(note))
    pitch_hz = features.column("pitch_hz")
    assert np.nanmedian(pitch_hz) == pytest.approx(SUNG[note], rel=0.02)
    assert 0.6 < np.isfinite(pitch_hz).mean() < 0.95, "most of speech is voiced, not all"
    semitones = 12 * np.log2(pitch_hz[np.isfinite(pitch_hz)] / SUNG[note])
    assert np.mean(np.abs(semitones) < 0.5) > 0.97, "octave errors"


def test_speech_is_the_probability_of_the_chunk_that_a_row_lies_in(say: Any) -> None:
    sound = say(50).astype(np.float32)[:20_001]
    features, likely = measured(sound), speech_probability(sound)
    chunks = (features.timestamps_s * RATE).astype(int) // CHUNK
    np.testing.assert_array_equal(features.column("speech"), likely[chunks])
    assert (features.column("speech") > 0.5).mean() > 0.8


def test_long_sound_says_meanwhile_that_it_lives() -> None:
    """A worker that is silent for clip_timeout_s is stopped, and an hour of sound takes longer than that on a busy machine."""
    extractor = prosody.open_extractor(prosody.Params())
    beats: list[int] = []
    extractor.heartbeat = lambda: beats.append(1)
    extractor.clip(np.zeros(16000 * 30, np.float32))
    assert len(beats) >= 4
