"""Whose face is measured where several are seen: one of the clip's tracks per stretch of time, by a policy.

``speaking`` is the reason for this module: of two people in the picture the one whose mouth moves with the sound.
The obvious choice, the largest or the first face, takes whoever sits nearer. Within each shot every track gets a
score, and the best is taken, then the next that is never in sight together with one already taken: somebody who walks
off and comes back under another number stays in, a listener who is left alone in the picture does not come in for
the speaker. Each shot is judged by itself, because nothing here knows whether the face after a cut is the one before
it; but where the film cuts back to an earlier view, the face at the same place is taken for the same person's, and what
was seen and heard in both shots counts together.

How likely it is that a track's owner is who one hears, is told by a comparison with everybody else in the shot and with
nobody: a voice from off the picture fits no mouth. All of this is ours. It hears loudness alone and reads no lips.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bemerc.cache import Choice, Stretch

Array = NDArray[np.float64]
Policy = Literal["speaking", "largest", "longest", "left", "right"]
POLICIES: tuple[Policy, ...] = ("speaking", "largest", "longest", "left", "right")

SAMPLE_RATE_HZ = 16_000
INNER_LIPS = (13, 14, 82, 87, 312, 317)  # upper and lower, in the middle and to both sides
OUTER_LIPS = (0, 17)
EYES = (33, 263)


@dataclass(frozen=True)
class Sightings:
    """One track: in which frames (rows) it was seen, and there its place and its mouth.

    rows     (n,) growing frame numbers
    shot     of which shot the track is, and from which view it was taken (the first shot that looked so)
    x        (n,) middle of the face, as a fraction of the frame's width
    area     (n,) of the face's box, as a fraction of the frame's
    mouth    (n,) how far the lips are apart, over the distance of the eyes
    """

    number: int
    shot: int
    view: int
    rows: NDArray[np.int64]
    x: Array
    area: Array
    mouth: Array


def opening(landmarks: NDArray[np.float32]) -> float:
    """How far the lips are apart (478, 3), over the distance of the outer eye corners, all in three dimensions: the mean of
    the gap between them and of the height of the mouth with its lips, which is less noisy on small faces."""
    inner, outer, eyes = (
        float(np.linalg.norm(landmarks[list(points[1::2])] - landmarks[list(points[::2])], axis=1).mean())
        for points in (INNER_LIPS, OUTER_LIPS, EYES)
    )
    return (inner + outer) / 2 / max(eyes, 1e-6)


def choose(
    tracks: Sequence[Sightings],
    timestamps_s: Array,
    policy: Policy,
    waveform: NDArray[np.float32] | None,
    least_score: float,
) -> Choice:
    """Which track each stretch of the clip is measured of. waveform: (N,) mono at 16 kHz from the clip's start, None
    where there is no sound; ``speaking`` then goes by size. A clip in which one face alone was seen leaves no doubt."""
    most = int(np.bincount(np.concatenate([track.rows for track in tracks])).max()) if tracks else 0
    shots = [[track for track in tracks if track.shot == shot] for shot in sorted({track.shot for track in tracks})]
    alone = most <= 1 and len(shots) <= 1
    by: Policy = "largest" if policy == "speaking" and (waveform is None or not waveform.any()) else policy
    proof: dict[int, float] = {}
    if by == "speaking" and waveform is not None and not alone:
        heard = envelope(waveform, timestamps_s)
        for one in people(tracks):
            proof |= dict.fromkeys((track.number for track in one), evidence(one, timestamps_s, heard))
    stretches: list[Stretch] = []
    for shot in shots:
        scores = {track.number: 1.0 for track in shot} if alone else _scores(shot, by, proof)
        stretches += _taken(shot, scores)
    stretches.sort(key=lambda stretch: stretch.first)
    score = _mean_score(stretches)
    return Choice(policy, "alone" if alone else by, most, score, not alone and score < least_score, tuple(stretches))


def _mean_score(stretches: Sequence[Stretch]) -> float:
    frames = np.array([stretch.end - stretch.first for stretch in stretches], np.float64)
    return float(np.average([stretch.score for stretch in stretches], weights=frames)) if len(stretches) else 1.0


def _taken(shot: Sequence[Sightings], scores: dict[int, float]) -> list[Stretch]:
    """The best track, then the next best whose time is no time of one taken before it."""
    taken: list[Stretch] = []
    for track in sorted(shot, key=lambda t: (-scores[t.number], -len(t.rows), t.number)):
        first, end = int(track.rows[0]), int(track.rows[-1]) + 1
        if all(end <= other.first or other.end <= first for other in taken):
            taken.append(Stretch(first, end, track.number, scores[track.number], len(shot)))
    return taken


def people(tracks: Sequence[Sightings]) -> list[list[Sightings]]:
    """The tracks that are one person's: of one view, in different shots, at about the same place and as large."""
    found: list[list[Sightings]] = []
    for track in tracks:
        mine = [one for one in found if all(_is_again(track, other) for other in one)]
        if mine:
            min(mine, key=lambda one: abs(one[-1].x.mean() - track.x.mean())).append(track)
        else:
            found.append([track])
    return found


