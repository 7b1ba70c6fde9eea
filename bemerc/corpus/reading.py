"""The result of a corpus reader: utterances, and findings about the corpus.

A reader goes on as long as it knows which utterance is which: a bad cue, row or file is left out, and becomes a Finding
with id, reason and what bemerc does about it (printed by ``bemerc corpus check``). Faults in what defines the data
stop it, all at once: unknown columns, labels and splits, duplicate ids and places, a dialogue in two splits.
"""

from __future__ import annotations

import difflib
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from bemerc.core.errors import CorpusError
from bemerc.core.ownership import WouldReplaceError
from bemerc.core.terminal import printable
from bemerc.corpus.manifest import Manifest, Utterance
from bemerc.corpus.text import is_broken

# What bemerc does with the subject of a finding.
Action = Literal["keeps", "keeps, repaired", "keeps without video", "leaves out"]

# Suffixes of clips; where two files claim one utterance, the first suffix wins. Clips are opened by their content,
# whatever their suffix; a file with any other suffix is left out, with a finding. fmt: off
VIDEO = (
    ".mp4",
    ".mkv",
    ".mov",
    ".avi",
    ".webm",
    ".m4v",
    ".mpg",
    ".mpeg",
    ".ts",
    ".mts",
    ".wmv",
    ".flv",
    ".3gp",
    ".ogv",
    # camcorders, discs, broadcast and older players
    ".m2ts",
    ".m2t",
    ".vob",
    ".divx",
    ".xvid",
    ".mxf",
    ".asf",
    ".f4v",
    ".3g2",
    ".ogm",
    ".m2v",
    ".mpe",
    ".qt",
    ".dv",
    ".mod",
    ".tod",
    ".rm",
    ".rmvb",
    ".wtv",
    ".mp4v",
    ".mjpg",
    ".nut",
)
SOUND = (
    ".wav",
    ".flac",
    ".m4a",
    ".mp3",
    ".aac",
    ".ogg",
    ".opus",
    ".wma",
    ".aif",
    ".aiff",
    ".oga",
    ".mka",
    ".amr",
    ".caf",
    ".ac3",
    ".mp2",
    ".weba",
    ".wv",
    ".au",
    ".aifc",
    ".m4b",
)
# fmt: on


# Faults that one message lists; a table may have as many as it has rows.
MAX_SHOWN = 100


class FaultyCorpusError(CorpusError):
    """A corpus cannot be read. ``faults``: sentences; ``findings``: what was noticed before."""

    def __init__(self, faults: Sequence[str], advice: str = "", findings: Sequence[Finding] = ()) -> None:
        self.faults = tuple([*faults, advice] if advice else faults)
        more = [f"and {len(faults) - MAX_SHOWN} more faults"] if len(faults) > MAX_SHOWN else []
        super().__init__("\n".join([*faults[:MAX_SHOWN], *more, *([advice] if advice else [])]))
        self.findings = tuple(findings)


def must_be_no_recording(out: Path) -> None:
    """WouldReplaceError where a file of results would replace a video or a sound."""
    if out.is_file() and out.suffix.lower() in (*VIDEO, *SOUND):
        raise WouldReplaceError(
            "there is a recording of this name, which would be replaced. Name another file.", path=out
        )


@dataclass(frozen=True)
class Finding:
    """Something in a corpus that a person may want to know.

    kind       one word per kind, as counted in the report: missing, extra, corrupt, mis-cut, near-empty, gap, ...
    id         the utterance, dialogue, file or line that it is about
    reason     a sentence with the values
    action     what bemerc does about it
    needs_you  whether a person has to decide or fix something; then ``corpus check`` ends with exit code 1
    """

    kind: str
    id: str
    reason: str
    action: Action = "keeps"
    needs_you: bool = False


