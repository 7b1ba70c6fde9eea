"""What a reader gives: utterances, and beside them everything about the corpus that a person should know.

A reader never fails on a broken corpus as long as each utterance can be told from the others: what is odd becomes a
Finding with the id, the reason, and what bemerc does about it, and ``bemerc corpus check`` prints them. One bad cue, row
or file is left out and named. What says which data the corpus is stops, with all faults at once: columns, labels and
splits that nobody knows, ids and places that stand twice, a dialogue in two splits.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from bemerc.core.errors import CorpusError
from bemerc.corpus.manifest import Manifest, Utterance

# What becomes of the thing that a finding is about.
Action = Literal["keeps", "keeps, repaired", "keeps without video", "leaves out"]

# What counts as a clip by its name; where two files claim one utterance, the suffix that stands first wins. All of these
# are opened by what is in them, never by their name; a file of any other name is no clip, and named as left out.
# fmt: off
VIDEO = (
    ".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".mts", ".wmv", ".flv", ".3gp", ".ogv",
    # camcorders, discs, broadcast and older players
    ".m2ts", ".m2t", ".vob", ".divx", ".xvid", ".mxf", ".asf", ".f4v", ".3g2", ".ogm", ".m2v", ".mpe", ".qt", ".dv",
    ".mod", ".tod", ".rm", ".rmvb", ".wtv", ".mp4v", ".mjpg", ".nut",
)
SOUND = (
    ".wav", ".flac", ".m4a", ".mp3", ".aac", ".ogg", ".opus", ".wma", ".aif", ".aiff",
    ".oga", ".mka", ".amr", ".caf", ".ac3", ".mp2", ".weba", ".wv", ".au", ".aifc", ".m4b",
)
# fmt: on


# Faults that one message lists; a table may have as many as rows.
MAX_SHOWN = 100


class FaultyCorpusError(CorpusError):
    """A corpus that stops: ``faults`` are its sentences, ``findings`` what else was found before it stopped."""

    def __init__(self, faults: Sequence[str], advice: str = "", findings: Sequence[Finding] = ()) -> None:
        self.faults = tuple([*faults, advice] if advice else faults)
        more = [f"and {len(faults) - MAX_SHOWN} more faults"] if len(faults) > MAX_SHOWN else []
        super().__init__("\n".join([*faults[:MAX_SHOWN], *more, *([advice] if advice else [])]))
        self.findings = tuple(findings)


@dataclass(frozen=True)
class Finding:
    """One thing found in a corpus.

    kind       one word per kind, as counted in the report: missing, extra, corrupt, mis-cut, near-empty, gap, ...
    id         the utterance, dialogue, file or line that it is about
    reason     a sentence with the values
    action     what bemerc does about it
    needs_you  True when a person has to decide or mend something; then ``corpus check`` ends with exit code 1
    """

    kind: str
    id: str
    reason: str
    action: Action = "keeps"
    needs_you: bool = False


@dataclass(frozen=True)
class Reading:
    """One corpus as a reader found it.

    utterances  clips are paths as the reader found them: absolute, or relative to the working directory
    labels      the label set in its canonical order; empty where the corpus has no labels
    findings    everything odd, in the order in which it was found
    spans_s     id -> seconds that the corpus says the utterance lasts, where it says so
    known       id -> what is publicly known to be wrong with it, so that nobody is alarmed by it again
    twins       id -> another file that claims to be the same clip
    """

    name: str
    utterances: tuple[Utterance, ...]
    labels: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    spans_s: Mapping[str, float] = field(default_factory=dict)
    known: Mapping[str, str] = field(default_factory=dict)
    twins: Mapping[str, str] = field(default_factory=dict)

    def by_action(self, action: Action) -> dict[str, str]:
        """Id -> why, of everything that this was done to; several reasons for one id are joined."""
        found: dict[str, str] = {}
        for finding in self.findings:
            if finding.action == action:
                found[finding.id] = f"{found[finding.id]} {finding.reason}" if finding.id in found else finding.reason
        return found

    def manifest(self, folder: Path) -> Manifest:
        """These utterances as a manifest that lies in ``folder``, without writing it, sorted as people number ids: t2 before t10."""
        utterances = sorted(
            relocated(self.utterances, folder), key=lambda u: [natural(part) for part in u.id.split("/")]
        )
        return Manifest(tuple(utterances), self.labels, (self.name,) if self.name else (), folder)


def relocated(utterances: Iterable[Utterance], folder: Path) -> tuple[Utterance, ...]:
    """Clips as the manifest in ``folder`` must name them: absolute paths stay, others become relative to ``folder``.

    Purely by name: links are not followed, so that the manifest is the same wherever the data really lie.
    """
    base = os.path.abspath(folder)  # noqa: PTH100  Path.resolve() would follow links
    return tuple(
        u
        if u.clip is None or os.path.isabs(u.clip)  # noqa: PTH117
        else replace(u, clip=Path(os.path.relpath(os.path.abspath(u.clip), base)).as_posix())  # noqa: PTH100
        for u in utterances
    )


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key for names as people number them: clip2 before clip10."""
    parts = re.findall(r"\d+|\D+", name, re.ASCII)
    return tuple((0, int(part), part) if part[0] in "0123456789" else (1, 0, part) for part in parts)


def natural_id(id_: str) -> list[tuple[tuple[int, int, str], ...]]:
    """Sort key for ids: folder by folder, each as people number them."""
    return [natural(part) for part in id_.split("/")]


def by_dialogue(utterances: Iterable[Utterance]) -> dict[str, list[Utterance]]:
    """Utterances grouped by dialogue, each in its order."""
    turns: dict[str, list[Utterance]] = {}
    for utterance in utterances:
        turns.setdefault(utterance.dialogue, []).append(utterance)
    return {key: sorted(group, key=lambda u: u.index) for key, group in turns.items()}


def renumbered(utterances: Iterable[Utterance]) -> tuple[Utterance, ...]:
    """The same turns with indices 0, 1, 2, ... within each dialogue, after some were left out."""
    groups = by_dialogue(utterances)
    return tuple(replace(u, index=i) for group in groups.values() for i, u in enumerate(group))


def stop_at(faults: Sequence[str], advice: str = "", findings: Sequence[Finding] = ()) -> None:
    """Raise FaultyCorpusError with all faults at once, if there are any; ``advice`` closes the message."""
    if faults:
        raise FaultyCorpusError(faults, advice, findings)


def person(written: str) -> str:
    """A speaker's name as it is compared: "Ann" and "Ann " are one person, and so are the two ways to write the ü of Jürg."""
    return " ".join(unicodedata.normalize("NFC", written).split())