def _is_again(a: Sightings, b: Sightings) -> bool:
    if a.view != b.view or a.shot == b.shot:
        return False
    wide = float(np.sqrt(min(a.area.mean(), b.area.mean())))
    return abs(float(a.x.mean() - b.x.mean())) < wide and 0.4 < float(a.area.mean() / b.area.mean()) < 2.5


def _scores(shot: Sequence[Sightings], by: Policy, proof: dict[int, float]) -> dict[int, float]:
    """Per track how clearly it is the one, 0 to 1."""
    if by == "speaking":
        worth = np.array([proof[track.number] for track in shot])
        likely = np.exp(np.append(worth, NOBODY) - max(float(worth.max()), NOBODY))
        return {track.number: float(p) for track, p in zip(shot, likely / likely.sum(), strict=False)}
    worth = np.array([_worth(track, by) for track in shot])
    # Faces that flit by are at no edge: for left and right a track must be in sight a fourth as long as the longest.
    if by in ("left", "right"):
        seen = np.array([len(track.rows) for track in shot])
        worth = np.where(seen >= seen.max() / 4, worth, 1e-3 * worth)
    share = [w / (w + max([*np.delete(worth, i), 0.0])) if w else 0.0 for i, w in enumerate(worth)]
    return {track.number: float(s) for track, s in zip(shot, share, strict=True)}


def _worth(track: Sightings, by: Policy) -> float:
    if by == "largest":
        return float(track.area.sum())
    if by == "longest":
        return float(len(track.rows))
    return float(np.clip((1 - track.x if by == "left" else track.x).mean(), 1e-3, 1))


# --------------------------------------------------------------------------------------------------------- who is heard

# Speech moves lips and loudness together at the pace of syllables: slower and faster changes are left out.
_PACE_S = (0.05, 1.0)
# Bands in Hz and what their loudness tells of the lips: open vowels are loud in the first and second, while m, n and the
# beginnings of b and d, which are said with a shut mouth, sound in the last. With espeak-ng's phonemes r .74 for the
# first band alone, .68 for the whole voice.
_BANDS = (((600.0, 1200.0), 1.0), ((2000.0, 3200.0), 0.3), ((150.0, 500.0), -0.3))
_HOP_S, _WINDOW_S = 0.01, 0.025
_RANGE_DB = 35.0
_FFT = 512
# The mouth is ahead of its sound by so much. More choices let wrong mouths fit by chance.
_LAGS_S = (0.02, 0.06, 0.1)
# A mouth that moves by less than this (of the eyes' distance) is a resting one that the mesh reads with some noise.
_STILL = 0.006
# Independent moments per second in signals of that pace.
_MOMENTS_PER_S = 6.0
_LEAST_ROWS = 5
# What a standard error counts, and what a voice without a mouth must be beaten by; fitted to made scenes of which
# benchmarks/whose_face.py shows others.
_WEIGHT = 4.0
NOBODY = 3.0


