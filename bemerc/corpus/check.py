"""``bemerc corpus check``: what is in a corpus, what is wrong with it, and what bemerc does about each thing.

Told before the hours of extraction, not after them: readers say what the tables tell, this module opens every clip.
A clip is mis-cut when its length disagrees with the corpus's own times both absolutely and relatively; one threshold
alone would flag either every short clip or none of the long ones.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from bemerc.core import progress
from bemerc.core.errors import CorpusError, MachineError, MediaError
from bemerc.core.terminal import printable
from bemerc.corpus import prepare
from bemerc.corpus.manifest import SPLITS, Utterance
from bemerc.corpus.reading import MAX_SHOWN, FaultyCorpusError, Finding, Reading

if TYPE_CHECKING:
    from bemerc.media.video import Probe

NEAR_EMPTY_S = 0.5
SHOWN = 10
# A label of fewer utterances in train is hardly learned and hardly measured. (Ours.)
FEW = 10


@dataclass(frozen=True)
class Tolerance:
    """A clip is mis-cut when it is off by more than ``seconds`` and by more than ``share`` of what the times say."""

    seconds: float = 0.5
    share: float = 0.25

    def exceeded(self, found_s: float, said_s: float) -> bool:
        """Whether ``found_s`` disagrees with ``said_s``."""
        off = abs(found_s - said_s)
        return off > self.seconds and off > self.share * said_s


@dataclass(frozen=True)
class Report:
    """What ``corpus check`` says.

    counts   split -> utterances, dialogues, speakers, labelled, with_clip
    labels   split -> label -> utterances; "(none)" for those without
    speakers split -> speaker -> utterances, the most frequent first
    hours    split -> hours by the corpus's own times, or by the clips where it gives none
    faults   sentences that stop ``prepare``; there are no counts where the corpus could not be read for them
    findings everything else, those that need a person first
    """

    corpus: str
    counts: Mapping[str, Mapping[str, int]]
    labels: Mapping[str, Mapping[str, int]]
    speakers: Mapping[str, Mapping[str, int]]
    hours: Mapping[str, float]
    faults: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def needs_you(self) -> bool:
        """Whether something must be decided or mended by a person."""
        return bool(self.faults) or any(finding.needs_you for finding in self.findings)

    @property
    def exit_code(self) -> int:
        """1 when something needs the user, else 0."""
        return int(self.needs_you)

    def kinds(self) -> dict[str, int]:
        """Findings by kind, in the order of first appearance."""
        return dict(Counter(finding.kind for finding in self.findings))

    def to_json(self) -> str:
        """Everything, for programs; findings in full."""
        return json.dumps(
            {**asdict(self), "kinds": self.kinds(), "needs_you": self.needs_you}, ensure_ascii=False, indent=1
        )

    def format_text(self, shown: int = SHOWN) -> str:
        """For people: the counts, then up to ``shown`` findings of each kind and action, and the count of the others."""
        lines = [self.corpus, *_count_lines(self), *_label_lines(self), *_speaker_lines(self)]
        lines += ["", *(f"STOPS  {printable(fault, 2000)}" for fault in self.faults[:MAX_SHOWN])] if self.faults else []
        lines += [f"and {len(self.faults) - MAX_SHOWN} more (--json lists all)"] if len(self.faults) > MAX_SHOWN else []
        for (kind, action, needs_you), group in _groups(self.findings).items():
            mark = "  needs you" if needs_you else ""
            lines += ["", f"{kind}: {len(group)} (bemerc {action}){mark}"]
            lines += [f"  {printable(finding.id)}: {printable(finding.reason, 2000)}" for finding in group[:shown]]
            lines += [f"  and {len(group) - shown} more (--json lists all)"] if len(group) > shown else []
        return "\n".join([*lines, "", self._verdict()])

    def _verdict(self) -> str:
        urgent = [finding for finding in self.findings if finding.needs_you]
        count = len(self.faults)
        sentences = [f"{count} fault{'s stop' if count > 1 else ' stops'} 'bemerc prepare'."] if count else []
        if not urgent:
            return " ".join([*sentences, f"{len(self.findings)} findings, none of which needs you."])
        advice = "Fix the files that they name"
        if any(finding.action != "leaves out" and finding.kind != "shared" for finding in urgent):
            advice += ", or list ids of utterances under prepare.without_video or prepare.leave_out in params.yaml"
        return " ".join([*sentences, f"{len(urgent)} of {len(self.findings)} findings need you. {advice}."])


def run(
    params: prepare.Params,
    name: str,
    *,
    clips: bool = True,
    deep: bool = False,
    tolerance: Tolerance | None = None,
    quiet: bool = False,
) -> Report:
    """Check the corpus ``name`` as ``params`` (the section ``prepare``) describes it.

    ``clips`` opens every clip for its length and tracks; ``deep`` decodes it whole too, which finds clips that break off.
    Raises CorpusError only where no corpus has this name.
    """
    prepare.must_be_known(name)
    try:
        reading = prepare.read(params, name)
    except FaultyCorpusError as error:
        return Report(name, {}, {}, {}, {}, error.faults, error.findings)
    except CorpusError as error:
        return Report(name, {}, {}, {}, {}, tuple(str(error).splitlines()), ())
    report = check(reading, clips=clips, deep=deep, tolerance=tolerance, quiet=quiet)
    return replace(report, faults=tuple(prepare.stops(reading, params)))


def check(
    reading: Reading,
    *,
    clips: bool = True,
    deep: bool = False,
    tolerance: Tolerance | None = None,
    quiet: bool = False,
) -> Report:
    """Check what a reader gave; see ``run``."""
    durations, findings = _open_clips(reading, deep, quiet) if clips else ({}, [])
    findings = [*reading.findings, *findings]
    for u in reading.utterances:
        findings += _lengths(u, reading, durations, tolerance or Tolerance())
    findings += [*prepare.shared_clips(reading.utterances), *_few(reading)]
    findings = [replace(f, needs_you=False) if f.id in reading.known else f for f in findings]
    findings.sort(key=lambda finding: not finding.needs_you)
    return Report(
        reading.name,
        {split: _counted(reading.utterances, split) for split in SPLITS},
        _tally(reading.utterances, lambda u: u.label or "(none)"),
        _tally(reading.utterances, lambda u: u.speaker),
        {split: _hours(reading, durations, split) for split in SPLITS},
        (),
        tuple(findings),
    )


# ---- clips


def _open_clips(reading: Reading, deep: bool, quiet: bool) -> tuple[dict[str, float], list[Finding]]:
    """Clip -> seconds, and a finding per utterance whose clip is damaged or lacks a track. Each clip is opened once."""
    users: dict[str, list[Utterance]] = {twin: [] for twin in reading.twins.values()}
    for u in reading.utterances:
        if u.clip is not None:
            users.setdefault(u.clip, []).append(u)
    durations: dict[str, float] = {}
    findings: list[Finding] = []
    with nullcontext(_ignore) if quiet or not users else progress.bar("clips", len(users), "clips") as advance:
        for path, mine in users.items():
            seconds, faults = _look(Path(path), deep)
            if seconds is not None:
                durations[path] = seconds
            findings += [replace(fault, id=u.id) for u in mine for fault in faults]
            advance(1)
    return durations, findings


def _look(path: Path, deep: bool) -> tuple[float | None, list[Finding]]:
    """How long a clip lasts and what is wrong with it, by its header, or with ``deep`` by decoding it whole."""
    from bemerc.media.video import probe

    try:
        found = probe(path)
        faults = _tracks(found)
        if deep:
            faults += [Finding("damaged", "", reason, needs_you=True) for reason in _decode(path, found)]
    except (MediaError, MachineError) as error:
        return None, [Finding("corrupt", "", str(error), "keeps without video", needs_you=True)]
    return found.duration_s if isfinite(found.duration_s) else None, faults


def _decode(path: Path, found: Probe) -> list[str]:
    from bemerc.media.audio import read_sound
    from bemerc.media.video import Video

    faults: list[str] = []
    if found.has_video:
        with Video(path) as video:
            for _ in video:
                pass
            faults += video.faults
    return faults + (read_sound(path).faults if found.has_audio else [])


def _ignore(count: int) -> None:
    """The progress of a check that is to be quiet."""


def _tracks(found: Probe) -> list[Finding]:
    if not found.has_video:
        return [Finding("track", "", "Its clip has no picture.", "keeps without video")]
    return [] if found.has_audio else [Finding("track", "", "Its clip has no sound.")]


def _lengths(u: Utterance, reading: Reading, durations: Mapping[str, float], tolerance: Tolerance) -> list[Finding]:
    """Near-empty, mis-cut and over the end: what times and clip say of one utterance."""
    found_s = durations.get(u.clip) if u.clip is not None else None
    said_s = reading.spans_s.get(u.id)
    findings = []
    if u.start_s is not None and u.end_s is not None:
        said_s = u.end_s - u.start_s
        if found_s is not None and u.end_s > found_s + tolerance.seconds:
            reason = f"It ends at {u.end_s:.3f} s, its clip at {found_s:.3f} s."
            findings.append(Finding("mis-cut", u.id, reason, needs_you=True))
    elif found_s is not None and said_s is not None and tolerance.exceeded(found_s, said_s):
        findings.append(_mis_cut(u, found_s, said_s, reading.twins.get(u.id), durations))
    short = _short(u, found_s if u.start_s is None else None, said_s)
    return findings + ([Finding("near-empty", u.id, short)] if short else [])


def _mis_cut(u: Utterance, found_s: float, said_s: float, twin: str | None, durations: Mapping[str, float]) -> Finding:
    reason = f"Its clip lasts {found_s:.3f} s, its times say {said_s:.3f} s."
    if twin is not None and twin in durations:
        reason += f" {Path(twin).name} lasts {durations[twin]:.3f} s."
    return Finding("mis-cut", u.id, reason, needs_you=True)


def _short(u: Utterance, found_s: float | None, said_s: float | None) -> str:
    said = said_s is not None and said_s < NEAR_EMPTY_S
    found = found_s is not None and found_s < NEAR_EMPTY_S
    if not (said or found):
        return ""
    parts = [f"its times span {said_s:.3f} s"] if said else []
    parts += [f"its clip lasts {found_s:.3f} s"] if found else []
    sentence = " and ".join(parts)
    return f"{sentence[0].upper()}{sentence[1:]}, less than {NEAR_EMPTY_S:g} s."


def _few(reading: Reading) -> list[Finding]:
    """Labels that train has, in fewer than FEW utterances."""
    counts = Counter(u.label for u in reading.utterances if u.split == "train" and u.label is not None)
    rare = ", ".join(f"{label} {counts[label]}" for label in reading.labels if 0 < counts[label] < FEW)
    reason = f"Fewer than {FEW} utterances have the label: {rare}."
    return [Finding("few", f"{reading.name}/train", reason)] if rare else []


# ---- counts


def _counted(utterances: Iterable[Utterance], split: str) -> dict[str, int]:
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
            said = u.end_s - u.start_s if u.start_s is not None and u.end_s is not None else reading.spans_s.get(u.id)
            total += said if said is not None else durations.get(u.clip or "", 0.0)
    return round(total / 3600, 4)


# ---- text


def _count_lines(report: Report) -> list[str]:
    return [
        f"  {split:5s} {c['utterances']:>6,} utterances  {c['dialogues']:>5,} dialogues  {c['speakers']:>4,} speakers  "
        f"{c['labelled']:>6,} labelled  {c['with_clip']:>6,} with clip  {report.hours[split]:6.2f} h"
        for split, c in report.counts.items()
    ]


def _label_lines(report: Report) -> list[str]:
    return [
        f"  {split:5s} " + ", ".join(f"{printable(label)} {n:,}" for label, n in tally.items())
        for split, tally in report.labels.items()
        if tally
    ]


def _speaker_lines(report: Report) -> list[str]:
    lines = []
    for split, tally in report.speakers.items():
        if tally:
            most = ", ".join(
                f"{printable(speaker, 60) or '(nobody named)'} {n:,}" for speaker, n in list(tally.items())[:SHOWN]
            )
            more = f", and {len(tally) - SHOWN} more" if len(tally) > SHOWN else ""
            lines.append(f"  {split:5s} {most}{more}")
    return lines


def _groups(findings: Iterable[Finding]) -> dict[tuple[str, str, bool], list[Finding]]:
    groups: dict[tuple[str, str, bool], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.kind, finding.action, finding.needs_you), []).append(finding)
    return groups
