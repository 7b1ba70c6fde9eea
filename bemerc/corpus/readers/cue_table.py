"""Cues of a recording from a table with start_s, end_s, text, speaker, label, in place of subtitles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bemerc.core.terminal import printable
from bemerc.corpus import labels as emotion
from bemerc.corpus.delimited import read_table
from bemerc.corpus.manifest import NOBODY
from bemerc.corpus.readers import subtitles
from bemerc.corpus.readers.subtitles import Cue
from bemerc.corpus.reading import Finding, person, stop_at

NEEDED = ("start_s", "end_s", "text")
OPTIONAL = ("speaker", "label")


def read(path: Path, labels: Sequence[str], faults: list[str]) -> tuple[list[Cue], list[Finding]]:
    """The cues of a table, and findings on rows that are left out. Unknown labels are added to ``faults``; CorpusError
    where a column is missing or unknown."""
    contents = read_table(path)
    columns = NEEDED + OPTIONAL
    column_faults = [f"line 1: the column '{c}' is missing." for c in NEEDED if c not in contents.columns]
    column_faults += [f"line 1: the column '{printable(c)}' is unknown." for c in contents.columns if c not in columns]
    stop_at(
        [f"{printable(path)}, {fault}" for fault in column_faults],
        f"A table of cues has the columns {', '.join(NEEDED)}, and may have {', '.join(OPTIONAL)}.",
    )
    findings = [_left_out(path, line, why) for line, why in contents.misshapen.items()]
    if reason := contents.decoded.describe_odd_lines():
        findings.append(Finding("encoding", path.as_posix(), reason))
    accepted = emotion.names(labels)
    cues = [_cue(path, row.line, row.cells, accepted, faults, findings) for row in contents.rows]
    return [cue for cue in cues if cue is not None], findings


def _cue(
    path: Path,
    line: int,
    cells: Mapping[str, str],
    accepted: Mapping[str, str],
    faults: list[str],
    findings: list[Finding],
) -> Cue | None:
    written = cells.get("label", "").strip()
    label = emotion.canonical(written, accepted) if written else None
    if written and not accepted:
        faults.append(
            f"{printable(path)}, line {line}: there is a label, but no label set is declared; set prepare.recording.labels."
        )
    elif written and label is None:
        faults.append(f"{printable(path)}, line {line}: {emotion.fault(written, accepted)}")
    start_s, end_s = subtitles.seconds(cells["start_s"]), subtitles.seconds(cells["end_s"])
    if start_s is None or end_s is None:
        column = "start_s" if start_s is None else "end_s"
        reason = f"{column} must be seconds or h:mm:ss, not '{printable(cells[column], 40)}'."
    elif end_s <= start_s:
        reason = f"The cue ends at {end_s:g} s, which is not after its start, {start_s:g} s."
    else:
        return Cue(start_s, end_s, cells["text"], person(cells.get("speaker", "")) or NOBODY, label, line)
    findings.append(_left_out(path, line, reason))
    return None


def _left_out(path: Path, line: int, reason: str) -> Finding:
    return Finding("row", f"{path.as_posix()}, line {line}", reason, "leaves out", needs_you=True)
