"""Every test utterance that some variant got wrong, as a table that a spreadsheet opens: to read, sort and think about.

A plain CSV of model output is a trap in a spreadsheet: accents break without a byte-order mark, and a line that somebody
said and that begins with "=" is run as a formula. Both are seen to here.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bemerc.core import atomic
from bemerc.core.terminal import cell
from bemerc.corpus.manifest import Manifest, Utterance
from bemerc.language.predict.records import Prediction


def write(path: Path, manifest: Manifest, given: Mapping[str, Sequence[Prediction]]) -> int:
    """Write the table for the variants ``given`` (name -> predictions); returns how many utterances are in it.

    The surest mistakes of the last variant stand first: where it is wrong and sure, label or behavior deserve a look.
    """
    rows = sorted(_wrong(manifest, given), key=lambda row: (-row[1], row[0].id))
    with io.StringIO(newline="") as text:
        table = csv.writer(text)
        table.writerow([cell(name) for name in _head(given)])
        for utterance, _, said in rows:
            table.writerow([cell(name) for name in (*_about(utterance), *said)])
        atomic.write_bytes(path, text.getvalue().encode("utf-8-sig"))
    return len(rows)


def _head(given: Mapping[str, Sequence[Prediction]]) -> list[str]:
    told = [f"{name}{what}" for name in given for what in ("", ": sure of it", ": of the right one")]
    return ["id", "dialogue", "turn", "speaker", "said", "gold", *told]


def _wrong(
    manifest: Manifest, given: Mapping[str, Sequence[Prediction]]
) -> Iterator[tuple[Utterance, float, list[str]]]:
    """(utterance, how sure the last variant is of a wrong answer or 0, cells of every variant)."""
    answers = [{p.id: p for p in found} for found in given.values()]
    for utterance in manifest.by_split("test"):
        mine = [found.get(utterance.id) for found in answers]
        if utterance.label is None or all(p is None or p.label == utterance.label for p in mine):
            continue
        last = mine[-1]
        surety = last.scores[last.label] if last is not None and last.label != utterance.label else 0.0
        yield utterance, surety, [cell for p in mine for cell in _told(p, utterance.label)]


def _told(prediction: Prediction | None, gold: str) -> tuple[str, str, str]:
    if prediction is None:
        return "", "", ""
    scores = prediction.scores
    return prediction.label, f"{scores[prediction.label]:.3f}", f"{scores.get(gold, 0.0):.3f}"


def _about(utterance: Utterance) -> tuple[str, ...]:
    u = utterance
    return u.id, u.dialogue, str(u.index), u.speaker, u.text, u.label or ""
