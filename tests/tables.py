"""Tables of one's own, written as corpus/table.py reads them."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from bemerc.corpus.manifest import Utterance
from bemerc.corpus.readers.table import NEEDED, OPTIONAL


def write(path: Path, utterances: Iterable[Utterance]) -> None:
    """Write utterances as a table with every column; clips as they stand."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerow([*NEEDED, *OPTIONAL])
        for u in utterances:
            crop = "" if u.crop is None else " ".join(map(repr, u.crop))
            cells = [
                u.id,
                u.dialogue,
                u.index,
                u.speaker,
                u.text,
                u.label,
                u.split,
                u.clip,
                u.start_s,
                u.end_s,
                crop,
                u.label_text,
                u.label_voice,
                u.label_face,
            ]
            writer.writerow(["" if cell is None else cell for cell in cells])
