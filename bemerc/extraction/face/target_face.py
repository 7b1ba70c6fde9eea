"""Selection of the target face where several are visible: one of the clip's tracks per span of frames, by a policy.

``speaking`` is active speaker detection: the person whose mouth moves with the audio (bemerc.extraction.face.lip_sync),
compared with everybody else in the shot and with an off-screen voice; ``network`` is the same by a trained network's
scores (bemerc.extraction.face.speaker_scores). Within each shot every track gets a score; the
best is picked, then the next best that is never visible together with one already picked, so that somebody who leaves
and comes back under another number stays in. Tracks of one person in several shots (same place in the same view, or
about the same colors) are scored together.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bemerc.cache import Choice, TrackSpan
from bemerc.extraction.face import lip_sync, speaker_scores
from bemerc.extraction.face.crops import Colors, Grey, color_distance

Array = NDArray[np.float64]
Policy = Literal["speaking", "largest", "longest", "left", "right", "network"]
BY_SOUND: tuple[Policy, ...] = ("speaking", "network")

# The log-likelihood ratio of an off-screen speaker, which a track is compared with: fitted by fits/target_face.py.
OFF_SCREEN_LLR = -0.808
# How much likelier than an off-screen voice somebody who is alone in the picture is to speak, before the sound is used
# (log odds): on the clips of fits/target_face.py 5 in 100 lone speakers are marked uncertain then, 95 in 100 listeners.
_ALONE_LLR = 1.5
# Off screen and alone, as above. A network's scores are log odds against anybody else, whatever the picture shows.
_PRIORS: dict[Policy, tuple[float, float]] = {"speaking": (OFF_SCREEN_LLR, _ALONE_LLR), "network": (0.0, 0.0)}
# Below this probability of speaking nobody in a shot is measured: the voice is another's.
_NOBODY = 0.1
# A face is none where it is in sight for at most so many seconds and at most this part of the clip, all such faces of its
# shot taken together.
_FLEETING_S, _FLEETING_PART = 0.2, 0.1
# Two tracks are one person's where their colors differ by this part of what two people of the clip differ by.
_SAME_PERSON = 0.5


@dataclass(frozen=True)
class FaceTrack:
    """One track: the n frames in which it was detected, and there its place and its mouth.

    rows     (n,) growing frame numbers
    shot     number of its shot; view: number of the first shot with the same view
    x        (n,) middle of the face, as a fraction of the frame's width
    area     (n,) of the face's box, as a fraction of the frame's
    mouth    (n, 3) its lips' gap, chin and width, over the distance of the eyes (see lip_sync.movements)
    cosine_of_turn  (n,) of the head (see lip_sync.cosine_of_turn)
    mouths, heads   (n, 24, 24) and (n, 8, 8, 3), see crops.crop_mouth_and_head
    """

    number: int
    shot: int
    view: int
    rows: NDArray[np.int64]
    x: Array
    area: Array
    mouth: Array
    cosine_of_turn: Array
    mouths: Grey
    heads: Colors

    @property
    def lip_cues(self) -> Array:
        """(n, 3) movements of the mouth, from landmarks and crops."""
        return lip_sync.fuse_lip_cues(self.mouth, self.mouths)


def lasting(tracks: Sequence[FaceTrack], timestamps_s: Array) -> list[FaceTrack]:
    """The tracks without those that are there for a moment only: a back, a wall or a hand is now and then taken for a face
    in a frame or two, and would be measured where nobody else is in sight. What begins or ends with the clip stays: an
    utterance begins and ends anywhere in a shot.

    timestamps_s  (T,) of all frames of the clip
    """
    if len(timestamps_s) < 2:
        return list(tracks)
    steps_s = np.diff(timestamps_s)
    shown_s = np.append(steps_s, np.median(steps_s))  # how long each frame is on screen
    most_s = min(_FLEETING_S, _FLEETING_PART * float(shown_s.sum())) + 1e-6
    inside = [track for track in tracks if track.rows[0] > 0 and track.rows[-1] < len(timestamps_s) - 1]
    fleeting = [track for track in inside if shown_s[track.rows].sum() <= most_s]
    rows: dict[int, list[NDArray[np.int64]]] = {}  # by shot: a face that flickers is there after all
    for track in fleeting:
        rows.setdefault(track.shot, []).append(track.rows)
    moments = {shot for shot, of in rows.items() if shown_s[np.unique(np.concatenate(of))].sum() <= most_s}
    gone = {track.number for track in fleeting if track.shot in moments}
    return [track for track in tracks if track.number not in gone]


def select(
    tracks: Sequence[FaceTrack],
    timestamps_s: Array,
    policy: Policy,
    waveform: NDArray[np.float32] | None,
    least_score: float,
    heartbeat: Callable[[], None] = lambda: None,
    log_odds: Mapping[int, Array] = MappingProxyType({}),
) -> tuple[Choice, dict[int, float]]:
    """Select the track that each span of the clip is measured on; returns the score of every track, too: its number -> 0
    to 1. Tracks that are there for a moment only (see ``lasting``) are left out, of the scores as well.

    waveform     (N,) float32 mono at 16 kHz from the clip's start; without it ``speaking`` and ``network`` become
                 ``largest``, as ``network`` does without any score
    least_score  below it the choice is marked uncertain; where only one face is visible, it is judged by the voice alone
    heartbeat    called now and then, since a film takes a while
    log_odds     for ``network``: track number -> (n,) its scores, NaN where there is none
    """
    tracks = lasting(tracks, timestamps_s)
    most_faces = int(np.max(np.bincount(np.concatenate([track.rows for track in tracks])))) if tracks else 0
    by_shot: dict[int, list[FaceTrack]] = {}
    for track in tracks:
        by_shot.setdefault(track.shot, []).append(track)
    shots = [by_shot[shot] for shot in sorted(by_shot)]
    single_face = most_faces <= 1 and len(shots) <= 1
    by: Policy = "largest" if policy in BY_SOUND and (waveform is None or not waveform.any()) else policy
    llrs: dict[int, float] = {}
    rivals: dict[int, float] = {}
    if by in BY_SOUND and waveform is not None:
        people = group_tracks_by_person(tracks, heartbeat)
        if by == "network":
            visible = [[(track.number, timestamps_s[track.rows]) for track in person] for person in people]
            llrs = speaker_scores.person_log_odds(visible, log_odds, waveform, heartbeat)
            by, rivals = by if llrs else "largest", llrs
        else:
            llrs = _lip_sync_llrs(people, timestamps_s, waveform, heartbeat)
            rivals = _rival_llrs(people, llrs)
    spans: list[TrackSpan] = []
    scores: dict[int, float] = {}
    for shot in shots:
        scores |= _scores_alone(shot, by, llrs) if single_face else _scores(shot, by, llrs, rivals)
        spans += _pick_non_overlapping(shot, scores)
    spans.sort(key=lambda span: span.first)
    if by in BY_SOUND and not single_face:  # doubt alone makes no shot nobody's
        undoubted = {number: score for shot in shots for number, score in _scores(shot, by, llrs, llrs).items()}
        spans = [span for span in spans if undoubted[span.track] >= _NOBODY] or spans
    score = _mean_score(spans)
    choice = Choice(policy, "alone" if single_face else by, most_faces, score, score < least_score, tuple(spans))
    return choice, scores


def _lip_sync_llrs(
    people: Sequence[Sequence[FaceTrack]],
    timestamps_s: Array,
    waveform: NDArray[np.float32],
    heartbeat: Callable[[], None],
) -> dict[int, float]:
    """Track number -> the log-likelihood ratio that its person speaks."""
    audio, llrs = lip_sync.audio_features(waveform, timestamps_s, heartbeat), dict[int, float]()
    for person in people:
        heartbeat()
        llr = lip_sync.speaking_llr([(timestamps_s[track.rows], track.lip_cues) for track in person], audio)
        llrs |= dict.fromkeys((track.number for track in person), llr)
    return llrs


def _rival_llrs(people: Sequence[Sequence[FaceTrack]], llrs: Mapping[int, float]) -> dict[int, float]:
    """Track number -> ``lip_sync.as_rival`` of its person, by all frames in which that person's face was detected."""
    rivals: dict[int, float] = {}
    for person in people:
        turns = np.concatenate([track.cosine_of_turn for track in person])
        rivals |= {track.number: lip_sync.as_rival(llrs[track.number], turns) for track in person}
    return rivals


