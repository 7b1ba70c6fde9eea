"""Check a corpus before the hours of extraction (``bemerc corpus check``).

Adds to the reader's findings those that need every clip opened: damaged, mis-cut, near-empty, without a track. The
report itself is in check_report.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from bemerc.core import progress
from bemerc.core.errors import CorpusError, MachineError, MediaError
from bemerc.corpus import prepare
from bemerc.corpus.check_report import Report
from bemerc.corpus.crops import size_fault
from bemerc.corpus.manifest import SPLITS, Utterance
from bemerc.corpus.reading import FaultyCorpusError, Finding, Reading

if TYPE_CHECKING:
    from bemerc.media.video import Probe

NEAR_EMPTY_S = 0.5
# A clip is mis-cut when its length is off by more than both: seconds, and a share of the span by the corpus's times.
# One threshold alone would flag either every short clip or no long one.
TOLERANCE_S, TOLERANCE_SHARE = 0.5, 0.25
# A label with fewer utterances in train is hardly learned. (Ours.)
FEW = 10


def run(
    params: prepare.Params,
    name: str,
    *,
    clips: bool = True,
    deep: bool = False,
    quiet: bool = False,
) -> Report:
    """Check the corpus ``name`` as ``params`` (the section ``prepare``) describes it.

    ``clips`` opens every clip for its length and tracks; ``deep`` decodes it whole too, which finds clips that break
    off. Raises CorpusError only where no corpus has this name.
    """
    prepare.check_name(name)
    try:
        reading = prepare.read(params, name)
    except FaultyCorpusError as error:
        return Report(name, {}, {}, {}, {}, error.faults, error.findings)
    except CorpusError as error:
        return Report(name, {}, {}, {}, {}, tuple(str(error).splitlines()), ())
    report = check(reading, clips=clips, deep=deep, quiet=quiet)
    return replace(report, faults=tuple(prepare.blocking_faults(reading, params)))


def check(
    reading: Reading,
    *,
    clips: bool = True,
    deep: bool = False,
    quiet: bool = False,
) -> Report:
    """Check a corpus that was read; see ``run``."""
    durations, findings = _open_clips(reading, deep, quiet) if clips else ({}, [])
    findings = [*reading.findings, *findings]
    for u in reading.utterances:
        findings += _length_findings(u, reading, durations)
    findings += [*prepare.shared_clips(reading.utterances), *_rare_labels(reading)]
    findings = [replace(f, needs_you=False) if f.id in reading.errata else f for f in findings]
    findings.sort(key=lambda finding: not finding.needs_you)
    return Report(
        reading.name,
        {split: _counts(reading.utterances, split) for split in SPLITS},
        _tally(reading.utterances, lambda u: u.label or "(none)"),
        _tally(reading.utterances, lambda u: u.speaker),
        {split: _hours(reading, durations, split) for split in SPLITS},
        (),
        tuple(findings),
    )


# ---- clips


def _open_clips(reading: Reading, deep: bool, quiet: bool) -> tuple[dict[str, float], list[Finding]]:
    """Clip -> seconds, and a finding per utterance with a damaged clip or without a track. Each clip is opened once."""
    users: dict[str, list[Utterance]] = {twin: [] for twin in reading.twins.values()}
    for u in reading.utterances:
        if u.clip is not None:
            users.setdefault(u.clip, []).append(u)
    durations: dict[str, float] = {}
    findings: list[Finding] = []
    with nullcontext(_ignore) if quiet or not users else progress.bar("clips", len(users), "clips") as advance:
        for path, utterances in users.items():
            header, faults = _examine(Path(path), deep)
            if header is not None and isfinite(header.duration_s):
                durations[path] = header.duration_s
            findings += [replace(fault, id=u.id) for u in utterances for fault in faults]
            findings += [tiny for u in utterances if header is not None for tiny in _tiny_crop(u, header)]
            advance(1)
    return durations, findings


def _examine(path: Path, deep: bool) -> tuple[Probe | None, list[Finding]]:
    """A clip's header and its faults (findings without id), by its header; with ``deep``, by decoding it whole."""
    from bemerc.media.video import probe

    try:
        header = probe(path)
        faults = _missing_tracks(header)
        if deep:
            faults += [Finding("damaged", "", reason, needs_you=True) for reason in _decode(path, header)]
    except (MediaError, MachineError) as error:
        return None, [Finding("corrupt", "", str(error), "keeps without video", needs_you=True)]
    return header, faults


