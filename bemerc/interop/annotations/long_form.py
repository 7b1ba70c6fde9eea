"""Write every interval of every recording as one table in the long form: a row each, for R and pandas."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from bemerc.core.atomic import write_text
from bemerc.core.terminal import cell
from bemerc.corpus.readers.tiers import TURN
from bemerc.interop.annotations.recordings import Recording, tiers

COLUMNS = ("recording", "speaker", "tier", "onset", "offset", "value")


def write(recordings: Iterable[Recording], path: Path) -> None:
    """Write a tab-separated table; onset and offset are seconds of the recording. DiskError where the disk refuses."""
    text = io.StringIO(newline="")
    rows = csv.writer(text, delimiter="\t", lineterminator="\n")
    rows.writerow(COLUMNS)
    for recording in recordings:
        for tier in tiers(recording, path):
            role = tier.name.partition("@")[0]
            for interval in tier.intervals if role != TURN else ():
                times = (f"{time / 1000:.3f}" for time in (interval.onset_ms, interval.offset_ms))
                texts = (
                    " ".join(value.split()) for value in (recording.name, tier.speaker or "", role, interval.value)
                )
                name, speaker, kind, value = map(cell, texts)
                rows.writerow([name, speaker, kind, *times, value])
    write_text(path, text.getvalue())
