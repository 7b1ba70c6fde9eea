"""One pass over each clip's sound track: it is decoded once, and every utterance is cut from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bemerc.cache import Features
from bemerc.core.errors import MachineError, MediaError
from bemerc.extraction.extractor_pool import ExtractorPool, checked
from bemerc.extraction.failures import Failure
from bemerc.extraction.jobs import Request, Task, Track
from bemerc.extraction.reporter import Reporter, RequestOutcome
from bemerc.extraction.store import Result
from bemerc.extraction.video_pass import losses_note, starts_too_late
from bemerc.media.audio import Sound, read_sound
from bemerc.media.pitch import SAMPLE_RATE_HZ

_DECODERS = 4
# Samples that are extracted in one batch: ten minutes, so that long recordings do not fill the memory.
_BATCH_SAMPLES = 600 * SAMPLE_RATE_HZ


@dataclass(frozen=True)
class _Cut:
    """One utterance's sound, cut from its clip's track."""

    request: Request
    waveform: NDArray[np.float32]
    duration_s: float
    note: str


def extract_audio_clips(tasks: tuple[Task, ...], extractors: ExtractorPool, reporter: Reporter) -> None:
    """Decode several tracks side by side; utterances gather up to a limit, for an extractor that takes batches.
    A single task is extracted one utterance at a time. Results go to ``reporter``."""
    single = len(tasks) == 1
    parts = [part for task in tasks for part in _by_track(task, extractors.track)]
    batch: list[_Cut] = []
    with ThreadPoolExecutor(_DECODERS) as pool:
        for first in range(0, len(parts), _DECODERS):
            group = parts[first : first + _DECODERS]
            sounds = pool.map(lambda part: _decode(part[0], reporter.heartbeat, part[1]), group)
            for (task, _), sound in zip(group, sounds, strict=True):
                for cut in _cuts(task, sound, reporter):
                    batch.append(cut)
                    if single or sum(len(cut.waveform) for cut in batch) > _BATCH_SAMPLES:
                        reporter.extracting(cut.request if single else None)
                        _extract(batch, extractors, reporter)
                        batch = []
    reporter.extracting(None)
    _extract(batch, extractors, reporter)


def _by_track(task: Task, track: Track) -> Iterator[tuple[Task, Track]]:
    """The task in parts, each of one sound track; ``track``: of requests that name none."""
    for own in dict.fromkeys(request.segment.track for request in task.requests):
        requests = tuple(request for request in task.requests if request.segment.track == own)
        yield replace(task, requests=requests), own or track


def _decode(task: Task, heartbeat: Callable[[], None], track: Track) -> Sound | MediaError | MachineError:
    ends = [request.segment.end_s for request in task.requests]
    try:
        until_s = None if None in ends else max(end for end in ends if end is not None)
        return read_sound(task.path, until_s, heartbeat, track)
    except (MediaError, MachineError) as error:
        return error


def _cuts(task: Task, sound: Sound | MediaError | MachineError, reporter: Reporter) -> Iterator[_Cut]:
    """The utterances of a clip; those without sound are reported as failed."""
    for request in task.requests:
        reporter.heartbeat()
        if not isinstance(sound, Sound):
            reporter.failed(request, sound)
            continue
        start_s, end_s = request.segment.start_s or 0.0, request.segment.end_s
        if start_s >= (sound.duration_s if math.isfinite(sound.duration_s) else math.inf):
            reporter.failed(request, starts_too_late(request.segment, sound.duration_s))
            continue
        duration_s = min(x for x in (end_s, sound.duration_s) if x is not None and math.isfinite(x)) - start_s
        yield _Cut(request, sound.cut(start_s, end_s), duration_s, losses_note(sound.losses, request.segment))


def _extract(cuts: list[_Cut], extractors: ExtractorPool, reporter: Reporter) -> None:
    outcomes: list[dict[str, RequestOutcome]] = [{} for _ in cuts]
    for modality, spec in extractors.specs.items():
        wanted = [i for i, cut in enumerate(cuts) if modality in cut.request.keys]
        extractor = extractors.take(modality)
        for i, features in zip(wanted, _features(extractor, [cuts[i].waveform for i in wanted]), strict=True):
            if isinstance(features, MediaError):
                outcomes[i][modality] = Failure(str(features))
            else:
                outcomes[i][modality] = Result(checked(features, spec), cuts[i].duration_s, note=cuts[i].note)
        extractors.put_back(modality, extractor)
    for cut, by_modality in zip(cuts, outcomes, strict=True):
        reporter.done(cut.request, by_modality)


def _features(extractor: Any, waveforms: list[NDArray[np.float32]]) -> list[Features | MediaError]:
    if hasattr(extractor, "clips"):
        return list(extractor.clips(waveforms))
    return [extractor.clip(waveform) for waveform in waveforms]