def evidence(one: Sequence[Sightings], timestamps_s: Array, heard: Array) -> float:
    """How much speaks for a person's being heard, by all tracks that are his; 0 for a mouth that rests or moves at other
    times.

    The correlation of lips and loudness at its best lag, shrunk where the mouth hardly moves, times the root of the
    number of independent moments: in standard errors, so that half a second proves less than six.
    """
    grid_s = np.arange(len(heard)) * _HOP_S
    spans = [timestamps_s[track.rows] for track in one if len(track.rows) >= _LEAST_ROWS]
    if not spans:
        return 0.0
    mouth = np.concatenate([pace(t.mouth, timestamps_s[t.rows]) for t in one if len(t.rows) >= _LEAST_ROWS])
    best = 0.0
    for lag_s in _LAGS_S:
        sound = np.concatenate([pace(np.interp(times_s + lag_s, grid_s, heard), times_s) for times_s in spans])
        spread = max(float(sound.std()), 1e-6) * (float(mouth.std()) + _STILL)
        best = max(best, float((mouth * sound).mean()) / spread)
    seconds = sum(float(times_s[-1] - times_s[0]) for times_s in spans)
    return _WEIGHT * best * float(np.sqrt(_MOMENTS_PER_S * seconds))


def envelope(waveform: NDArray[np.float32], timestamps_s: Array) -> Array:
    """How open a mouth sounds, every 10 ms until a little after the last frame: the weighted loudness of a few bands,
    each from 0 to 1 over the 35 dB below its own loud parts."""
    length_s = (float(timestamps_s[-1]) if len(timestamps_s) else 0.0) + 0.5
    hop, window = round(_HOP_S * SAMPLE_RATE_HZ), round(_WINDOW_S * SAMPLE_RATE_HZ)
    count = int(length_s / _HOP_S) + 1
    padded = np.zeros(count * hop + window, np.float32)
    part = waveform[: len(padded) - window // 2]
    padded[window // 2 : window // 2 + len(part)] = part
    hz = np.fft.rfftfreq(_FFT, 1 / SAMPLE_RATE_HZ)
    inside = np.array([(hz >= low) & (hz <= high) for (low, high), _ in _BANDS], np.float64)
    power = np.empty((count, len(_BANDS)))
    for start in range(0, count, 1024):
        at = np.arange(start, min(start + 1024, count))[:, None] * hop + np.arange(window)
        spectrum = np.abs(np.fft.rfft(padded[at] * np.hanning(window), _FFT)) ** 2
        power[start : start + len(at)] = spectrum @ inside.T
    level_db = 10 * np.log10(power + 1e-9)
    top_db = np.percentile(level_db, 95, axis=0)
    loud = np.clip((level_db - top_db + _RANGE_DB) / _RANGE_DB, 0, 1)
    return np.asarray(loud @ np.array([weight for _, weight in _BANDS]))


def pace(values: Array, times_s: Array) -> Array:
    """What changes at the pace of syllables: a mean over 50 ms less a mean over a second, Gaussian in time, so that
    uneven frames do no harm."""
    fast, slow = (_smoothed(values, times_s, width_s) for width_s in _PACE_S)
    return fast - slow


def _smoothed(values: Array, times_s: Array, width_s: float) -> Array:
    """Weighted by the distance in time; (T,) -> (T,). In blocks, so that memory does not grow with the square of T."""
    found = np.empty(len(values))
    for start in range(0, len(values), 512):
        near = times_s[start : start + 512]
        low, high = np.searchsorted(times_s, [near[0] - 2 * width_s, near[-1] + 2 * width_s])
        weights = np.exp(-(((near[:, None] - times_s[low:high]) / (width_s / 2)) ** 2) / 2)
        found[start : start + len(near)] = weights @ values[low:high] / weights.sum(axis=1)
    return found
