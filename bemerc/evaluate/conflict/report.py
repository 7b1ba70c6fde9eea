"""A judgment as a page (Markdown), as a table for a paper (LaTeX), as JSON, and item by item (CSV)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bemerc.core import atomic, terminal
from bemerc.corpus.conflict import ConflictSet
from bemerc.corpus.manifest import Split
from bemerc.evaluate.conflict import plot
from bemerc.evaluate.conflict.items import SIDES, Items, System, items_of, logs_of, shifts_of
from bemerc.evaluate.conflict.judge import Judgment
from bemerc.evaluate.conflict.summary import JSON_FILE, PAGE
from bemerc.evaluate.conflict.text import markdown

PICTURE, ITEMS_FILE = "strength.png", "items.csv"


def write(
    out: Path,
    judged: Judgment,
    conflicts: ConflictSet,
    systems: Sequence[System],
    before: Mapping[str, int],
    why: str = "",
) -> None:
    """Write conflict.json, conflict.md, strength.png and items.csv to ``out``.

    before  system -> how many of its other predictions were evaluated on test earlier (test_access.py)
    why     where there is nothing to judge: the reason, a sentence
    """
    plot.save(out / PICTURE, judged)
    _write_items(out / ITEMS_FILE, conflicts, judged.split, systems if judged.rows else ())
    document = json.dumps(to_json(judged), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    atomic.write_text(out / JSON_FILE, document, atomic.PUBLIC)
    atomic.write_text(out / PAGE, markdown(judged, before, why), atomic.PUBLIC)


def to_json(judged: Judgment) -> dict[str, Any]:
    """The judgment with its systems by name, as DVC's metrics and other programs read it."""
    plain = judged.to_plain()
    rows = plain.pop("rows")
    return {**plain, "systems": {row.pop("name"): row for row in rows}}


def _write_items(path: Path, conflicts: ConflictSet, split: Split, systems: Sequence[System]) -> None:
    """A row per item, systems side by side; of several training seeds the mean probability."""
    items = items_of(conflicts, split)
    about = ["id", "way", "subset", "dialogue", "voice_of", "face_of", "label", "label_voice", "label_face"]
    head = [*about, "confidence", "strength", "quartile"]
    columns: list[list[str]] = []
    for system in systems if items is not None else ():
        assert items is not None
        for name, values in _columns(system, items).items():
            head.append(f"{system.name}_{name}" if name else system.name)
            columns.append(values)
    with io.StringIO(newline="") as text:
        table = csv.writer(text)
        table.writerow([terminal.cell(name) for name in head])
        for i, item in enumerate(items.items if items is not None else ()):
            names = [terminal.cell(getattr(item, name) or "") for name in about]
            numbers = [f"{item.confidence:.3f}", f"{item.strength:.3f}", str(conflicts.quartile(item) + 1)]
            table.writerow([*names, *numbers, *(column[i] for column in columns)])
        atomic.write_bytes(path, text.getvalue().encode("utf-8-sig"))


def _columns(system: System, items: Items) -> dict[str, list[str]]:
    """Column -> a cell per item: the label, the probability of both sides' emotions, and by how much that of the emotion
    that came in rose when a side was swapped."""
    recombined = items.masks["recombined"]
    asked = np.array([all(item.id in seed for seed in system.seeds) for item in items.items])
    logs = logs_of(system, items.gold.ids, asked, len(items.gold.labels))
    mean, rows = np.exp(logs).mean(0), np.arange(len(asked))
    labels = [items.gold.labels[i] for i in mean.argmax(1)]

    def shown(values: Any, mask: Any) -> list[str]:
        return [f"{v:.3f}" if there else "" for v, there in zip(values, mask, strict=True)]

    columns = {
        "": [terminal.cell(label) if there else "" for label, there in zip(labels, asked, strict=True)],
        "p_voice": shown(mean[rows, items.voice], asked),
        "p_face": shown(mean[rows, items.face], asked),
    }
    for side, new in zip(SIDES, (items.face, items.voice), strict=True):
        mask = recombined & asked
        moved = shifts_of(system, items, side, logs, mask)
        if moved is not None and mask.any():
            columns[f"{side}_swapped"] = shown(moved.mean(0)[rows, new], mask)
    return columns
