"""The listener of an utterance: whoever else is in sight longest while somebody speaks, where everybody's rows are
kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from bemerc.cache.read import FrameCache
from bemerc.cache.schema import Features, Kind

Visual = Literal["face", "pose", "audio"]  # as corpus.manifest.Modality, of which listeners have the first two
VISUAL: tuple[Visual, ...] = ("face", "pose")
# Somebody who is in sight for less of the utterance is a passer-by.
_LEAST_SHARE = 0.5


def listener_of(face: FrameCache, id_: str) -> str | None:
    """The id, in ``face.others``, of an utterance's listener; None where nobody else is in sight for half of it."""
    others = face.others
    if others is None:
        return None
    rows = {other: others.frames(other) for other in face.others_of(id_)}
    longest = max(rows, key=lambda other: rows[other], default=None)
    least = _LEAST_SHARE * face.frames(id_)
    return longest if longest is not None and rows[longest] >= max(1, least) else None


def features_of(caches: Mapping[Kind, FrameCache], id_: str) -> dict[Visual, Features]:
    """Modality -> the rows of an utterance's listener: the face, and the body where a tile of their own was measured;
    empty without a listener. CacheError for damaged rows."""
    face = caches.get("face")
    listener = None if face is None else listener_of(face, id_)
    measured: dict[Visual, Features] = {}
    for modality in VISUAL if listener is not None else ():
        others = caches[modality].others if modality in caches else None
        if listener is not None and others is not None and listener in others and others.frames(listener):
            measured[modality] = others[listener]
    return measured