def _decode(path: Path, header: Probe) -> list[str]:
    from bemerc.media.audio import read_sound
    from bemerc.media.video import Video

    faults: list[str] = []
    if header.has_video:
        with Video(path) as video:
            for _ in video:
                pass
            faults += video.faults
    return faults + (read_sound(path).faults if header.has_audio else [])


def _ignore(count: int) -> None:
    """The progress of a check that is to be quiet."""


def _missing_tracks(header: Probe) -> list[Finding]:
    if not header.has_video:
        return [Finding("track", "", "Its clip has no picture.", "keeps without video")]
    return [] if header.has_audio else [Finding("track", "", "Its clip has no sound.")]


def _tiny_crop(u: Utterance, header: Probe) -> list[Finding]:
    fault = size_fault(u.crop, header.width, header.height) if u.crop is not None and header.has_video else ""
    return [Finding("crop", u.id, f"Its part of the picture: {fault}", needs_you=True)] if fault else []


def _length_findings(u: Utterance, reading: Reading, durations: Mapping[str, float]) -> list[Finding]:
    """Mis-cut, near-empty, or over its clip's end: the utterance's times against the length of its clip."""
    length_s = durations.get(u.clip) if u.clip is not None else None
    span_s = reading.spans_s.get(u.id)
    findings = []
    if u.start_s is not None and u.end_s is not None:
        span_s = u.end_s - u.start_s
        if length_s is not None and u.end_s > length_s + TOLERANCE_S:
            reason = f"It ends at {u.end_s:.3f} s, its clip at {length_s:.3f} s."
            findings.append(Finding("mis-cut", u.id, reason, needs_you=True))
    elif length_s is not None and span_s is not None and _is_mis_cut(length_s, span_s):
        reason = f"Its clip lasts {length_s:.3f} s, its times say {span_s:.3f} s."
        if (twin := reading.twins.get(u.id)) in durations:
            reason += f" {Path(str(twin)).name} lasts {durations[str(twin)]:.3f} s."
        findings.append(Finding("mis-cut", u.id, reason, needs_you=True))
    short = _short(length_s if u.start_s is None else None, span_s)
    return findings + ([Finding("near-empty", u.id, short)] if short else [])


def _is_mis_cut(length_s: float, span_s: float) -> bool:
    off_s = abs(length_s - span_s)
    return off_s > TOLERANCE_S and off_s > TOLERANCE_SHARE * span_s


def _short(length_s: float | None, span_s: float | None) -> str:
    parts = [f"its times span {span_s:.3f} s"] if span_s is not None and span_s < NEAR_EMPTY_S else []
    parts += [f"its clip lasts {length_s:.3f} s"] if length_s is not None and length_s < NEAR_EMPTY_S else []
    sentence = " and ".join(parts)
    return f"{sentence[0].upper()}{sentence[1:]}, less than {NEAR_EMPTY_S:g} s." if sentence else ""


def _rare_labels(reading: Reading) -> list[Finding]:
    """Labels that train has, in fewer than FEW utterances."""
    counts = Counter(u.label for u in reading.utterances if u.split == "train" and u.label is not None)
    rare = ", ".join(f"{label} {counts[label]}" for label in reading.labels if 0 < counts[label] < FEW)
    reason = f"Fewer than {FEW} utterances have the label: {rare}."
    return [Finding("few", f"{reading.name}/train", reason)] if rare else []


# ---- counts


def _counts(utterances: Iterable[Utterance], split: str) -> dict[str, int]:
    mine = [u for u in utterances if u.split == split]
    return {
        "utterances": len(mine),
        "dialogues": len({u.dialogue for u in mine}),
        "speakers": len({u.speaker for u in mine}),
        "labelled": sum(u.label is not None for u in mine),
        "with_clip": sum(u.clip is not None for u in mine),
    }


def _tally(utterances: Iterable[Utterance], key: Callable[[Utterance], str]) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
    for u in utterances:
        counts[u.split][key(u)] += 1
    return {split: dict(sorted(c.items(), key=lambda item: (-item[1], item[0]))) for split, c in counts.items()}


def _hours(reading: Reading, durations: Mapping[str, float], split: str) -> float:
    total = 0.0
    for u in reading.utterances:
        if u.split == split:
            span_s = u.end_s - u.start_s if u.start_s is not None and u.end_s is not None else reading.spans_s.get(u.id)
            total += span_s if span_s is not None else durations.get(u.clip or "", 0.0)
    return round(total / 3600, 4)
