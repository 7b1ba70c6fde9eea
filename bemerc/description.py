"""A description and its JSON lines: the four sentences about an utterance that align learns to say and people read.

Apart from the describer so that who only reads descriptions (a dataset, a report) needs no rules, no caches, no HDF5.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from bemerc.errors import CorpusError


@dataclass(frozen=True)
class Description:
    """What one sees and hears of an utterance, one sentence each."""

    facial_expression: str
    body_language: str
    posture: str
    voice: str


def write_descriptions(path: Path, descriptions: Mapping[str, Description]) -> None:
    """One JSON line per utterance, by sorted id: id and the four sentences. CorpusError where the disk refuses.

    Without any it is one blank line, since DVC warns of an output without a byte.
    """
    rows = ({"id": key} | asdict(descriptions[key]) for key in sorted(descriptions))
    write_lines(path, [json.dumps(row, ensure_ascii=False) for row in rows] or [""])


def write_lines(path: Path, lines: Sequence[str]) -> None:
    """The file appears when it is complete. CorpusError where the disk refuses."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise CorpusError(f"{path}: it could not be written ({error.strerror}). Make room and run again.") from error


def read_descriptions(path: Path) -> dict[str, Description]:
    """Read what write_descriptions wrote. CorpusError names the line that is not as it must be."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        raise CorpusError(f"{path}: there are no descriptions here. Run 'dvc repro describe' first.") from None
    return dict(_parsed(path, number, line) for number, line in enumerate(lines, 1) if line)


def _parsed(path: Path, number: int, line: str) -> tuple[str, Description]:
    names = [f.name for f in fields(Description)]
    try:
        found = json.loads(line)
        key, sentences = found["id"], [found[name] for name in names]
    except (ValueError, TypeError, KeyError) as error:
        raise CorpusError(f"{path}, line {number}: this is not a description ({error}). Describe again.") from None
    if len(found) != 1 + len(names) or not all(isinstance(text, str) for text in (key, *sentences)):
        raise CorpusError(f"{path}, line {number}: a description is an id and {', '.join(names)}, all text.")
    return key, Description(*sentences)
