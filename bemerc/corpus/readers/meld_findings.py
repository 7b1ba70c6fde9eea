"""Findings on a corpus in MELD's shape: faults of its words, numbers, times and clips."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from bemerc.corpus.delimited import Table
from bemerc.corpus.manifest import SPLITS, Split
from bemerc.corpus.readers.meld_clips import CLIP_FOLDERS, Clips
from bemerc.corpus.readers.meld_tables import Key, Turn, clean_text, is_too_long, utterance_id
from bemerc.corpus.reading import Finding
from bemerc.corpus.text import is_broken, repair

if TYPE_CHECKING:
    from bemerc.corpus.readers.meld import Params

_QUOTES = re.compile("[‘’“”]")


def encoding_findings(tables: Mapping[Split, Table], prefix: str) -> list[Finding]:
    """Files with lines that are not UTF-8."""
    findings = []
    for split, table in tables.items():
        if reason := table.decoded.describe_odd_lines():
            findings.append(Finding("encoding", f"{prefix}/{split}", f"{table.path}: {reason}", "keeps, repaired"))
    return findings


def text_findings(turns: Sequence[Turn], params: Params, prefix: str) -> list[Finding]:
    """Mojibake and blank words by utterance; curly quotes, which are no fault, counted by split."""
    findings = []
    repairs = params.text == "repair"
    for turn in turns:
        written = turn.row.cells["Utterance"]
        if is_broken(written):
            still = is_broken(clean_text(written, params))
            reason = "The words hold characters of a wrong encoding" + ("." if still else ", which are undone.")
            findings.append(
                Finding(
                    "mojibake",
                    utterance_id(prefix, turn),
                    reason,
                    "keeps" if still else "keeps, repaired",
                    still and repairs,
                )
            )
        if not written.strip():
            findings.append(Finding("empty", utterance_id(prefix, turn), "The utterance has no words."))
    for split in SPLITS:
        curly = sum(bool(_QUOTES.search(repair(t.row.cells["Utterance"]))) for t in turns if t.split == split)
        if curly:
            reason = f"{curly} utterances hold curly quotes" + (", which are straightened." if repairs else ".")
            findings.append(Finding("quotes", f"{prefix}/{split}", reason, "keeps, repaired" if repairs else "keeps"))
    return findings


def gap_findings(turns: Sequence[Turn], prefix: str) -> list[Finding]:
    """Numbers without a row: of dialogues within a split, and of utterances within a dialogue."""
    numbers: dict[tuple[Split, int], list[int]] = {}
    for turn in turns:
        numbers.setdefault((turn.split, turn.dialogue), []).append(turn.number)
    findings = []
    for split in SPLITS:
        missing = _gaps([dialogue for s, dialogue in numbers if s == split])
        if missing:
            findings.append(Finding("gap", f"{prefix}/{split}", f"No row has the dialogue {missing}.", "leaves out"))
    for (split, dialogue), existing in numbers.items():
        missing = _gaps(existing)
        if missing:
            reason = f"No row has the utterance {missing}; positions are counted anew."
            findings.append(Finding("gap", f"{prefix}/{split}/dia{dialogue}", reason))
    return findings


def _gaps(numbers: Sequence[int]) -> str:
    """ "5, 6 of 0 to 9": the missing numbers below the largest, the first ten of them; "" where none is missing."""
    existing, largest = set(numbers), max(numbers, default=-1)
    missing = largest + 1 - len(existing)
    if not missing:
        return ""
    first = ", ".join(map(str, islice((n for n in range(largest) if n not in existing), 10)))
    return f"{first}{f' and {missing - 10} more' if missing > 10 else ''} of 0 to {largest}"


def order_findings(turns: Sequence[Turn], prefix: str) -> list[Finding]:
    """Turns that start before the turn before, and times that cannot be read or are negative."""
    findings = []
    for before, turn in pairwise(turns):
        if (before.split, before.dialogue) != (turn.split, turn.dialogue):
            continue
        if before.start_s is not None and turn.start_s is not None and turn.start_s < before.start_s:
            reason = f"It starts {before.start_s - turn.start_s:.3f} s before utterance {before.number}, which the ids put first."
            findings.append(Finding("order", utterance_id(prefix, turn), reason))
    for turn in turns:
        if turn.span_s is None and "StartTime" in turn.row.cells:
            findings.append(
                Finding("times", utterance_id(prefix, turn), f"Line {turn.row.line}: its times cannot be read.")
            )
        elif turn.span_s is not None and turn.span_s < 0:
            findings.append(
                Finding("times", utterance_id(prefix, turn), f"It ends {-turn.span_s:.3f} s before it starts.")
            )
    return findings


def repeated_findings(turns: Sequence[Turn], prefix: str) -> list[Finding]:
    """The same words by the same speaker at the same second of the same episode under two ids."""
    first: dict[tuple[str, ...], Turn] = {}
    findings = []
    for turn in turns:
        cells = turn.row.cells
        if turn.start_s is None or "Episode" not in cells:
            continue
        moment = tuple(cells.get(c, "") for c in ("Season", "Episode", "StartTime", "Speaker", "Utterance"))
        other = first.setdefault(moment, turn)
        if other is turn:
            continue
        reason = f"The same moment stands as {utterance_id(prefix, other)} too"
        if other.split != turn.split:
            reason += f", so {turn.split} holds an utterance of {other.split}"
        if other.label != turn.label:
            reason += f", labelled {other.label} there and {turn.label} here"
        findings.append(Finding("repeated", utterance_id(prefix, turn), reason + "."))
    return findings


def clip_findings(
    turns: Sequence[Turn],
    clips: Mapping[Split, Clips],
    chosen: Mapping[Key, Path],
    params: Params,
    prefix: str,
    errata: Mapping[str, str],
) -> list[Finding]:
    """Missing clips, files that belong to no turn, and turns that are too long to be cut right."""
    findings = []
    for split in SPLITS:
        mine = [turn for turn in turns if turn.split == split]
        if clips[split].folder is None:
            looked = params.clips.get(split) or ", ".join(CLIP_FOLDERS[split])
            reason = f"No folder of clips was found for {split} ({len(mine)} utterances); looked for {looked}."
            findings.append(Finding("missing", f"{prefix}/{split}", reason, "keeps without video", needs_you=True))
        else:
            findings += _missing(mine, chosen, clips[split], prefix, errata)
            findings += _extra(mine, clips[split], params, prefix)
        for turn in mine:
            if is_too_long(turn, params):
                reason = f"Its times span {turn.span_s:.3f} s, more than longest_s = {params.longest_s:g} s."
                findings.append(
                    Finding(
                        "mis-cut",
                        utterance_id(prefix, turn),
                        reason,
                        "keeps without video",
                        utterance_id(prefix, turn) not in errata,
                    )
                )
    return findings


def _missing(
    turns: Sequence[Turn],
    chosen: Mapping[Key, Path],
    clips: Clips,
    prefix: str,
    errata: Mapping[str, str],
) -> list[Finding]:
    return [
        Finding(
            "missing",
            utterance_id(prefix, turn),
            f"There is no dia{turn.clip[0]}_utt{turn.clip[1]}.mp4 in {clips.folder}.",
            "keeps without video",
            utterance_id(prefix, turn) not in errata,
        )
        for turn in turns
        if turn.key not in chosen
    ]


def _extra(turns: Sequence[Turn], clips: Clips, params: Params, prefix: str) -> list[Finding]:
    claimed = {turn.clip for turn in turns}
    findings = []
    for path in clips.unknown:
        reason = (
            "macOS left this shadow file."
            if path.name.startswith("._")
            else "Its name is not that of an utterance, or a second file has it."
        )
        findings.append(Finding("extra", path.as_posix(), reason, "leaves out"))
    for number, path in [*clips.plain.items(), *clips.final.items()]:
        if number not in claimed:
            findings.append(
                Finding("extra", path.as_posix(), "No row has this number: it has no words and no label.", "leaves out")
            )
        elif path == clips.final.get(number) and params.twins == "plain" and number in clips.plain:
            reason = f"A second clip for dia{number[0]}_utt{number[1]}; twins: final would take it."
            findings.append(Finding("extra", path.as_posix(), reason, "leaves out"))
    return findings
