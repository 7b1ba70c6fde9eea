"""A description and its JSON lines: the four sentences about an utterance that align learns to say and people read.

Apart from the describer so that who only reads descriptions (a dataset, a report) needs no rules, no caches, no HDF5.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bemerc.core.atomic import write_text
from bemerc.core.errors import CorpusError
from bemerc.core.jsonfile import JsonError, read_json_lines
from bemerc.corpus import provenance

SLOTS = ("facial_expression", "body_language", "posture", "voice")


@dataclass(frozen=True)
class Description:
    """What one sees and hears of an utterance, one sentence each; empty where it could not be measured, which is not the
    same as a face that was looked for and not seen. ``reasons``: slot -> why it is empty, where that is known."""

    facial_expression: str
    body_language: str
    posture: str
    voice: str
    reasons: Mapping[str, str] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """For people: the sentence of each slot, or that there is none and why."""
        named = {slot: slot.replace("_", " ").capitalize() for slot in SLOTS}
        return [
            getattr(self, slot) or f"{named[slot]}: could not be measured. {self.reasons.get(slot, '')}".rstrip()
            for slot in SLOTS
        ]

    def sentences(self) -> list[str]:
        """The sentences that there are."""
        return [text for slot in SLOTS if (text := getattr(self, slot))]


def write_descriptions(path: Path, descriptions: Mapping[str, Description], fitted: str = "") -> None:
    """One JSON line per utterance, by sorted id: id and the four sentences. DiskError where the disk refuses.

    What could not be measured is null, with its reason under ``reasons``. Without any description it is one blank line, since
    DVC warns of an output without a byte. ``fitted``: a fingerprint of what the describer learned from (corpus.provenance),
    where it learned at all.
    """
    of = {"fitted": fitted} if fitted else {}
    rows = (_row(key, descriptions[key]) | of for key in sorted(descriptions))
    write_lines(path, [json.dumps(row, ensure_ascii=False) for row in rows] or [""])


def _row(key: str, description: Description) -> dict[str, Any]:
    row = {"id": key} | {slot: getattr(description, slot) for slot in SLOTS}
    if not description.reasons:
        return row
    return row | dict.fromkeys(description.reasons) | {"reasons": dict(description.reasons)}


def write_lines(path: Path, lines: Sequence[str]) -> None:
    """The file appears when it is complete, for its owner alone. DiskError where the disk refuses."""
    write_text(path, "".join(f"{line}\n" for line in lines))


def read_descriptions(path: Path, fitted: str | None = None) -> dict[str, Description]:
    """Read what write_descriptions wrote. CorpusError names the line that is not as it must be; StaleError where a describer
    must have learned from what has the fingerprint ``fitted``, and has not."""
    found: dict[str, Description] = {}
    try:
        for number, value in read_json_lines(path):
            of = value.pop("fitted", "") if isinstance(value, dict) else ""
            if fitted is not None:
                provenance.must_match(path, of, fitted, "dvc repro student")
            key, description = _parsed(f"{path}, line {number}", value)
            if key in found:
                raise CorpusError(f"{path}, line {number}: '{key}' was described before. Describe again.")
            found[key] = description
    except JsonError as error:
        if error.missing:
            raise CorpusError(f"{path}: there are no descriptions here. Run 'dvc repro describe' first.") from None
        raise CorpusError(f"{error} Describe again.") from None
    return found


def _parsed(where: str, found: Any) -> tuple[str, Description]:
    reasons = found.pop("reasons", {}) if isinstance(found, dict) else {}
    if not isinstance(found, dict) or set(found) != {"id", *SLOTS} or not isinstance(reasons, dict):
        raise CorpusError(f"{where}: a description is an id and {', '.join(SLOTS)}. Describe again.")
    said = {slot: "" if slot in reasons and found[slot] is None else found[slot] for slot in SLOTS}
    if not all(isinstance(text, str) for text in (found["id"], *said.values(), *reasons.values())):
        raise CorpusError(f"{where}: a description is text, or null with a reason. Describe again.")
    return found["id"], Description(**said, reasons=reasons)
