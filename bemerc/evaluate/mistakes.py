"""mistakes.csv: every test utterance that some variant labelled wrongly, as a table for a spreadsheet.

Columns: id, dialogue, turn, speaker, text, gold, and for each variant its label, the label's probability
(NAME_confidence) and the gold label's (NAME_p_gold). The file has a byte-order mark, without which spreadsheets break
accents, and no cell begins like a formula.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bemerc.core import atomic
from bemerc.core.terminal import cell
from bemerc.corpus.manifest import Manifest, Utterance
from bemerc.language.predict.records import Prediction


@dataclass(frozen=True)
class Mistake:
    """An utterance that some variant labelled wrongly; ``answers``: variant -> its prediction, where it has one."""

    utterance: Utterance
    answers: Mapping[str, Prediction]
    confidence: float


def wrong(manifest: Manifest, predictions_of: Mapping[str, Sequence[Prediction]]) -> list[Mistake]:
    """The mistakes on test, sorted by the last variant's confidence in its own: where it is wrong and sure, look at
    label and behavior. 0 where that variant is right."""
    by_id = {name: {p.id: p for p in predictions} for name, predictions in predictions_of.items()}
    return sorted(_wrong(manifest, by_id), key=lambda one: (-one.confidence, one.utterance.id))


def _wrong(manifest: Manifest, by_id: Mapping[str, Mapping[str, Prediction]]) -> Iterator[Mistake]:
    for utterance in manifest.by_split("test"):
        answers = {name: of[utterance.id] for name, of in by_id.items() if utterance.id in of}
        if utterance.label is None or all(p.label == utterance.label for p in answers.values()):
            continue
        last = answers.get(list(by_id)[-1])
        confidence = last.scores[last.label] if last is not None and last.label != utterance.label else 0.0
        yield Mistake(utterance, answers, confidence)


def write(path: Path, manifest: Manifest, predictions: Mapping[str, Sequence[Prediction]]) -> int:
    """Write the table for the variants ``predictions`` (name -> predictions); returns how many utterances are in it."""
    mistakes = wrong(manifest, predictions)
    with io.StringIO(newline="") as text:
        table = csv.writer(text)
        table.writerow([cell(name) for name in _head(predictions)])
        for one in mistakes:
            gold = one.utterance.label or ""
            cells = [value for name in predictions for value in _cells_of(one.answers.get(name), gold)]
            table.writerow([cell(name) for name in (*_about(one.utterance), *cells)])
        atomic.write_bytes(path, text.getvalue().encode("utf-8-sig"))
    return len(mistakes)


def _head(variants: Iterable[str]) -> list[str]:
    columns = [f"{name}{suffix}" for name in variants for suffix in ("", "_confidence", "_p_gold")]
    return ["id", "dialogue", "turn", "speaker", "text", "gold", *columns]


def _cells_of(prediction: Prediction | None, gold: str) -> tuple[str, str, str]:
    if prediction is None:
        return "", "", ""
    scores = prediction.scores
    return prediction.label, f"{scores[prediction.label]:.3f}", f"{scores.get(gold, 0.0):.3f}"


def _about(utterance: Utterance) -> tuple[str, ...]:
    u = utterance
    return u.id, u.dialogue, str(u.index), u.speaker, u.text, u.label or ""
