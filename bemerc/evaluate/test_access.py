"""How often test was looked at: a line for every set of predictions that was judged, kept beside the report.

A report that says "test was looked at once" says so the tenth time too, when nine models were trained in between and the
best was kept. So it is counted: predictions that differ from all before of the same variant, on the same test split, are
a further look. The same ones judged again are not, since they say the same. The file is no output of DVC's, which would
remove it before every run.
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
from bemerc.evaluate.metrics import EvaluationError

LOOKS = "test_looks.jsonl"


@dataclass(frozen=True)
class _Look:
    """A line: a variant, and hashes of what test asked and of the predictions file."""

    variant: str
    test: str
    predictions: str


def note(folder: Path, manifest: Manifest, predictions: Mapping[str, Path]) -> dict[str, int]:
    """Note in ``folder`` that these predictions files are judged; variant -> how many other ones of it were judged before.

    Raises EvaluationError where the file of former looks cannot be read.
    """
    file, test = folder / LOOKS, _test(manifest)
    known = _read(file)
    before: dict[str, int] = {}
    for variant, path in predictions.items():
        look = {"variant": variant, "test": test, "predictions": sha256(path)[:32]}
        if look not in known:
            known.append(look)
        before[variant] = sum((o["variant"], o["test"]) == (variant, test) for o in known[: known.index(look)])
    atomic.write_text(file, "".join(json.dumps(look) + "\n" for look in known), atomic.PUBLIC)
    return before


def _test(manifest: Manifest) -> str:
    """A hash of what test asks: ids and labels."""
    asked = [[u.id, u.label] for u in manifest.by_split("test")]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:32]


def _read(file: Path) -> list[dict[str, str]]:
    if not file.is_file():
        return []
    try:
        return [asdict(from_mapping(one, _Look, f"line {number}")) for number, one in read_json_lines(file)]
    except (JsonError, ConfigError, TypeError) as error:
        raise EvaluationError(
            f"{printable(file)}: this is not what bemerc noted of its looks at test ({printable(error)}). Correct or remove it."
        ) from None
