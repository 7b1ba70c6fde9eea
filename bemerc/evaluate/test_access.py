"""Test-set access: a file beside the report with a line for every set of predictions that was evaluated on test.

Predictions that differ from all earlier ones of the same variant, on the same test split, count as a further access;
the same ones evaluated again do not. Where the best of several models is kept, the count says how optimistic its
numbers are. The file is no output of DVC, which would remove it before every run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from bemerc.core import atomic
from bemerc.core.config import from_mapping
from bemerc.core.errors import ConfigError
from bemerc.core.hashing import sha256
from bemerc.core.jsonfile import JsonError, read_json_lines
from bemerc.core.terminal import printable
from bemerc.corpus.manifest import Manifest
from bemerc.evaluate.test_set import EvaluationError

ACCESS_FILE = "test_access.jsonl"
OLD_FILE = "test_looks.jsonl"  # its name before 0.2, read where there is no new one


@dataclass(frozen=True)
class _Access:
    """A line: a variant, and hashes of the test split (ids and labels) and of the predictions file."""

    variant: str
    test: str
    predictions: str


def note(folder: Path, manifest: Manifest, predictions: Mapping[str, Path | str]) -> dict[str, int]:
    """Record in ``folder`` that these predictions are evaluated; variant -> how many others of it were before.

    predictions  variant -> its file, or the hash of what is in no file

    Raises EvaluationError where the file of earlier accesses cannot be read.
    """
    file, test = folder / ACCESS_FILE, _test(manifest)
    noted = _read(file if file.is_file() else folder / OLD_FILE)
    before: dict[str, int] = {}
    for variant, given in predictions.items():
        hashed = given if isinstance(given, str) else sha256(given)
        access = {"variant": variant, "test": test, "predictions": hashed[:32]}
        if access not in noted:
            noted.append(access)
        before[variant] = sum((o["variant"], o["test"]) == (variant, test) for o in noted[: noted.index(access)])
    atomic.write_text(file, "".join(json.dumps(access) + "\n" for access in noted), atomic.PUBLIC)
    return before


def _test(manifest: Manifest) -> str:
    """A hash of the ids and labels of test."""
    rows = [[u.id, u.label] for u in manifest.by_split("test")]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:32]


def _read(file: Path) -> list[dict[str, str]]:
    if not file.is_file():
        return []
    try:
        return [asdict(from_mapping(one, _Access, f"line {number}")) for number, one in read_json_lines(file)]
    except (JsonError, ConfigError, TypeError) as error:
        raise EvaluationError(
            f"this is no record of test-set access ({printable(error)}). Correct or remove it.", path=file
        ) from None