def others(
    tracks: Sequence[FaceTrack],
    choice: Choice,
    scores: Mapping[int, float],
    heartbeat: Callable[[], None] = lambda: None,
) -> dict[int, Choice]:
    """Everybody whose face is in the clip and not measured as the target's: number of the person, from 1 in the order of
    appearance -> that person's tracks with their scores. The policy, and whether the choice is uncertain, are the
    target's.

    scores  of ``select``: tracks without one are left out
    """
    tracks = [track for track in tracks if track.number in scores]
    measured = {span.track for span in choice.spans}
    in_shot = Counter(track.shot for track in tracks)
    people = {}
    for number, person in enumerate(group_tracks_by_person(tracks, heartbeat), start=1):
        spans = tuple(
            TrackSpan(int(t.rows[0]), int(t.rows[-1]) + 1, t.number, scores[t.number], in_shot[t.shot])
            for t in person
            if t.number not in measured
        )
        if spans:
            people[number] = replace(choice, score=_mean_score(spans), spans=spans)
    return people


def _scores_alone(shot: Sequence[FaceTrack], by: Policy, llrs: dict[int, float]) -> dict[int, float]:
    """Track number -> the probability that the only face speaks; 1 where there is no sound to judge it by."""
    if not llrs:
        return {track.number: 1.0 for track in shot}
    off_screen, alone = _PRIORS[by]
    return {t.number: 1 / (1 + math.exp(off_screen - alone - llrs[t.number])) for t in shot}


