"""Caches that lie side by side."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bemerc.cache import FrameCache, Kind, same_person
from bemerc.core.errors import CacheError
from bemerc.extraction.validate.report import Finding

# As rows.py: headers round, and a decoder may lack the last frames.
_MISSING_S, _MISSING_SHARE = 0.5, 0.1
_APART_SHARE = 0.5


def together(caches: Mapping[Kind, FrameCache]) -> list[Finding]:
    """Caches that lie side by side: the same utterances, and about the same durations."""
    if len(caches) < 2:
        return []
    everyone = set().union(*(cache.ids for cache in caches.values()))
    findings = []
    for id_ in sorted(everyone):
        lacking = [modality for modality, cache in caches.items() if id_ not in cache]
        if lacking:
            says = f"It is not in {' and '.join(lacking)}, and is in the caches beside. Extract all of them again."
            findings.append(Finding(id_, "missing", says, True))
            continue
        durations = {modality: cache.duration_s(id_) for modality, cache in caches.items()}
        known = [duration for duration in durations.values() if np.isfinite(duration)]
        if known and max(known) - min(known) > max(_MISSING_S, _MISSING_SHARE * max(known)):
            told = ", ".join(f"{modality} {duration:.2f} s" for modality, duration in durations.items())
            findings.append(Finding(id_, "durations", f"Its lengths differ: {told}.", False))
    return findings + _two_people(caches)


def _two_people(caches: Mapping[Kind, FrameCache]) -> list[Finding]:
    """The face is chosen among several, the body is whichever the pose model takes: do they belong together?"""
    if not {"face", "pose"} <= set(caches):
        return []
    findings = []
    for id_ in caches["pose"]:
        if not same_person.several(caches, id_) or id_ not in caches["face"]:
            continue
        try:
            other = same_person.others(caches["face"][id_], caches["pose"][id_])
        except CacheError:  # rows that cannot be read or used: the cache's own findings say it
            continue
        share = float(np.mean(other[np.isfinite(other)])) if np.isfinite(other).any() else 0.0
        if share > _APART_SHARE:
            says = f"In {share:.0%} of its frames the body is not below the face that was chosen; they are left out."
            findings.append(Finding(id_, "body", says, False))
    return findings
