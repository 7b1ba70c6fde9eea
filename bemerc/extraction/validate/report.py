"""The report on a cache, for people and for programs; and what a cache holds, in words."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bemerc.cache import FrameCache, summary
from bemerc.core.errors import BemercError, MachineError
from bemerc.core.terminal import printable
from bemerc.extraction.face import extractor as face_extractor
from bemerc.extraction.pose import body

_LISTED = 10
# Headers round, and a decoder may lack the last frames: an end counts as missing from half a second and a tenth on.
MISSING_S, MISSING_SHARE = 0.5, 0.1
# An encoder's hundreds of columns have no meaning one by one: a few stand for all.
_ENCODED, _ENCODED_LISTED = r"\w+_\d{4}", 4


@dataclass(frozen=True)
class Issue:
    """An error or warning about one utterance, or about the whole cache where ``id`` is empty."""

    id: str
    kind: str
    message: str
    severity: Literal["error", "warning"]


@dataclass(frozen=True)
class Report:
    """The issues of one cache. all_nan: utterances with rows of which every value is NaN."""

    path: str
    summary: Mapping[str, Any]
    all_nan: tuple[str, ...]
    issues: tuple[Issue, ...]

    @property
    def errors(self) -> int:
        """How many issues are errors; the others are warnings."""
        return sum(issue.severity == "error" for issue in self.issues)

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self) | {"summary": self.summary}

    def format_text(self) -> str:
        """For people: one line on the cache, a line per issue (of each kind ten at most), and the counts."""
        lines = [printable(self.path, 1000)]
        if self.summary:
            lines[0] += f": {self.summary['rows']} rows of {self.summary['utterances']} utterances"
            lines.append(f"  not measured: {self.summary['failed']}; NaN in every row: {len(self.all_nan)}")
        for severity, kind in dict.fromkeys((issue.severity, issue.kind) for issue in self.issues):
            same = [issue for issue in self.issues if (issue.severity, issue.kind) == (severity, kind)]
            mark = "busy" if kind == "busy" else severity
            for issue in same[:_LISTED]:
                subject = f"{printable(issue.id)}: " if issue.id else ""
                lines.append(f"  {mark}: {subject}{printable(issue.message, 1000)}")
            if len(same) > _LISTED:
                lines.append(f"  {mark}: {kind}: {len(same) - _LISTED} more (--json lists all)")
        if any(issue.kind == "busy" for issue in self.issues):
            return "\n".join([*lines, "  not checked"])
        return "\n".join([*lines, f"  {self.errors} errors, {len(self.issues) - self.errors} warnings"])


def unopenable(path: Path, error: BemercError) -> Report:
    """The report on a file that cannot be opened as a cache, or not now."""
    kind = "busy" if isinstance(error, MachineError) else "cache"
    return Report(str(path), {}, (), (Issue("", kind, str(error), "error"),))


def reports_as_json(reports: Sequence[Report]) -> str:
    """Several reports for programs."""
    return as_json([report.as_json() for report in reports])


def as_json(value: Any) -> str:
    """Any summary as JSON text; NaN and infinite numbers become null, since JSON has none."""
    return json.dumps(_without_nan(value), ensure_ascii=False, indent=1)


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def describe_cache(cache: FrameCache) -> str:
    """What a cache holds, for the terminal."""
    totals = summary(cache)
    rate = "every frame" if totals["rate"] == "clip" else f"{totals['rate']:g} per second"
    landmarks = ", raw landmarks kept" if totals["landmarks"] else ""
    lines = [
        f"{printable(cache.path, 1000)}: {cache.modality} of {totals['utterances']} utterances, {totals['hours']:.2f} hours",
        f"{totals['rows']} rows, {rate}, by {printable(cache.extractor)}, {totals['bytes'] / 1e6:.1f} MB{landmarks}",
        *_outdated(cache),
        f"made with {printable(json.dumps(cache.params, sort_keys=True, ensure_ascii=False), 10_000)}",
        "",
        *_column_table(cache.columns, totals["columns"]),
    ]
    if totals["several_faces"]:
        doubt = f"; the target face is uncertain in {totals['uncertain_faces']}"
        lines += ["", f"several faces: a target face was selected in {totals['several_faces']} utterances{doubt}"]
    if cache.others is not None:
        names = ", ".join(map(printable, cache.others.ids[:5])) + (" ..." if totals["others"] > 5 else "")
        lines += ["", f"others in sight: {totals['others']}, with {totals['other_rows']} rows: {names}"]
    more = f" and {len(cache) - 5} more" if len(cache) > 5 else ""
    lines += ["", "utterances: " + ", ".join(map(printable, cache.ids[:5])) + more]
    for kind, sentences in (("without rows", cache.failures), ("note", cache.notes)):
        for id_, message in sorted(sentences.items())[:_LISTED]:
            lines.append(f"{kind}: {printable(id_)}: {printable(message, 1000)}")
        lines += [f"{kind}: {len(sentences) - _LISTED} more"] if len(sentences) > _LISTED else []
    return "\n".join(lines)


def _outdated(cache: FrameCache) -> list[str]:
    """A line where an earlier release's models measured what today's would measure otherwise."""
    current = {"face": face_extractor.VERSION, "pose": body.VERSION}.get(cache.modality, "")
    if not cache.extractor.startswith("mediapipe-") or cache.extractor.startswith(current):
        return []
    return [f"an earlier release measured it; `bemerc extract` measures anew, by {current}"]


def _column_table(columns: Sequence[str], statistics: Mapping[str, Mapping[str, float]]) -> list[str]:
    width = max([6, *(len(printable(name)) for name in columns)])
    lines = [f"{'column':<{width}} {'valid':>6} {'mean':>9} {'std':>9} {'min':>9} {'max':>9}"]
    hidden = set([name for name in columns if re.fullmatch(_ENCODED, name)][_ENCODED_LISTED:])
    for name in columns:
        if name not in hidden:
            numbers = statistics[name]
            cells = " ".join(f"{numbers[key]:>9.3f}" for key in ("mean", "std", "min", "max"))
            lines.append(f"{printable(name):<{width}} {1 - numbers['nan_share']:>6.0%} {cells}")
    return lines + ([f"and {len(hidden)} more of an encoder (bemerc cache info --json lists all)"] if hidden else [])
