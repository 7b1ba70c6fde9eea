"""Precision and recall of the micro-expression spotter.

    python -m benchmarks.micro_expressions [--data data ...] [--features DIR]

--data      folders that `dvc repro` made on the embedded sample: spotted events against the planted ones.
--features  a folder of caches of real videos (bemerc extract): spotted events per minute. They have no annotation, so
            all count as false alarms.

A spotted event counts as right where it overlaps a planted one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bemerc.behavior.describe import micro_expressions
from bemerc.behavior.describe.clip import ClipFeatures
from bemerc.behavior.describe.micro_expressions import Event
from bemerc.behavior.describe.run import read_clip
from bemerc.behavior.signals.events import frame_s
from bemerc.cache import Features, open_cache
from bemerc.corpus.manifest import MODALITIES
from bemerc.extraction.face.action_units import COLUMNS, from_landmarks


@dataclass
class Count:
    """Numbers of planted, spotted and right events, those with the right unit, their overlaps, minutes of video."""

    planted: int = 0
    spotted: int = 0
    right: int = 0
    same_unit: int = 0
    minutes: float = 0.0

    def __post_init__(self) -> None:
        self.overlaps: list[float] = []

    def add(self, spotted: list[Event], planted: list[dict[str, Any]], minutes: float) -> None:
        self.planted += len(planted)
        self.spotted += len(spotted)
        self.minutes += minutes
        for truth in planted:
            hits = [event for event in spotted if event.onset <= truth["offset"] and event.offset >= truth["onset"]]
            if hits:
                best = max(hits, key=lambda event: event.score)
                self.right += 1
                self.same_unit += best.unit == f"{truth['unit']}_r"
                shared = min(best.offset, truth["offset"]) - max(best.onset, truth["onset"]) + 1
                whole = max(best.offset, truth["offset"]) - min(best.onset, truth["onset"]) + 1
                self.overlaps.append(shared / whole)

    def sentence(self) -> str:
        right = max(self.right, 1)
        return (
            f"{self.planted} planted in {self.minutes:.1f} minutes, {self.spotted} spotted: "
            f"precision {self.right / max(self.spotted, 1):.2f}, recall {self.right / max(self.planted, 1):.2f}, "
            f"{(self.spotted - self.right) / self.minutes:.2f} false alarms per minute; of the right ones "
            f"{self.same_unit / right:.2f} name the unit, mean overlap {np.mean(self.overlaps or [0]):.2f}, "
            f"at least half {np.mean(np.array(self.overlaps or [0]) >= 0.5):.2f}"
        )


def planted_clips(data: Path) -> Iterator[tuple[ClipFeatures, list[dict[str, Any]]]]:
    """The clips of a sample, their action units as this version measures them, and their planted bursts."""
    lines = (data / "sample" / "truth.jsonl").read_text(encoding="utf-8").splitlines()
    truth = {row["id"]: row["events"] for row in map(json.loads, lines)}
    for id_, clip, landmarks in clips(data / "cache"):
        face = Features(from_landmarks(landmarks), clip["face"].timestamps_s, COLUMNS)
        yield {**clip, "face": face}, [event for event in truth[id_] if event["kind"] == "micro_expression"]


def clips(caches: Path) -> Iterator[tuple[str, ClipFeatures, NDArray[np.float32]]]:
    """Id, frames and landmarks of each clip of a folder of caches that has a face."""
    with ExitStack() as stack:
        opened = {m: stack.enter_context(open_cache(caches / f"{m}.h5", m)) for m in MODALITIES}
        for id_ in opened["face"].ids:
            clip, _ = read_clip(opened, id_)
            landmarks = opened["face"].landmarks(id_)
            if "face" in clip and landmarks is not None:
                yield id_, clip, landmarks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="*", default=[Path("data")])
    parser.add_argument("--features", type=Path)
    args = parser.parse_args()
    for data in args.data:
        counts = {"with the voice": Count(), "without it": Count()}
        for clip, planted in planted_clips(data):
            minutes = len(clip["face"].timestamps_s) * frame_s(clip["face"].timestamps_s) / 60
            silent: ClipFeatures = {"face": clip["face"]}
            for count, given in zip(counts.values(), (clip, silent), strict=True):
                count.add(micro_expressions.micro_expressions(given), planted, minutes)
        for name, count in counts.items():
            print(f"{data}, {name}: {count.sentence()}", flush=True)
    total, minutes = 0, 0.0
    for name, clip, _ in clips(args.features) if args.features else ():
        face = clip["face"]
        face_s = float(np.isfinite(face.values[:, 0]).sum()) * frame_s(face.timestamps_s)
        events = micro_expressions.spot(clip)
        bursts = [event for event in events if event.kind == "micro-expression"]
        total, minutes = total + len(bursts), minutes + face_s / 60
        named = ", ".join(f"{event.unit[:4]} at {face.timestamps_s[event.apex]:.2f} s" for event in bursts)
        blinks = sum(event.kind == "blink" for event in events)
        print(f"{name}: {face_s:.1f} s with a face, {blinks} blinks, spotted: {named or 'nothing'}")
    if minutes:
        print(f"{total} spotted in {minutes:.2f} minutes of real video: {total / minutes:.1f} per minute")


if __name__ == "__main__":
    main()
