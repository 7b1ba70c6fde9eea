"""Whose face is measured where several are seen: one of the clip's tracks per stretch of time, by a policy.

``speaking`` is the reason for this module: of two people in the picture the one whose mouth moves with the sound.
The obvious choice, the largest or the first face, takes whoever sits nearer. Within each shot every track gets a
score, and the best is taken, then the next that is never in sight together with one already taken: somebody who walks
off and comes back under another number stays in, a listener who is left alone in the picture does not come in for
the speaker. Each shot is judged by itself, because nothing here knows whether the face after a cut is the one before
it; but where the film cuts back to an earlier view, the face at the same place is taken for the same person's, and so is one from
another view whose small picture is about the same; what was seen and heard in all these shots counts together.

How likely it is that a track's owner is who one hears (bemerc.extraction.face.lip_sync), is told by a comparison with everybody else
in the shot and with nobody: a voice from off the picture fits no mouth. All of this is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bemerc.cache import Choice, TrackSpan
from bemerc.extraction.face import lip_sync
from bemerc.extraction.face.crops import Colours, Grey, unlike

Array = NDArray[np.float64]
Policy = Literal["speaking", "largest", "longest", "left", "right"]
POLICIES: tuple[Policy, ...] = ("speaking", "largest", "longest", "left", "right")

# What a voice without a mouth must be beaten by: fitted by fits/target_face.py, as the rest of the evidence.
NOBODY = -0.808
# Two tracks are one person's where they differ by this part of what two people of the clip differ by.
_SAME = 0.5


@dataclass(frozen=True)
class Sightings:
    """One track: in which frames (rows) it was seen, and there its place and its mouth.

    rows     (n,) growing frame numbers
    shot     of which shot the track is, and from which view it was taken (the first shot that looked so)
    x        (n,) middle of the face, as a fraction of the frame's width
    area     (n,) of the face's box, as a fraction of the frame's
    mouth    (n, 3) its lips' gap, chin and width, over the distance of the eyes (see lips.movements)
    mouths, heads   (n, 24, 24) and (n, 8, 8, 3) small pictures (see pictures.cut_out)
    """

    number: int
    shot: int
    view: int
    rows: NDArray[np.int64]
    x: Array
    area: Array
    mouth: Array
    mouths: Grey
    heads: Colours

    @property
    def seen(self) -> Array:
        """(n, 3) what its mouth does, by points and picture."""
        return lip_sync.together(self.mouth, self.mouths)


def choose(
    tracks: Sequence[Sightings],
    timestamps_s: Array,
    policy: Policy,
    waveform: NDArray[np.float32] | None,
    least_score: float,
    heartbeat: Callable[[], None] = lambda: None,
) -> Choice:
    """Which track each stretch of the clip is measured of. waveform: (N,) mono at 16 kHz from the clip's start, None
    where there is no sound; ``speaking`` then goes by size. A clip in which one face alone was seen leaves no doubt.
    ``heartbeat`` is called now and then, since a film's choice takes a while."""
    most = int(np.bincount(np.concatenate([track.rows for track in tracks])).max()) if tracks else 0
    by_shot: dict[int, list[Sightings]] = {}
    for track in tracks:
        by_shot.setdefault(track.shot, []).append(track)
    shots = [by_shot[shot] for shot in sorted(by_shot)]
    alone = most <= 1 and len(shots) <= 1
    by: Policy = "largest" if policy == "speaking" and (waveform is None or not waveform.any()) else policy
    proof: dict[int, float] = {}
    if by == "speaking" and waveform is not None and not alone:
        heard = lip_sync.voice(waveform, timestamps_s, heartbeat)
        for one in people(tracks, heartbeat):
            heartbeat()
            told = lip_sync.evidence([(timestamps_s[track.rows], track.seen) for track in one], heard)
            proof |= dict.fromkeys((track.number for track in one), told)
    stretches: list[TrackSpan] = []
    for shot in shots:
        scores = {track.number: 1.0 for track in shot} if alone else _scores(shot, by, proof)
        stretches += _taken(shot, scores)
    stretches.sort(key=lambda stretch: stretch.first)
    score = _mean_score(stretches)
    return Choice(policy, "alone" if alone else by, most, score, not alone and score < least_score, tuple(stretches))


def _mean_score(stretches: Sequence[TrackSpan]) -> float:
    frames = np.array([stretch.end - stretch.first for stretch in stretches], np.float64)
    return float(np.average([stretch.score for stretch in stretches], weights=frames)) if len(stretches) else 1.0