@dataclass(frozen=True)
class Reading:
    """The content of one corpus.

    utterances  with paths of clips absolute or relative to the working directory
    labels      the label set in its canonical order; empty where the corpus has no labels
    findings    in the order of reading
    spans_s     id -> the utterance's length by the corpus's own times, where it has them
    errata      id -> its documented fault; findings on it need nobody
    twins       id -> another file that claims to be the same clip
    """

    name: str
    utterances: tuple[Utterance, ...]
    labels: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    spans_s: Mapping[str, float] = field(default_factory=dict)
    errata: Mapping[str, str] = field(default_factory=dict)
    twins: Mapping[str, str] = field(default_factory=dict)

    def by_action(self, action: Action) -> dict[str, str]:
        """Id -> reasons, joined, of the findings with this action."""
        reasons: dict[str, str] = {}
        for finding in self.findings:
            if finding.action == action:
                reasons[finding.id] = f"{reasons.get(finding.id, '')} {finding.reason}".strip()
        return reasons

    def manifest(self, folder: Path) -> Manifest:
        """The utterances as a manifest in ``folder``, without writing it, in natural order of ids (t2 before t10)."""
        utterances = sorted(
            relocated(self.utterances, folder), key=lambda u: [natural(part) for part in u.id.split("/")]
        )
        return Manifest(tuple(utterances), self.labels, (self.name,) if self.name else (), folder)


def relocated(utterances: Iterable[Utterance], folder: Path) -> tuple[Utterance, ...]:
    """Utterances with their clips' paths as in a manifest in ``folder``: absolute, or relative to ``folder``.

    Links are not followed, so that the manifest is the same wherever they point to.
    """
    base = os.path.abspath(folder)  # noqa: PTH100  Path.resolve() would follow links

    def moved(path: str | None) -> str | None:
        if path is None or os.path.isabs(path):  # noqa: PTH117
            return path
        return Path(os.path.relpath(os.path.abspath(path), base)).as_posix()  # noqa: PTH100

    return tuple(
        u if u.clip == (clip := moved(u.clip)) and u.sound is None else replace(u, clip=clip, sound=moved(u.sound))
        for u in utterances
    )


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key of natural order: clip2 before clip10."""
    parts = re.findall(r"\d+|\D+", name, re.ASCII)
    return tuple((0, int(part), part) if part[0] in "0123456789" else (1, 0, part) for part in parts)


def natural_id(id_: str) -> list[tuple[tuple[int, int, str], ...]]:
    """Sort key of ids: natural order, folder by folder."""
    return [natural(part) for part in id_.split("/")]


def by_dialogue(utterances: Iterable[Utterance]) -> dict[str, list[Utterance]]:
    """Utterances by dialogue, each in the order of its turns."""
    turns: dict[str, list[Utterance]] = {}
    for utterance in utterances:
        turns.setdefault(utterance.dialogue, []).append(utterance)
    return {key: sorted(group, key=lambda u: u.index) for key, group in turns.items()}


def renumbered(utterances: Iterable[Utterance]) -> tuple[Utterance, ...]:
    """The utterances with indices 0, 1, 2, ... within each dialogue."""
    groups = by_dialogue(utterances)
    return tuple(replace(u, index=i) for group in groups.values() for i, u in enumerate(group))


def of_words(utterance: Utterance) -> list[Finding]:
    """Findings on the words of an utterance: a wrong encoding, or none at all."""
    findings = []
    if is_broken(utterance.text):
        reason = "The words hold characters of a wrong encoding."
        findings.append(Finding("mojibake", utterance.id, reason, needs_you=True))
    if not utterance.text.strip():
        findings.append(Finding("empty", utterance.id, "The utterance has no words."))
    return findings


def stop_at(faults: Sequence[str], advice: str = "", findings: Sequence[Finding] = ()) -> None:
    """Raise FaultyCorpusError if there are faults; ``advice`` ends the message."""
    if faults:
        raise FaultyCorpusError(faults, advice, findings)


def person(written: str) -> str:
    """A speaker's name in normal form: NFC, white space folded, so that "Ann" and "Ann " are one person."""
    return " ".join(unicodedata.normalize("NFC", written).split())


def nearest(written: str, names: Iterable[str]) -> str:
    """The end of a sentence on an unknown name: which of the ``names`` it is closest to, or a full stop."""
    folded = {name.casefold(): name for name in names}
    near = difflib.get_close_matches(written[:200].casefold(), folded, n=1)
    return f"; did you mean '{printable(folded[near[0]], 60)}'?" if near else "."


def listed(names: Iterable[str]) -> str:
    """Names for a sentence, the first twenty of them."""
    shown = [printable(name, 60) for name in names]
    more = f" and {len(shown) - 20} more" if len(shown) > 20 else ""
    return f"{', '.join(shown[:20])}{more}"
