"""What a mouth's movements say about who is heard: made-up mouths, noise in bands for a voice."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from bemerc.extraction.face import lip_sync
from bemerc.media.pitch import SAMPLE_RATE_HZ

FPS = 25
Array = NDArray[np.float64]


def syllables(seconds: float, seed: int) -> tuple[Array, Array]:
    """(N,) each at 100 Hz: how open a mouth is and how spread, another vowel for each syllable."""
    rng, count = np.random.default_rng(seed), int(seconds * 100) + 100
    opened, spread, at = np.zeros(count), np.zeros(count), 0
    while at < count:
        length = int(rng.uniform(12, 28))
        opened[at : at + int(0.7 * length)] = rng.uniform(0.3, 1) * (rng.random() < 0.85)
        spread[at : at + length] = rng.uniform(-1, 1)
        at += length
    bell = np.hanning(15) / np.hanning(15).sum()
    return np.convolve(opened, bell, mode="same"), np.convolve(spread, bell, mode="same")


def sound(opened: Array, spread: Array, seconds: float) -> NDArray[np.float32]:
    """Noise of 700 to 1000 Hz where the mouth is open; darker ones where it is round, brighter ones where it is spread."""
    rng, count = np.random.default_rng(5), int(seconds * SAMPLE_RATE_HZ)
    at = np.arange(count) / SAMPLE_RATE_HZ
    hz = np.fft.rfftfreq(count, 1 / SAMPLE_RATE_HZ)
    samples = 1e-3 * rng.normal(0, 1, count)
    for low, high, level in (
        (700, 1000, opened),
        (350, 550, opened * (1 - spread)),
        (1600, 2100, opened * (1 + spread)),
    ):
        noise = np.fft.irfft(np.fft.rfft(rng.normal(0, 1, count)) * ((hz > low) & (hz < high)), count)
        samples += 0.1 * np.interp(at, np.arange(len(level)) / 100, level) * noise / noise.std()
    return samples.astype(np.float32)


def moved(
    opened: Array, spread: Array, seconds: float, *, gain: float = 0.05, ahead_s: float = 0.06
) -> tuple[Array, Array]:
    times_s = np.arange(int(seconds * FPS)) / FPS
    gap, wide = (np.interp(times_s + ahead_s, np.arange(len(one)) / 100, one) for one in (opened, spread))
    noise = np.random.default_rng(1).normal(0, 0.003, (len(times_s), 3))
    return times_s, np.stack([gain * gap, 1 + gain * gap, 0.6 + gain / 3 * wide], axis=1) + noise


def proof(seconds: float, own: int, voice: int, **how: float) -> float:
    mouth_shape = syllables(seconds, voice)
    times_s, mouth = moved(*syllables(seconds, own), seconds, **how)
    return lip_sync.speaking_llr([(times_s, mouth)], lip_sync.audio_features(sound(*mouth_shape, seconds), times_s))


def test_own_speech_is_likelier_than_another_s_and_more_so_the_longer_it_is() -> None:
    own = {seconds: np.mean([proof(seconds, seed, seed) for seed in range(6)]) for seconds in (1.0, 4.0)}
    others = {seconds: np.mean([proof(seconds, seed, seed + 50) for seed in range(6)]) for seconds in (1.0, 4.0)}
    assert others[4.0] < others[1.0] < 0.5 < own[1.0] < own[4.0]


def test_a_mouth_that_rests_speaks_for_nobody() -> None:
    assert proof(4.0, 3, 3, gain=0.0) < 0 < proof(4.0, 3, 3)


@pytest.mark.parametrize("ahead_s", [-0.02, 0.04, 0.12])
def test_people_are_ahead_of_their_sound_by_different_times(ahead_s: float) -> None:
    assert proof(4.0, 2, 2, ahead_s=ahead_s) > 1


def test_how_spread_a_mouth_is_counts_as_well() -> None:
    """Of two mouths that open alike the one that is spread and rounded with the vowels."""
    opened, spread = syllables(5.0, 4)
    audio = lip_sync.audio_features(sound(opened, spread, 5.0), np.array([5.0]))
    right, wrong = (lip_sync.speaking_llr([moved(opened, wide, 5.0)], audio) for wide in (spread, -spread))
    assert right > wrong + 1


def test_quick_movements_count_beside_the_slow_ones() -> None:
    """Somebody whose mouth goes up and down with the sentence but not with its syllables."""
    llrs = []
    for seed in range(4):
        opened, spread = syllables(5.0, seed)
        audio = lip_sync.audio_features(sound(opened, spread, 5.0), np.array([5.0]))
        times_s, own = moved(opened, spread, 5.0)
        other = moved(*syllables(5.0, seed + 50), 5.0)[1]
        (slow, own_quick), (_, other_quick) = (_parted(one, times_s) for one in (own, other))
        llrs.append([lip_sync.speaking_llr([(times_s, slow + quick)], audio) for quick in (own_quick, other_quick)])
    assert np.mean(llrs, axis=0)[0] > np.mean(llrs, axis=0)[1] + 1


def _parted(mouth: Array, times_s: Array) -> tuple[Array, Array]:
    quick = lip_sync.pace(mouth, times_s, (0.001, 0.2))
    return mouth - quick, quick


def test_the_sound_before_and_after_is_heard_too() -> None:
    loud = np.arange(10.0)[:, None] + np.array([0.0, 100.0])
    assert lip_sync.with_context(loud)[5].tolist() == [1, 101, 5, 105, 9, 109]
    assert lip_sync.with_context(loud)[0].tolist() == [0, 100, 0, 100, 4, 104]


def test_spans_count_together_and_too_short_ones_not() -> None:
    opened, spread = syllables(6.0, 7)
    times_s, mouth = moved(opened, spread, 6.0)
    audio = lip_sync.audio_features(sound(opened, spread, 6.0), times_s)
    parts = [(times_s[i : i + 25], mouth[i : i + 25]) for i in (0, 50, 100)]
    assert lip_sync.speaking_llr(parts, audio) > max(lip_sync.speaking_llr([part], audio) for part in parts)
    assert lip_sync.speaking_llr([(times_s[:4], mouth[:4])], audio) == lip_sync.speaking_llr([], audio) == 0.0
    uneven = np.sort(np.random.default_rng(0).choice(150, 100, replace=False))
    assert lip_sync.speaking_llr([(times_s[uneven], mouth[uneven])], audio) > 1


def test_an_open_vowel_s_band_is_heard_at_any_level() -> None:
    times_s = np.arange(0, 2, 1 / FPS)
    t = np.arange(2 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    beat = (np.sin(2 * np.pi * 2 * t) > 0) * np.sin(2 * np.pi * 800 * t)
    loud, soft = (lip_sync.audio_features((g * beat).astype(np.float32), times_s) for g in (0.5, 0.005))
    np.testing.assert_allclose(loud[:190], soft[:190], atol=0.1 * np.ptp(loud))
    assert loud[10:20, 0].mean() > loud[32:44, 0].mean() + 0.5
    assert lip_sync.audio_features(np.zeros(0, np.float32), times_s).shape == loud.shape


def test_measures_of_a_mouth_do_not_depend_on_the_face_s_size() -> None:
    face = np.random.default_rng(0).normal(0, 20, (478, 3)).astype(np.float32)
    near, far = (lip_sync.mouth(np.stack([face * scale] * 3)) for scale in (np.float32(1), np.float32(0.25)))
    np.testing.assert_allclose(lip_sync.movements(near), lip_sync.movements(far), rtol=1e-5)
    wide = face.copy()
    wide[[61, 78]] -= wide[[291, 308]] - wide[[61, 78]]
    before, after = lip_sync.mouth(np.stack([face, wide]))
    np.testing.assert_allclose(after / before, (1, 1, 2, 1), rtol=1e-4)


@pytest.mark.parametrize("turn_deg", [0.0, 25.0, 45.0, 90.0])
def test_the_turn_of_a_head_is_that_of_its_eyes_however_it_is_tilted(turn_deg: float) -> None:
    tilt, turn = np.radians(30), np.radians(turn_deg)
    eyes = 60 * np.array([np.cos(turn) * np.cos(tilt), np.cos(turn) * np.sin(tilt), np.sin(turn)])
    face = np.zeros((1, 478, 3), np.float32)
    face[0, lip_sync.EYES[1]] = eyes
    np.testing.assert_allclose(lip_sync.cosine_of_turn(face), [np.cos(turn)], atol=1e-6)
    assert lip_sync.cosine_of_turn(np.zeros((1, 478, 3), np.float32)) == 0
