"""mistakes.csv: every test utterance that some variant labelled wrongly, as a table for a spreadsheet.

Columns: id, dialogue, turn, speaker, text, gold, and for each variant its label, the label's probability
(NAME_confidence) and the gold label's (NAME_p_gold). The file has a byte-order mark, without which spreadsheets break
accents, and no cell begins like a formula.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from bemerc.core import atomic
from bemerc.core.terminal import cell
from bemerc.corpus.manifest import Manifest, Utterance
from bemerc.language.predict.records import Prediction


def write(path: Path, manifest: Manifest, predictions: Mapping[str, Sequence[Prediction]]) -> int:
    """Write the table for the variants ``predictions`` (name -> predictions); returns how many utterances are in it.

    Rows are sorted by the confidence of the last variant's mistake: where it is wrong and sure, look at label and
    behavior.
    """
    rows = sorted(_wrong(manifest, predictions), key=lambda row: (-row[1], row[0].id))
    with io.StringIO(newline="") as text:
        table = csv.writer(text)
        table.writerow([cell(name) for name in _head(predictions)])
        for utterance, _, cells in rows:
            table.writerow([cell(name) for name in (*_about(utterance), *cells)])
        atomic.write_bytes(path, text.getvalue().encode("utf-8-sig"))
    return len(rows)


def _head(variants: Iterable[str]) -> list[str]:
    columns = [f"{name}{suffix}" for name in variants for suffix in ("", "_confidence", "_p_gold")]
    return ["id", "dialogue", "turn", "speaker", "text", "gold", *columns]


def _wrong(
    manifest: Manifest, predictions_of: Mapping[str, Sequence[Prediction]]
) -> Iterator[tuple[Utterance, float, list[str]]]:
    """(utterance, the last variant's confidence in a wrong label or 0, cells of every variant)."""
    answers = [{p.id: p for p in predictions} for predictions in predictions_of.values()]
    for utterance in manifest.by_split("test"):
        row = [predictions.get(utterance.id) for predictions in answers]
        if utterance.label is None or all(p is None or p.label == utterance.label for p in row):
            continue
        last = row[-1]
        confidence = last.scores[last.label] if last is not None and last.label != utterance.label else 0.0
        yield utterance, confidence, [cell for p in row for cell in _cells_of(p, utterance.label)]


def _cells_of(prediction: Prediction | None, gold: str) -> tuple[str, str, str]:
    if prediction is None:
        return "", "", ""
    scores = prediction.scores
    return prediction.label, f"{scores[prediction.label]:.3f}", f"{scores.get(gold, 0.0):.3f}"


def _about(utterance: Utterance) -> tuple[str, ...]:
    u = utterance
    return u.id, u.dialogue, str(u.index), u.speaker, u.text, u.label or ""
