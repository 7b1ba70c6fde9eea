"""The section of the report on conflict, made of conflict.json; its page is conflict.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bemerc.core.jsonfile import JsonError, read_json
from bemerc.core.terminal import printable
from bemerc.evaluate.conflict.items import JUDGED
from bemerc.evaluate.conflict.text import SUBSET_TITLES
from bemerc.evaluate.formatting import cell, ranged, signed, table
from bemerc.evaluate.test_set import EvaluationError

FOLDER, JSON_FILE, PAGE = "conflict", "conflict.json", "conflict.md"


def section(report: Path) -> list[str]:
    """What conflict/conflict.json in the folder of a report says, as Markdown; nothing where it is not there.

    EvaluationError where it is damaged.
    """
    path = report / FOLDER / JSON_FILE
    if not path.is_file():
        return []
    try:
        document = read_json(path)
        rows, counts = _rows(document), document["counts"]
        head = ["accuracy", *(f"{SUBSET_TITLES[kind]} (n = {counts[kind]['items']})" for kind in JUDGED), "signed gap"]
    except (JsonError, KeyError, TypeError, AttributeError) as error:
        raise EvaluationError(
            f"this is no judgment of conflict items ({printable(error)}). Run 'bemerc conflict evaluate' "
            "again, or remove it.",
            path=path,
        ) from None
    link = f"[{FOLDER}/{PAGE}]({FOLDER}/{PAGE})"
    if not rows:
        return ["## When face and voice disagree", f"There was nothing to judge: {link} says why."]
    return [
        "## When face and voice disagree",
        table(head, rows),
        "Signed gap: accuracy where the face is right minus accuracy where the voice is; above 0 the face is followed. What "
        f"belongs to it (reliance, strength, swapped sides) is in {link}.",
    ]


def _rows(document: Any) -> list[list[str]]:
    return [
        [cell(name), *(ranged(row["subsets"][kind]["accuracy"]) for kind in JUDGED), ranged(row["gap"], signed)]
        for name, row in document["systems"].items()
    ]
