"""Caches, words and predictions -> annotation files: one per recording for ELAN, Praat and players, one folder for BIDS,
one table in the long form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bemerc.behavior.describe import rules
from bemerc.behavior.describe import run as describer
from bemerc.behavior.describe.marks import marks
from bemerc.behavior.describe.references import References
from bemerc.cache import FrameCache, Kind
from bemerc.cache.same_person import OTHER_PERSON
from bemerc.core.errors import BemercError
from bemerc.core.ownership import WouldReplaceError
from bemerc.corpus.manifest import MODALITIES, Manifest, Modality
from bemerc.interop.annotations import bids, eaf, long_form, textgrid, webvtt
from bemerc.interop.annotations.recordings import Annotated, Recording, recordings
from bemerc.interop.filenames import file_of
from bemerc.language.predict.records import Prediction, read_predictions

Layout = Literal["eaf", "textgrid", "webvtt", "bids", "long"]
_WRITERS = {"eaf": (eaf.write, ".eaf"), "textgrid": (textgrid.write, ".TextGrid"), "webvtt": (webvtt.write, ".vtt")}


@dataclass(frozen=True)
class Exported:
    """What was written: recording -> its file, or the folder or table of all; how many utterances there are, have words,
    have a label or a prediction; and of utterances whose rows could not be read, why."""

    files: Mapping[str, Path]
    utterances: int
    words: int
    emotions: int
    unreadable: Mapping[str, str]


def run(
    caches: Mapping[Kind, FrameCache],
    manifest: Manifest,
    out: Path,
    layout: Layout,
    predictions: Path | None = None,
    *,
    force: bool = False,
) -> Exported:
    """Write the recordings of ``manifest`` with everything that its caches, and a predictions file, tell of them.

    Descriptions and marks are judged by references.json beside the manifest, else by references that are fitted on its
    train split. ``force``: replace files of eaf, textgrid and webvtt that are there, which somebody may have corrected.
    Raises BemercError where one is there and may not be replaced, no utterance of the predictions is in the manifest, or
    no utterance of the caches.
    """
    predicted = {one.id: one for one in read_predictions(predictions)} if predictions is not None else {}
    ids = {u.id for u in manifest.utterances}
    if predicted and not ids & set(predicted):
        raise BemercError(
            f"none of its {len(predicted)} utterances is in the manifest of these caches.", path=predictions
        )
    if not any(id_ in cache for cache in caches.values() for id_ in ids):
        raise BemercError(f"none of its {len(ids)} utterances is in these caches.", path=manifest.folder)
    unreadable: dict[str, str] = {}
    written = recordings(manifest, _annotated(caches, manifest, predicted, unreadable))
    files: dict[str, Path] = {}
    if layout == "bids":
        unreadable |= bids.write(written, caches, out)
        files = {one.name: out for one in written}
    elif layout == "long":
        long_form.write(written, out)
        files = {one.name: out for one in written}
    else:
        files = _files(written, out, layout, force)
        for recording in written:
            _WRITERS[layout][0](recording, files[recording.name])
    every = [one for recording in written for one in recording.utterances]
    words = sum(bool(one.utterance.text.strip()) for one in every)
    emotions = sum(one.utterance.label is not None or one.predicted is not None for one in every)
    return Exported(files, len(ids), words, emotions, unreadable)


def _files(written: list[Recording], out: Path, layout: str, force: bool) -> dict[str, Path]:
    """Recording -> its file. WouldReplaceError where one is there and ``force`` is not given."""
    files = {recording.name: file_of(out, recording.name, _WRITERS[layout][1]) for recording in written}
    there = [path for path in files.values() if path.exists()]
    if there and not force:
        others = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise WouldReplaceError(
            f"this file{others} would be replaced, with whatever was corrected in it. Name another folder, or add --force.",
            path=there[0],
        )
    return files


def _annotated(
    caches: Mapping[Kind, FrameCache],
    manifest: Manifest,
    predictions: Mapping[str, Prediction],
    unreadable: dict[str, str],
) -> Iterator[Annotated]:
    measured: dict[Modality, FrameCache] = {m: caches[m] for m in MODALITIES if m in caches}
    references = _references(manifest, measured)
    choices = measured["face"].choices if "face" in measured else {}
    for turn in describer.turns(manifest, measured):
        u, prediction = turn.utterance, predictions.get(turn.utterance.id)
        has_rows = (m for m, cache in measured.items() if u.id in cache and cache.frames(u.id))
        reasons = (turn.reasons.get(modality, OTHER_PERSON) for modality in has_rows)
        unreadable.update((u.id, reason) for reason in reasons if reason != OTHER_PERSON)
        description = rules.describe(turn.clip, references, turn.earlier, reasons=turn.reasons)
        yield Annotated(
            u,
            _length_s(measured, turn),
            marks(turn.clip, references, turn.earlier, choices.get(u.id)),
            None if prediction is None else prediction.label,
            None if prediction is None else prediction.scores[prediction.label],
            " ".join(description.sentences()),
        )


def _references(manifest: Manifest, caches: Mapping[Modality, FrameCache]) -> References:
    file = manifest.folder / "references.json"
    if file.is_file():
        return References.from_json(file.read_text(encoding="utf-8"))
    return describer.fit(manifest, caches)


def _length_s(caches: Mapping[Modality, FrameCache], turn: describer.Turn) -> float:
    """The utterance's length, as its caches have it; without them to its last row, or a second."""
    id_ = turn.utterance.id
    lengths = [length for cache in caches.values() if id_ in cache and (length := cache.duration_s(id_)) > 0]
    rows = [float(one.timestamps_s[-1]) for one in turn.clip.values() if len(one.timestamps_s)]
    return max(lengths or rows, default=1.0)
