"""What was found, for people and for programs; and what a cache holds, in words."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bemerc.cache import FrameCache, summary
from bemerc.core.errors import BemercError, MachineError
from bemerc.core.terminal import printable

_LISTED = 10
# An encoder's hundreds of columns have no meaning one by one: a few stand for all.
_ENCODED, _ENCODED_LISTED = r"\w+_\d{4}", 4


@dataclass(frozen=True)
class Finding:
    """Something about one utterance, or about the whole cache where ``id`` is empty. ``what`` is its kind."""

    id: str
    what: str
    says: str
    wrong: bool


@dataclass(frozen=True)
class Report:
    """What was found in one cache. ``unseen``: utterances with rows of which every one is NaN."""

    path: str
    summary: Mapping[str, Any]
    unseen: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def wrong(self) -> int:
        return sum(finding.wrong for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """For programs: the summary, the ids of which nothing was seen, the findings."""
        found = [asdict(finding) for finding in self.findings]
        return {"path": self.path, "summary": self.summary, "unseen": list(self.unseen), "findings": found}

    def format_text(self) -> str:
        """For people: one line on the cache, a line per finding (of each kind ten at most), a verdict."""
        told = self.summary
        lines = [
            printable(self.path, 1000) + (f": {told['rows']} rows of {told['utterances']} utterances" if told else "")
        ]
        if told:
            lines.append(f"  not measured: {told['failed']}; nothing seen in any frame: {len(self.unseen)}")
        for kind in dict.fromkeys((finding.wrong, finding.what) for finding in self.findings):
            mine = [finding for finding in self.findings if (finding.wrong, finding.what) == kind]
            mark = ("BUSY " if kind[1] == "busy" else "WRONG") if kind[0] else "odd  "
            lines += [
                f"  {mark} {printable(f.id) + ': ' if f.id else ''}{printable(f.says, 1000)}" for f in mine[:_LISTED]
            ]
            lines += (
                [f"  {mark} {kind[1]}: {len(mine) - _LISTED} more (--json lists all)"] if len(mine) > _LISTED else []
            )
        if any(finding.what == "busy" for finding in self.findings):
            return "\n".join([*lines, "  not checked"])
        return "\n".join([*lines, f"  {self.wrong} wrong, {len(self.findings) - self.wrong} odd"])


def refused(path: Path, error: BemercError) -> Report:
    """The report on a file that cannot be opened as a cache, or not now."""
    what = "busy" if isinstance(error, MachineError) else "cache"
    return Report(str(path), {}, (), (Finding("", what, str(error), True),))


def to_json(reports: Sequence[Report]) -> str:
    """Several reports for programs; NaN is null, since JSON has none."""
    return as_json([report.as_json() for report in reports])


def as_json(value: Any) -> str:
    """Any summary for programs, in the same way."""
    return json.dumps(_plain(value), ensure_ascii=False, indent=1)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def in_words(cache: FrameCache) -> str:
    """What a cache holds, for the terminal."""
    found = summary(cache)
    rate = "every frame" if found["rate"] == "clip" else f"{found['rate']:g} per second"
    landmarks = ", raw landmarks kept" if found["landmarks"] else ""
    width = max([6, *(len(printable(name)) for name in cache.columns)])
    lines = [
        f"{printable(cache.path, 1000)}: {cache.modality} of {found['utterances']} utterances, {found['hours']:.2f} hours",
        f"{found['rows']} rows, {rate}, by {printable(cache.extractor)}, {found['bytes'] / 1e6:.1f} MB{landmarks}",
        f"made with {printable(json.dumps(cache.params, sort_keys=True, ensure_ascii=False), 10_000)}",
        "",
        f"{'column':<{width}} {'seen':>6} {'mean':>9} {'std':>9} {'min':>9} {'max':>9}",
    ]
    encoded = [name for name in cache.columns if re.fullmatch(_ENCODED, name)]
    hidden = set(encoded[_ENCODED_LISTED:])
    for name, numbers in found["columns"].items():
        cells = [numbers[key] for key in ("mean", "std", "min", "max")]
        row = f"{printable(name):<{width}} {1 - numbers['nan_share']:>6.0%} " + " ".join(
            f"{cell:>9.3f}" for cell in cells
        )
        lines += [] if name in hidden else [row]
    lines += [f"and {len(hidden)} more of an encoder (bemerc cache info --json lists all)"] if hidden else []
    more = f" and {len(cache) - 5} more" if len(cache) > 5 else ""
    if found["several_faces"]:
        doubt = f", and of {found['uncertain_faces']} it is uncertain whose was to be measured"
        lines += ["", f"one of several faces was chosen in {found['several_faces']} utterances{doubt}"]
    lines += ["", "utterances: " + ", ".join(map(printable, cache.ids[:5])) + more]
    for what, sentences in (("without rows", cache.failures), ("note", cache.notes)):
        lines += [
            f"{what}: {printable(id_)}: {printable(says, 1000)}" for id_, says in sorted(sentences.items())[:_LISTED]
        ]
        lines += [f"{what}: {len(sentences) - _LISTED} more"] if len(sentences) > _LISTED else []
    return "\n".join(lines)