def _mean_score(spans: Sequence[TrackSpan]) -> float:
    frames = np.array([span.end - span.first for span in spans], np.float64)
    return float(np.average([span.score for span in spans], weights=frames)) if len(spans) else 1.0


def _pick_non_overlapping(shot: Sequence[FaceTrack], scores: dict[int, float]) -> list[TrackSpan]:
    """The best track, then the next best that does not overlap in time with those picked before."""
    picked: list[TrackSpan] = []
    for track in sorted(shot, key=lambda t: (-scores[t.number], -len(t.rows), t.number)):
        first, end = int(track.rows[0]), int(track.rows[-1]) + 1
        if all(end <= other.first or other.end <= first for other in picked):
            picked.append(TrackSpan(first, end, track.number, scores[track.number], len(shot)))
    return picked


def group_tracks_by_person(
    tracks: Sequence[FaceTrack], heartbeat: Callable[[], None] = lambda: None
) -> list[list[FaceTrack]]:
    """Group tracks that belong to one person: at the same place in one view, or of about the same colors in several.

    The scale is the smallest distance between two faces that are visible together; those half as far apart or less are
    one person. Without such a pair nothing is joined. Time grows with the square of the number of tracks (thousands in
    a film).
    """
    groups = _group_by_position(tracks, heartbeat)
    heads = np.array(
        [np.concatenate([track.heads for track in tracks_of_one]).mean(axis=0).ravel() for tracks_of_one in groups]
    )
    together = _visible_together(groups)
    pairs = np.argwhere(np.triu(together, 1))
    threshold = _SAME_PERSON * min((color_distance(heads[i], heads[j]) for i, j in pairs), default=0.0)
    group = np.arange(len(groups))
    for i, j in _similar_pairs(heads, threshold, heartbeat):
        a, b = group[i], group[j]
        if a != b and not together[a, b]:
            group[group == b] = a
            together[a] |= together[b]
            together[:, a] |= together[:, b]
    people: dict[int, list[FaceTrack]] = {}
    for person, tracks_of_one in zip(group.tolist(), groups, strict=True):
        people.setdefault(person, []).extend(tracks_of_one)
    return [sorted(people[person], key=lambda track: (int(track.rows[0]), track.number)) for person in sorted(people)]


def _visible_together(groups: Sequence[Sequence[FaceTrack]]) -> NDArray[np.bool_]:
    """(G, G) whether two groups are visible at the same time: then they are two people."""
    owner = np.repeat(np.arange(len(groups)), [len(tracks) for tracks in groups])
    spans = np.array([(track.rows[0], track.rows[-1]) for tracks in groups for track in tracks], np.int64).reshape(
        -1, 2
    )
    order = np.argsort(spans[:, 0], kind="stable")
    ends = np.searchsorted(spans[order, 0], spans[order, 1], side="right")
    together = np.zeros((len(groups), len(groups)), np.bool_)
    for at, end in enumerate(ends):
        together[owner[order[at]], owner[order[at + 1 : end]]] = True
    return np.asarray(together | together.T)


