"""The report of ``bemerc corpus check``: counts, faults and findings, as text or JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from bemerc.core.terminal import printable
from bemerc.corpus.reading import MAX_SHOWN, Finding

# Findings of each kind, and speakers of each split, that the text shows.
SHOWN = 10


@dataclass(frozen=True)
class Report:
    """The result of a check.

    counts    split -> utterances, dialogues, speakers, labelled, with_clip
    labels    split -> label -> utterances; "(none)" for those without
    speakers  split -> speaker -> utterances, the most frequent first
    hours     split -> hours by the corpus's own times, or by the clips where it gives none
    faults    sentences on what stops ``prepare``; where the corpus could not be read for them, there are no counts
    findings  everything else, those that need a person first
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
        """Whether a person must decide or fix something."""
        return bool(self.faults) or any(finding.needs_you for finding in self.findings)

    @property
    def exit_code(self) -> int:
        """1 when something needs the user, else 0."""
        return int(self.needs_you)

    def kinds(self) -> dict[str, int]:
        """Findings by kind, in the order of first appearance."""
        return dict(Counter(finding.kind for finding in self.findings))

    def to_json(self) -> str:
        """Everything, for programs."""
        return json.dumps(
            {**asdict(self), "kinds": self.kinds(), "needs_you": self.needs_you}, ensure_ascii=False, indent=1
        )

    def format_text(self, shown: int = SHOWN) -> str:
        """For people: the counts, then up to ``shown`` findings of each kind and action, and the count of the
        others."""
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
