"""Sets of labels: CA-MER's public metric, for those whose people or systems name several emotions of a clip.

With P the predicted set, G the gold set and t = |P n G|: accuracy t / |P|, recall t / |G|, and the mean of the two, each
averaged over the items; after arXiv 2609.37324, which used it, since we have not seen CA-MER's own script.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bemerc.core.errors import CorpusError
from bemerc.core.terminal import printable
from bemerc.corpus.delimited import read_table
from bemerc.evaluate.metrics import Floats

MEASURES = ("accuracy", "recall", "mean")
COLUMNS = ("id", "labels")
MARK = ";"
THRESHOLD = 0.25  # of the probability of a label of the predicted set


def predicted(probabilities: Floats, labels: Sequence[str], threshold: float) -> frozenset[str]:
    """The labels whose probability is at least ``threshold``, and the likeliest in any case."""
    likeliest = int(np.argmax(probabilities))
    return frozenset(labels[i] for i, p in enumerate(probabilities) if p >= threshold or i == likeliest)


def measure(answered: frozenset[str], gold: frozenset[str]) -> tuple[float, float, float]:
    """Accuracy, recall and their mean of one item; neither set is empty.

    >>> measure(frozenset({"sad", "angry"}), frozenset({"sad"}))
    (0.5, 1.0, 0.75)
    """
    shared = len(answered & gold)
    accuracy, recall = shared / len(answered), shared / len(gold)
    return accuracy, recall, (accuracy + recall) / 2


def read_gold(path: Path, labels: Sequence[str]) -> dict[str, frozenset[str]]:
    """A table with the columns ``id`` (of an utterance) and ``labels`` (such as "sadness; anger") -> sets by id.

    CorpusError for another column, a label outside ``labels``, an id that stands twice and one without a label.
    """
    table = read_table(path)
    if set(table.columns) != set(COLUMNS):
        raise CorpusError(
            f"a table of gold sets has the columns {' and '.join(COLUMNS)}, not "
            f"{printable(', '.join(table.columns), 200)}.",
            path=path,
        )
    if table.faults:
        raise CorpusError("\n".join(table.faults))
    sets: dict[str, frozenset[str]] = {}
    for row in table.rows:
        id = row.cells["id"].strip()
        names = frozenset(name for cell in row.cells["labels"].split(MARK) if (name := cell.strip()))
        if id in sets or not id or not names:
            what = f"{printable(id) or 'the id'} stands twice, is blank or has no label."
            raise CorpusError(what, path=path, line=row.line)
        if unknown := sorted(names - set(labels)):
            raise CorpusError(
                f"'{printable(unknown[0], 60)}' is not in the label set ({printable(', '.join(labels))}). "
                f"Labels are separated by '{MARK}'.",
                path=path,
                line=row.line,
                name=unknown[0],
            )
        sets[id] = names
    return sets