def _similar_pairs(heads: Array, threshold: float, heartbeat: Callable[[], None]) -> Iterator[tuple[int, int]]:
    """Pairs i < j of heads (G, 192) that differ by less than ``threshold``, the most similar first."""
    pairs = [np.empty((3, 0))]
    for j in range(1, len(heads) if threshold > 0 else 0):
        heartbeat()
        distances = np.abs(heads[:j] - heads[j]).mean(axis=1)
        near = np.flatnonzero(distances < threshold)
        pairs.append(np.stack([distances[near], np.full(len(near), j, np.float64), near]))
    distances, later, earlier = np.concatenate(pairs, axis=1)
    for at in np.lexsort((earlier, later, distances)):
        heartbeat()
        yield int(earlier[at]), int(later[at])


def _group_by_position(tracks: Sequence[FaceTrack], heartbeat: Callable[[], None]) -> list[list[FaceTrack]]:
    """Group tracks of one view, in different shots, at about the same place and of about the same size."""
    groups: list[list[FaceTrack]] = []
    group_of = np.zeros(len(tracks), np.int64)
    latest: dict[int, int] = {}  # group -> its latest track
    view, shot = (np.array([getattr(track, name) for track in tracks], np.int64) for name in ("view", "shot"))
    x, area = (np.array([getattr(track, name).mean() for track in tracks]) for name in ("x", "area"))
    for at, track in enumerate(tracks):
        heartbeat()
        width, ratio = np.sqrt(np.minimum(area[:at], area[at])), area[at] / area[:at]
        same_position = (view[:at] == view[at]) & (shot[:at] != shot[at])
        same_position &= (np.abs(x[at] - x[:at]) < width) & (ratio > 0.4) & (ratio < 2.5)
        # Groups all of whose tracks are at this place, in their order.
        candidates = np.setdiff1d(group_of[:at][same_position], group_of[:at][~same_position])
        if len(candidates):
            group_of[at] = min(candidates.tolist(), key=lambda number: abs(x[latest[number]] - x[at]))
            groups[group_of[at]].append(track)
        else:
            group_of[at] = len(groups)
            groups.append([track])
        latest[int(group_of[at])] = at
    return groups


def _scores(
    shot: Sequence[FaceTrack], by: Policy, llrs: Mapping[int, float], rivals: Mapping[int, float]
) -> dict[int, float]:
    """Track number -> its score, 0 to 1; the scores of ``speaking`` and ``network`` are probabilities.

    rivals  the log-likelihood ratios with which the others are compared, at least ``llrs``: somebody whose mouth is seen
            from the side leaves everybody else in doubt, but is no likelier to speak
    """
    if by in BY_SOUND:
        own, rival = (np.array([of[track.number] for track in shot]) for of in (llrs, rivals))
        off_screen = _PRIORS[by][0]
        most = max(float(rival.max()), off_screen)
        own, rival, nobody = np.exp(own - most), np.exp(rival - most), math.exp(off_screen - most)
        likely = own / (own + (rival.sum() - rival) + nobody)
        return {track.number: float(p) for track, p in zip(shot, likely, strict=True)}
    scores = np.array([_policy_score(track, by) for track in shot])
    # For left and right a track must be visible a fourth as long as the longest: faces that flit by do not count.
    if by in ("left", "right"):
        frames = np.array([len(track.rows) for track in shot])
        scores = np.where(frames >= frames.max() / 4, scores, 1e-3 * scores)
    shares = [score / (score + max([*np.delete(scores, i), 0.0])) if score else 0.0 for i, score in enumerate(scores)]
    return {track.number: float(share) for track, share in zip(shot, shares, strict=True)}


def _policy_score(track: FaceTrack, by: Policy) -> float:
    if by == "largest":
        return float(track.area.sum())
    if by == "longest":
        return float(len(track.rows))
    return float(np.clip((1 - track.x if by == "left" else track.x).mean(), 1e-3, 1))
