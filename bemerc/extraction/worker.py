"""A worker process: clips in by a pipe, finished pieces out into the store. ``python -m bemerc.extraction.worker FD FD``.

It is a program of its own, not a multiprocessing.Process: the caller's script is not imported a second time, Ctrl-C reaches
the caller alone, and what a library prints before it dies is at hand for the reason. Nothing here catches an unexpected
error: it ends the process. What it was at stands in a small shared file, where its end cannot garble it: the crew sees there
whether the decoder or an extractor ended it, and over which utterance. Only here are perception libraries imported.

A MediaError is a verdict on the clip and is kept; a MachineError is not, and its utterances are tried again next time.

One pass over a clip serves everything that is wanted of it: face on every frame, pose at its own rate, and all utterances
that lie in it, each with extractors of its own, since these carry state from frame to frame.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import mmap
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bemerc.cache import Features
from bemerc.core.errors import BemercError, MachineError, MediaError
from bemerc.extraction.jobs import Measure, Setup, Task, Track, Want
from bemerc.extraction.store import Finished, Identity, Part, Refused, Store, identity
from bemerc.extraction.worker_state import DECODING, PLACE, TOGETHER
from bemerc.media.audio import Sound, read_sound
from bemerc.media.container import NoTrackError
from bemerc.media.losses import Losses
from bemerc.media.pitch import SAMPLE_RATE_HZ
from bemerc.media.video import CroppedFrame, Frame, Video

_BEAT_S = 1.0
_DECODERS = 4
# Samples that wait to be measured together: ten minutes, so that long recordings do not fill the memory.
_GATHERED = 600 * SAMPLE_RATE_HZ

# A MachineError stands for "not this time": it is told, not kept.
Result = Finished | Refused | MachineError


def main() -> None:
    """Serve until the pipe closes, which it does when the caller ends, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = Connection(int(sys.argv[1]))
    try:
        _serve(connection)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _serve(connection: Connection) -> None:
    setup: Setup = connection.recv()
    bench = Bench(setup.measures)
    try:
        bench.warm_up()
    except BemercError as error:
        connection.send(("stop", str(error)))
        return
    connection.send(("ready",))
    report = _Report(connection, Store(setup.store), mmap.mmap(int(sys.argv[2]), PLACE.size))
    bench.alive = report.beat
    sound = all(measure.modality in ("audio", "speech") for measure in setup.measures)
    while True:
        tasks: tuple[Task, ...] = connection.recv()
        report.begin(tasks)
        try:
            if sound:
                measure_sounds(tasks, bench, report)
            else:
                for task in tasks:
                    measure_video(task, bench, report)
        except BemercError as error:  # not the clip's fault: the store refuses
            connection.send(("stop", str(error)))
            return
        connection.send(("end",))


class _Report:
    """Results on their way: into the store, and word of it to the caller; and what this process is at."""

    def __init__(self, connection: Connection, store: Store, place: mmap.mmap) -> None:
        self._connection, self._store, self._place = connection, store, place
        self._beat_at = 0.0
        self._sending = threading.Lock()  # tracks are decoded in threads, and each of them says that it lives

    def begin(self, tasks: tuple[Task, ...]) -> None:
        self._places = {id(want): (i, at) for i, task in enumerate(tasks) for at, want in enumerate(task.wants)}
        self._tasks = tasks
        self.decoding(0.0)

    def beat(self) -> None:
        """A sign of life, at most one a second."""
        if time.monotonic() - self._beat_at > _BEAT_S:
            self._beat_at = time.monotonic()
            self._send("beat")

    def _send(self, *message: Any) -> None:
        with self._sending:
            self._connection.send(message)

    def decoding(self, now_s: float) -> None:
        """From here on the decoder works; it has come as far as ``now_s``."""
        PLACE.pack_into(self._place, 0, DECODING, now_s)

    def measuring(self, want: Want | None) -> None:
        """From here on an extractor works on one utterance, or (None) on several at once."""
        PLACE.pack_into(self._place, 0, TOGETHER if want is None else self._places[id(want)][1], 0.0)

    def done(self, want: Want, results: dict[str, Result]) -> None:
        """Keep an utterance's results, unless the clip has become another one meanwhile."""
        task, at = self._places[id(want)]
        if _identity_now(self._tasks[task].path) != self._tasks[task].identity:
            results = dict.fromkeys(
                results, MachineError("The clip changed while it was read. Run the same command again.")
            )
        lost: dict[str, str] = {}
        for modality, result in results.items():
            if isinstance(result, MachineError):
                lost[want.names[modality]] = str(result)
            else:
                self._store.put(modality, want.names[modality], result)
        self._send("done", task, at, lost)

    def refused(self, want: Want, error: MediaError | MachineError) -> None:
        """The same reason for all modalities of an utterance."""
        result = error if isinstance(error, MachineError) else Refused(str(error), isinstance(error, NoTrackError))
        self.done(want, dict.fromkeys(want.names, result))


