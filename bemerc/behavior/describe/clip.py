"""One utterance's frames per modality, with what was computed from them, so that nothing is computed twice."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from bemerc.cache import Features
from bemerc.corpus.manifest import Modality

T = TypeVar("T")
ClipFeatures = Mapping[Modality, Features]


class Clip(dict[Modality, Features]):
    """The frames of one utterance, not to be changed; functions marked ``once`` keep their results here."""

    def __init__(self, frames: ClipFeatures) -> None:
        super().__init__(frames)
        self.results: dict[Callable[..., Any], Any] = {}

    @classmethod
    def of(cls, frames: ClipFeatures) -> Clip:
        """``frames`` themselves where they are a Clip."""
        return frames if isinstance(frames, cls) else cls(frames)


def once(measure: Callable[[ClipFeatures], T]) -> Callable[[ClipFeatures], T]:
    """A function of a clip's frames that is computed once per Clip; its result must not be changed either."""

    @functools.wraps(measure)
    def kept(clip: ClipFeatures) -> T:
        if not isinstance(clip, Clip):
            return measure(clip)
        if measure not in clip.results:
            clip.results[measure] = measure(clip)
        result: T = clip.results[measure]
        return result

    return kept
