"""A worker's open extractors, reused from one utterance to the next.

An extractor is a module that ``jobs.extractor_spec`` names; it has

    VERSION, or version(params)   changes whenever the numbers do
    columns(params)               the names of its columns, in order
    open_extractor(params)        an extractor, see below
    batch_size(params)            optional: how many clips one process should hold

A video extractor has ``reset()``, then per frame either ``frame(rgb, timestamp_s)`` or ``view(frame_view,
timestamp_s)``, then ``finish() -> Features``; optional attributes are set or read: ``heartbeat``, ``load_audio``,
``landmarks``, ``choice``, ``others``. An audio extractor has ``reset()`` and ``clip(waveform) -> Features``, or
``clips(waveforms)`` for batches.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from bemerc.cache import Features
from bemerc.extraction.jobs import ExtractorSpec, Track


class ExtractorPool:
    """Extractors by modality; ``take`` one for an utterance and ``put_back`` it for the next."""

    def __init__(self, specs: tuple[ExtractorSpec, ...]) -> None:
        self.specs: dict[str, ExtractorSpec] = {spec.modality: spec for spec in specs}
        self._free: dict[str, list[Any]] = {modality: [] for modality in self.specs}
        self.heartbeat: Callable[[], None] = lambda: None
        # Modalities that are extracted in one pass use the same sound track.
        self.track: Track = next((spec.track for spec in specs if spec.track != "auto"), "auto")

    def warm_up(self) -> None:
        """Open one of each, so that a missing library shows before the first clip."""
        for modality in self.specs:
            self.put_back(modality, self.take(modality))

    def take(self, modality: str) -> Any:
        """A reset extractor, which is opened where none is free."""
        spec = self.specs[modality]
        if not self._free[modality]:
            self._free[modality].append(importlib.import_module(spec.module).open_extractor(spec.params))
        extractor = self._free[modality].pop()
        if hasattr(extractor, "heartbeat"):  # one step of it may take minutes
            extractor.heartbeat = self.heartbeat
        extractor.reset()
        return extractor

    def put_back(self, modality: str, extractor: Any) -> None:
        """Free an extractor."""
        self._free[modality].append(extractor)


def checked(features: Features, spec: ExtractorSpec) -> Features:
    """The features, after checks that they are what the spec announces."""
    shape = (len(features.timestamps_s), len(spec.columns))
    assert features.columns == spec.columns, f"{spec.modality}: columns {features.columns}"
    assert features.values.shape == shape, f"{spec.modality}: values {features.values.shape}, not {shape}"
    assert features.values.dtype == np.float32, f"{spec.modality}: values of {features.values.dtype}"
    return features