def _taken(shot: Sequence[Sightings], scores: dict[int, float]) -> list[TrackSpan]:
    """The best track, then the next best whose time is no time of one taken before it."""
    taken: list[TrackSpan] = []
    for track in sorted(shot, key=lambda t: (-scores[t.number], -len(t.rows), t.number)):
        first, end = int(track.rows[0]), int(track.rows[-1]) + 1
        if all(end <= other.first or other.end <= first for other in taken):
            taken.append(TrackSpan(first, end, track.number, scores[track.number], len(shot)))
    return taken


def people(tracks: Sequence[Sightings], heartbeat: Callable[[], None] = lambda: None) -> list[list[Sightings]]:
    """The tracks that are one person's: at the same place of one view, or of about the same looks in several.

    How different two people of this clip look is told by those who are to be seen together; where nobody is, nothing is
    to be chosen, and nobody is joined. Whoever looks half as different or less is the same person.

    A film has thousands of tracks: time grows with the square of their number, in arrays. ``heartbeat`` is called meanwhile.
    """
    found = _by_place(tracks, heartbeat)
    heads = np.array([np.concatenate([track.heads for track in one]).mean(axis=0).ravel() for one in found])
    together = _seen_together(found)
    pairs = np.argwhere(np.triu(together, 1))
    least = _SAME * min((unlike(heads[i], heads[j]) for i, j in pairs), default=0.0)
    group = np.arange(len(found))
    for i, j in _alike(heads, least, heartbeat):
        mine, its = group[i], group[j]
        if mine != its and not together[mine, its]:
            group[group == its] = mine
            together[mine] |= together[its]
            together[:, mine] |= together[:, its]
    joined: dict[int, list[Sightings]] = {}
    for which, one in zip(group.tolist(), found, strict=True):
        joined.setdefault(which, []).extend(one)
    return [sorted(joined[which], key=lambda track: (int(track.rows[0]), track.number)) for which in sorted(joined)]


def _seen_together(found: Sequence[Sequence[Sightings]]) -> NDArray[np.bool_]:
    """(G, G) whether both are to be seen at some moment, which one person is not."""
    owner = np.repeat(np.arange(len(found)), [len(one) for one in found])
    spans = np.array([(track.rows[0], track.rows[-1]) for one in found for track in one], np.int64).reshape(-1, 2)
    order = np.argsort(spans[:, 0], kind="stable")
    ends = np.searchsorted(spans[order, 0], spans[order, 1], side="right")
    together = np.zeros((len(found), len(found)), np.bool_)
    for at, end in enumerate(ends):
        together[owner[order[at]], owner[order[at + 1 : end]]] = True
    return np.asarray(together | together.T)


def _alike(heads: Array, least: float, heartbeat: Callable[[], None]) -> Iterator[tuple[int, int]]:
    """Pairs i < j of (G, 192) heads that differ by less than ``least``, those that differ least first."""
    found = [np.empty((3, 0))]
    for j in range(1, len(heads) if least > 0 else 0):
        heartbeat()
        differ = np.abs(heads[:j] - heads[j]).mean(axis=1)
        near = np.flatnonzero(differ < least)
        found.append(np.stack([differ[near], np.full(len(near), j, np.float64), near]))
    differ, later, earlier = np.concatenate(found, axis=1)
    for at in np.lexsort((earlier, later, differ)):
        heartbeat()
        yield int(earlier[at]), int(later[at])


def _by_place(tracks: Sequence[Sightings], heartbeat: Callable[[], None]) -> list[list[Sightings]]:
    """The tracks that are one person's: of one view, in different shots, at about the same place and as large."""
    found: list[list[Sightings]] = []
    owner = np.zeros(len(tracks), np.int64)
    last: dict[int, int] = {}  # of those found, their latest track
    view, shot = (np.array([getattr(track, name) for track in tracks], np.int64) for name in ("view", "shot"))
    x, area = (np.array([getattr(track, name).mean() for track in tracks]) for name in ("x", "area"))
    for at, track in enumerate(tracks):
        heartbeat()
        wide, ratio = np.sqrt(np.minimum(area[:at], area[at])), area[at] / area[:at]
        again = (view[:at] == view[at]) & (shot[:at] != shot[at])
        again &= (np.abs(x[at] - x[:at]) < wide) & (ratio > 0.4) & (ratio < 2.5)
        # Those of whom every track may be this one's, in the order in which they were found.
        mine = np.setdiff1d(owner[:at][again], owner[:at][~again])
        if len(mine):
            owner[at] = min(mine.tolist(), key=lambda who: abs(x[last[who]] - x[at]))
            found[owner[at]].append(track)
        else:
            owner[at] = len(found)
            found.append([track])
        last[int(owner[at])] = at
    return found


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