def _identity_now(path: Path) -> Identity | None:
    try:
        return identity(path)
    except OSError:
        return None


class Bench:
    """Open extractors, taken for one utterance and put back for the next."""

    def __init__(self, measures: tuple[Measure, ...]) -> None:
        self.measures: dict[str, Measure] = {measure.modality: measure for measure in measures}
        self._free: dict[str, list[Any]] = {modality: [] for modality in self.measures}
        self.alive: Callable[[], None] = lambda: None
        # Those that are measured together and hear anything hear the same.
        self.track: Track = next((one.track for one in measures if one.track != "auto"), "auto")

    def warm_up(self) -> None:
        """Open one of each, so that a missing library shows before the first clip."""
        for modality in self.measures:
            self.put_back(modality, self.take(modality))

    def take(self, modality: str) -> Any:
        measure = self.measures[modality]
        if not self._free[modality]:
            self._free[modality].append(importlib.import_module(measure.module).open_extractor(measure.params))
        extractor = self._free[modality].pop()
        if hasattr(extractor, "alive"):  # it may be long at one thing, and says meanwhile that it lives
            extractor.alive = self.alive
        extractor.reset()
        return extractor

    def put_back(self, modality: str, extractor: Any) -> None:
        self._free[modality].append(extractor)


def _checked(features: Features, measure: Measure) -> Features:
    shape = (len(features.timestamps_s), len(measure.columns))
    assert features.columns == measure.columns, f"{measure.modality}: columns {features.columns}"
    assert features.values.shape == shape, f"{measure.modality}: values {features.values.shape}, not {shape}"
    assert features.values.dtype == np.float32, f"{measure.modality}: values of {features.values.dtype}"
    return features


# ------------------------------------------------------------------------------------------------------------- picture


class _Live:
    """An utterance that is on screen: its extractors, and when each takes its next frame."""

    def __init__(self, want: Want, bench: Bench, ear: _Ear) -> None:
        self.want, self.bench, self.ear = want, bench, ear
        self.extractors = {modality: bench.take(modality) for modality in want.names}
        self._slots: dict[str, int] = {}

    @property
    def start_s(self) -> float:
        return self.want.part.start_s or 0.0

    def take(self, frame: Frame) -> None:
        """Hand the frame to the extractors whose turn it is; its pixels are made only if there is one, and all of them only
        for those who do not say what they need."""
        now_s = frame.timestamp_s - self.start_s
        due = [self.extractors[modality] for modality in self.extractors if self._is_due(modality, now_s)]
        if not due:
            return
        picture = CroppedFrame(frame, self.want.part.crop)
        if any(not hasattr(extractor, "look") for extractor in due):
            picture.rgb()  # now, so that it serves the others as well
        for extractor in due:
            if hasattr(extractor, "look"):
                extractor.look(picture, now_s)
            else:
                extractor.frame(picture.rgb(), now_s)

    def _is_due(self, modality: str, now_s: float) -> bool:
        """At most one frame per period of the rate: the first one shown in it. By time, since frames may be uneven."""
        rate_hz = self.bench.measures[modality].rate_hz
        if rate_hz is None:
            return True
        slot = math.floor(now_s * rate_hz + 1e-6)
        due = slot > self._slots.get(modality, -1)
        self._slots[modality] = max(slot, self._slots.get(modality, -1))
        return due

    def results(self, duration_s: float, note: str) -> dict[str, Result]:
        """Finish all extractors; one that cannot says why."""
        found: dict[str, Result] = {}
        for modality, extractor in self.extractors.items():
            self.bench.alive()
            if hasattr(extractor, "sound"):  # whose mouth moves may depend on what one hears
                extractor.sound = lambda: self.ear.hear(self.want.part)
            try:
                features = _checked(extractor.finish(), self.bench.measures[modality])
            except MediaError as error:  # this modality alone could not be measured
                found[modality] = Refused(str(error))
                continue
            except MachineError as error:
                found[modality] = error
                continue
            landmarks, choice = getattr(extractor, "landmarks", None), getattr(extractor, "choice", None)
            found[modality] = Finished(features, duration_s, landmarks, note, choice)
        return found

    def leave(self) -> None:
        """Free the extractors for the next utterance."""
        for modality, extractor in self.extractors.items():
            self.bench.put_back(modality, extractor)


