"""Write a BIDS dataset: events and continuous signals of each speaker in each recording, as behavioral data.

A speaker is a subject, a recording a task. ``*_events.tsv`` has a row per interval; ``*_physio.tsv.gz`` has the columns
of one cache as a series of even steps from its StartTime, n/a where nothing was measured or somebody else spoke.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bemerc.behavior.signals import events
from bemerc.cache import Features, FrameCache, Kind, same_person
from bemerc.core.atomic import write_bytes, write_text
from bemerc.core.errors import CacheError
from bemerc.core.ownership import all_must_be_ours
from bemerc.core.terminal import cell
from bemerc.corpus.manifest import MODALITIES
from bemerc.corpus.readers.tiers import TURN
from bemerc.interop.annotations.recordings import Annotated, Recording, tiers

VERSION = "1.9.0"
_ABOUT = "dataset_description.json"
_ANOTHER = "Name a folder of its own, such as derivatives/bemerc."
_MOST_ROWS = 20_000_000
_UNITS = {"_deg": "deg", "_hz": "Hz", "_db": "dB", "_s": "s", "_r": "intensity, 0 to 5"}
_EVENT_COLUMNS = {
    "onset": {"Description": "Start of the interval in the recording", "Units": "s"},
    "duration": {"Description": "Length of the interval", "Units": "s"},
    "trial_type": {"Description": "Kind: words, label, predicted, an action unit, blink, nod, speech, ..."},
    "value": {"Description": "Words, the label, or what the interval shows in words"},
}


def write(recordings: Sequence[Recording], caches: Mapping[Kind, FrameCache], out: Path) -> dict[str, str]:
    """Write the dataset below ``out``; returns the utterances whose rows cannot be read, and why.

    Raises WouldReplaceError where another dataset is there, DiskError where the disk refuses.
    """
    others = (out / name for name in ("participants.tsv", "participants.json", "README"))
    all_must_be_ours(out / _ABOUT, lambda head: '"bemerc"' in head, others, _ANOTHER)
    speakers = list(dict.fromkeys(speaker for one in recordings for speaker in one.speakers()))
    subjects, tasks = _names(speakers, "unknown"), _names([one.name for one in recordings], "recording")
    unreadable: dict[str, str] = {}
    for recording in recordings:
        for speaker in recording.speakers():
            subject, task = subjects[speaker], tasks[recording.name]
            stem = f"sub-{subject}_task-{task}"
            _write_events(recording, speaker, out / f"sub-{subject}" / "beh" / f"{stem}_events.tsv")
            spoken = [one for one in recording.utterances if one.utterance.speaker == speaker]
            for kind in (kind for kind in MODALITIES if kind in caches):
                path = out / f"sub-{subject}" / "beh" / f"{stem}_recording-{kind}_physio.tsv.gz"
                _write_physio(caches, kind, spoken, path, unreadable)
    _write_dataset(subjects, out)
    return unreadable


def _names(texts: Iterable[str], empty: str) -> dict[str, str]:
    """Text -> a label of letters and digits that no other has, as BIDS wants them in file names."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for text in texts:
        plain = re.sub("[^A-Za-z0-9]", "", text)[:80] or empty
        label = next(
            name for n in range(1, len(taken) + 2) if (name := plain if n == 1 else f"{plain}x{n}") not in taken
        )
        names[text] = label
        taken.add(label)
    return names


def _write_dataset(subjects: Mapping[str, str], out: Path) -> None:
    about = {
        "Name": "Measurements of conversations",
        "BIDSVersion": VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "bemerc"}],
    }
    write_text(out / _ABOUT, _json(about))
    rows = [["participant_id", "speaker"], *([f"sub-{s}", speaker or "n/a"] for speaker, s in subjects.items())]
    write_text(out / "participants.tsv", _tsv(rows))
    described = {"speaker": {"Description": "Name of the speaker in the corpus; n/a where it is not known"}}
    write_text(out / "participants.json", _json(described))
    write_text(out / "README", "Written by bemerc cache export --to bids: who spoke and what was measured of it.\n")


