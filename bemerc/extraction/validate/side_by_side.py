"""Caches of the same clips against each other."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bemerc.cache import FrameCache, Kind, same_person
from bemerc.core.errors import CacheError
from bemerc.extraction.validate.report import MISSING_S, MISSING_SHARE, Issue

_OTHER_PERSON_SHARE = 0.5


def check_side_by_side(caches: Mapping[Kind, FrameCache]) -> list[Issue]:
    """Modality -> cache of one folder: do they hold the same utterances, with about the same durations?"""
    if len(caches) < 2:
        return []
    all_ids = set().union(*(cache.ids for cache in caches.values()))
    issues = []
    for id_ in sorted(all_ids):
        missing_from = [modality for modality, cache in caches.items() if id_ not in cache]
        if missing_from:
            message = (
                f"It is not in {' and '.join(missing_from)}, and is in the caches beside. Extract all of them again."
            )
            issues.append(Issue(id_, "missing", message, "error"))
            continue
        durations = {modality: cache.duration_s(id_) for modality, cache in caches.items()}
        finite = [duration for duration in durations.values() if np.isfinite(duration)]
        if finite and max(finite) - min(finite) > max(MISSING_S, MISSING_SHARE * max(finite)):
            listed = ", ".join(f"{modality} {duration:.2f} s" for modality, duration in durations.items())
            issues.append(Issue(id_, "durations", f"Its lengths differ: {listed}.", "warning"))
    return issues + _body_of_another_person(caches)


def _body_of_another_person(caches: Mapping[Kind, FrameCache]) -> list[Issue]:
    """The face is selected among several, the body is whichever the pose model takes: are they one person's?"""
    if not {"face", "pose"} <= set(caches):
        return []
    issues = []
    for id_ in caches["pose"]:
        if not same_person.has_several_faces(caches, id_) or id_ not in caches["face"]:
            continue
        try:
            other = same_person.is_other_person(caches["face"][id_], caches["pose"][id_])
        except CacheError:  # rows that cannot be read or used: the cache's own issues say it
            continue
        share = float(np.mean(other[np.isfinite(other)])) if np.isfinite(other).any() else 0.0
        if share > _OTHER_PERSON_SHARE:
            message = f"In {share:.0%} of its frames the body is not below the target face; they are left out."
            issues.append(Issue(id_, "body", message, "warning"))
    return issues