class _Ear:
    """The sound of the clip whose picture is measured: decoded when it is first asked for, once for all utterances."""

    def __init__(self, path: Path, alive: Callable[[], None], track: Track = "auto") -> None:
        self._path, self._alive, self._track = path, alive, track
        self._asked = False
        self._sound: Sound | None = None

    def hear(self, part: Part) -> NDArray[np.float32] | None:
        """The samples of a part of the clip; None where there is no sound that can be decoded. MachineError where there may
        be one: whose face it is would else be decided without it, for good."""
        if not self._asked:
            with contextlib.suppress(MediaError):
                self._sound = read_sound(self._path, None, self._alive, self._track)
            self._asked = True
        return None if self._sound is None else self._sound.cut(part.start_s, part.end_s)


def measure_video(task: Task, bench: Bench, report: _Report) -> None:
    """One pass over the picture; utterances begin and end as their times come."""
    waiting = sorted(task.wants, key=lambda want: want.part.start_s or 0.0, reverse=True)
    live: list[_Live] = []
    ear = _Ear(task.path, report.beat, bench.track)
    try:
        with Video(task.path) as video:
            for frame in video:
                report.beat()
                while waiting and (waiting[-1].part.start_s or 0.0) <= frame.timestamp_s:
                    live.append(_Live(waiting.pop(), bench, ear))
                live = _over(live, frame.timestamp_s, video.losses, report)
                live = [one for one in live if _took(one, frame, report)]
                if not waiting and not live:
                    return
                report.decoding(frame.timestamp_s)
    except (MediaError, MachineError) as error:
        for want in (*(one.want for one in live), *waiting):
            report.refused(want, error)
        for one in live:
            one.leave()
        return
    _clip_ended(video, live, waiting, report)


def _over(live: list[_Live], now_s: float, losses: Losses, report: _Report) -> list[_Live]:
    """Finish the utterances whose end has come; the others go on."""
    still = []
    for one in live:
        end_s = one.want.part.end_s
        if end_s is None or now_s < end_s:
            still.append(one)
        else:
            _finish(one, end_s - one.start_s, _note(losses, one.want.part), report)
    return still


def _finish(one: _Live, duration_s: float, note: str, report: _Report) -> None:
    """Keep what was measured of an utterance, and free its extractors."""
    report.measuring(one.want)
    report.done(one.want, one.results(duration_s, note))
    one.leave()


def _took(one: _Live, frame: Frame, report: _Report) -> bool:
    """Whether the utterance goes on after this frame; a crop that leaves nothing of it ends it."""
    report.measuring(one.want)
    try:
        one.take(frame)
    except (MediaError, MachineError) as error:
        report.refused(one.want, error)
        one.leave()
        return False
    return True


def _clip_ended(video: Video, live: list[_Live], waiting: list[Want], report: _Report) -> None:
    for one in live:
        end_s = one.want.part.end_s
        duration_s = video.duration_s - one.start_s if end_s is None else min(end_s, video.duration_s) - one.start_s
        _finish(one, duration_s, _note(video.losses, one.want.part), report)
    for want in waiting:
        report.refused(want, _starts_too_late(want.part, video.duration_s))