def _write_events(recording: Recording, speaker: str, path: Path) -> None:
    rows = [
        (interval.onset_ms, interval.offset_ms, role, " ".join(interval.value.split()) or "n/a")
        for tier in tiers(recording, path)
        if tier.speaker == speaker and (role := tier.name.partition("@")[0]) != TURN
        for interval in tier.intervals
    ]
    cells = [[f"{on / 1000:.3f}", f"{(off - on) / 1000:.3f}", role, value] for on, off, role, value in sorted(rows)]
    write_text(path, _tsv([list(_EVENT_COLUMNS), *cells]))
    write_text(path.with_suffix(".json"), _json({"TaskName": recording.name, **_EVENT_COLUMNS}))


def _write_physio(
    caches: Mapping[Kind, FrameCache], kind: Kind, spoken: Sequence[Annotated], path: Path, unreadable: dict[str, str]
) -> None:
    """One cache's rows of one speaker in one recording; no file where there are none."""
    features: list[tuple[float, Features]] = []
    for one in spoken:
        id_ = one.utterance.id
        try:
            if id_ in caches[kind] and caches[kind].frames(id_):
                features.append((one.span.onset_ms / 1000, same_person.read(caches, kind, id_)))
        except CacheError as error:
            unreadable[id_] = str(error)
    steps = [step for _, one in features if (step := events.frame_s(one.timestamps_s))]
    if not steps:
        return
    rate = caches[kind].rate
    frequency_hz = round(1 / float(np.median(steps)), 6) if isinstance(rate, str) else rate
    start_s, values = _series(features, frequency_hz, path)
    columns = caches[kind].columns
    about: dict[str, Any] = {"SamplingFrequency": frequency_hz, "StartTime": start_s, "Columns": list(columns)}
    for column in columns:
        unit = next((unit for suffix, unit in _UNITS.items() if column.endswith(suffix)), None)
        about[column] = {"Description": f"{column} of {kind}"} | ({} if unit is None else {"Units": unit})
    lines = "".join("\t".join("n/a" if v != v else format(v, ".6g") for v in row) + "\n" for row in values.tolist())
    write_bytes(path, gzip.compress(lines.encode(), mtime=0))
    write_text(path.with_suffix("").with_suffix(".json"), _json(about))


def _series(
    features: Sequence[tuple[float, Features]], frequency_hz: float, path: Path
) -> tuple[float, NDArray[np.float32]]:
    """Rows at even steps from the first row on: each is the measured row that is nearest, at most one step away; NaN
    elsewhere."""
    start_s = min(onset + float(one.timestamps_s[0]) for onset, one in features)
    end_s = max(onset + float(one.timestamps_s[-1]) for onset, one in features)
    count = round((end_s - start_s) * frequency_hz) + 1
    if count > _MOST_ROWS:
        raise CacheError(
            f"it would have {count:,} rows, and {_MOST_ROWS:,} are the most. Split the recording.", path=path
        )
    values = np.full((count, len(features[0][1].columns)), np.nan, np.float32)
    for onset, one in features:
        stamps = one.timestamps_s + (onset - start_s)
        first, last = (round(float(stamp) * frequency_hz) for stamp in (stamps[0], stamps[-1]))
        grid = np.arange(first, last + 1) / frequency_hz
        after = np.clip(np.searchsorted(stamps, grid), 0, len(stamps) - 1)
        before = np.clip(after - 1, 0, None)
        nearest = np.where(np.abs(stamps[before] - grid) <= np.abs(stamps[after] - grid), before, after)
        near = np.abs(stamps[nearest] - grid) <= 1 / frequency_hz
        values[first : last + 1][near] = one.values[nearest[near]]
    return round(start_s, 6), values


def _tsv(rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, quotechar=None)
    for row in rows:
        writer.writerow([cell(" ".join(value.split())) for value in row])
    return text.getvalue()


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"
