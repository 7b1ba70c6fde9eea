"""Everybody else in sight during the turns of a dialogue, for the page: whose rows they are, and the rows as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from bemerc.behavior.describe.listening import listening
from bemerc.cache import Features, FrameCache, split_other
from bemerc.corpus.manifest import Utterance
from bemerc.view.arrays import Arrays
from bemerc.view.lines import LINES
from bemerc.view.positions import crop_of, mesh_of

_POSITION = ("face_x", "face_y", "face_size")
Other = dict[str, Any]


def add(arrays: Arrays, turns: Sequence[tuple[Utterance, float]], face: FrameCache | None) -> list[list[Other]]:
    """The rows of everybody else end to end, as arrays ``others.*``; per turn (utterance, start in seconds) its people:
    name, score, the tracks (first frame, end, number, score), which rows are theirs (first, count), in which crop, and what the listener did."""
    people: list[list[Other]] = [[] for _ in turns]
    others = None if face is None else face.others
    if face is None or others is None:
        return people
    parts: list[tuple[Utterance, float, str, Features]] = []
    at = 0
    for number, (u, start_s) in enumerate(turns):
        did = listening(face, u.id) if u.id in face else None
        for id_ in face.others_of(u.id):
            features = others[id_]
            if len(features.values):
                parts.append((u, start_s, id_, features))
                listened = did is not None and did.name == split_other(id_)[1]
                about: Other = {"did": asdict(did) if did is not None and listened else None}
                about |= {"rows": [at, len(features.values)], "crop": crop_of(u, id_)}
                people[number].append(_about(others, id_, face.frames(u.id)) | about)
                at += len(features.values)
    if parts:
        arrays.add_times("others.time", np.concatenate([f.timestamps_s + start_s for _, start_s, _, f in parts]))
        for name in _POSITION:
            if name in others.columns:
                arrays.add_series(f"others.{name}", np.concatenate([f.column(name) for *_, f in parts]))
        if others.has_landmarks and others.landmark_points > max(map(max, LINES)):
            arrays.add_positions("others.mesh", np.concatenate([mesh_of(others, u, f, id_) for u, _, id_, f in parts]))
    return people


def _about(others: FrameCache, id_: str, frames: int) -> Other:
    choice = others.choices.get(id_)
    spans = [] if choice is None else [[s.first, s.end, s.track, round(s.score, 4)] for s in choice.spans]
    share = others.frames(id_) / frames if frames else None
    return {
        "name": split_other(id_)[1],
        "score": None if choice is None else round(choice.score, 4),
        "share": None if share is None else round(min(1.0, share), 4),
        "spans": spans,
    }