def _note(losses: Losses, part: Part) -> str:
    """What is missing of a part of a clip, as sentences."""
    return " ".join(losses.notes(part.start_s or 0.0, math.inf if part.end_s is None else part.end_s))


def _starts_too_late(part: Part, duration_s: float) -> MediaError:
    return MediaError(f"It starts at {part.start_s or 0.0:.2f} s, and its clip has nothing after {duration_s:.2f} s.")


# --------------------------------------------------------------------------------------------------------------- sound


@dataclass(frozen=True)
class _Cut:
    """One utterance's sound, cut from its clip's track."""

    want: Want
    waveform: NDArray[np.float32]
    duration_s: float
    note: str


def measure_sounds(tasks: tuple[Task, ...], bench: Bench, report: _Report) -> None:
    """Decode each track once and cut every utterance from it. Of several clips the tracks are decoded side by side, and
    utterances gather up to a limit, to be measured together by an extractor that can do so."""
    gathered: list[_Cut] = []
    with ThreadPoolExecutor(_DECODERS) as pool:
        for first in range(0, len(tasks), _DECODERS):
            part = tasks[first : first + _DECODERS]
            for task, sound in zip(
                part, pool.map(lambda task: _decoded(task, report.beat, bench.track), part), strict=True
            ):
                for one in _cut(task, sound, report):
                    gathered.append(one)
                    if len(tasks) == 1 or sum(len(cut.waveform) for cut in gathered) > _GATHERED:
                        report.measuring(one.want if len(tasks) == 1 else None)
                        _measure_cuts(gathered, bench, report)
                        gathered = []
    report.measuring(None)
    _measure_cuts(gathered, bench, report)


def _decoded(task: Task, alive: Callable[[], None], track: Track) -> Sound | MediaError | MachineError:
    ends = [want.part.end_s for want in task.wants]
    try:
        until_s = None if None in ends else max(end for end in ends if end is not None)
        return read_sound(task.path, until_s, alive, track)
    except (MediaError, MachineError) as error:
        return error


def _cut(task: Task, sound: Sound | MediaError | MachineError, report: _Report) -> Iterator[_Cut]:
    """The utterances of a clip; those that there is no sound of are refused."""
    for want in task.wants:
        report.beat()
        if not isinstance(sound, Sound):
            report.refused(want, sound)
            continue
        start_s, end_s = want.part.start_s or 0.0, want.part.end_s
        if start_s >= (sound.duration_s if math.isfinite(sound.duration_s) else math.inf):
            report.refused(want, _starts_too_late(want.part, sound.duration_s))
            continue
        duration_s = min(x for x in (end_s, sound.duration_s) if x is not None and math.isfinite(x)) - start_s
        yield _Cut(want, sound.cut(start_s, end_s), duration_s, _note(sound.losses, want.part))


def _measure_cuts(cuts: list[_Cut], bench: Bench, report: _Report) -> None:
    found: list[dict[str, Result]] = [{} for _ in cuts]
    for modality, measure in bench.measures.items():
        wanted = [i for i, cut in enumerate(cuts) if modality in cut.want.names]
        extractor = bench.take(modality)
        for i, features in zip(wanted, _features(extractor, [cuts[i].waveform for i in wanted]), strict=True):
            if isinstance(features, MediaError):
                found[i][modality] = Refused(str(features))
            else:
                found[i][modality] = Finished(_checked(features, measure), cuts[i].duration_s, note=cuts[i].note)
        bench.put_back(modality, extractor)
    for cut, results in zip(cuts, found, strict=True):
        report.done(cut.want, results)


def _features(extractor: Any, waveforms: list[NDArray[np.float32]]) -> list[Features | MediaError]:
    if hasattr(extractor, "clips"):
        return list(extractor.clips(waveforms))
    return [extractor.clip(waveform) for waveform in waveforms]


if __name__ == "__main__":
    main()
