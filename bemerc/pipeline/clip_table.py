"""utterances.csv beside what was made of clips: words, labels, sentences, and how sure the measurement is."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Set
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from bemerc.behavior.describe import description
from bemerc.behavior.describe import run as describer
from bemerc.behavior.describe.description import Description, read_descriptions
from bemerc.cache import KINDS, Kind, open_cache
from bemerc.core.errors import BemercError, CacheError
from bemerc.core.ownership import must_be_ours
from bemerc.corpus import utterance_table
from bemerc.corpus.manifest import MODALITIES, read_manifest
from bemerc.language.inputs import variants
from bemerc.language.predict import evidence, records
from bemerc.language.predict.records import Prediction, Unlabelled, read_predictions
from bemerc.pipeline.clips import Measured
from bemerc.pipeline.project import Project

log = logging.getLogger(__name__)
T = TypeVar("T")
NAME = "utterances.csv"
Columns = dict[str, dict[str, Any]]
_BESIDE = {
    "predictions.jsonl": records.OURS,
    "evidence.jsonl": evidence.OURS,
    describer.EVENTS: describer.OUR_EVENTS,
} | {name: description.OURS for name in variants.FILES.values()}


def write(
    folder: Path,
    measured: Measured,
    descriptions: Mapping[str, Description] | None = None,
    predictions: tuple[Prediction, ...] = (),
    without: tuple[Unlabelled, ...] = (),
    name: str = NAME,
) -> Path:
    """Write utterances.csv, or a table of another ``name``, into ``folder`` and return its path.

    Columns: id, dialogue, turn, start_s, end_s, speaker, text; label and one p_LABEL per label where there are
    predictions; sentences where there are descriptions; quality and uncertain of the face; what listeners did, where
    everybody's faces are kept; unmeasured and note of predictions. Descriptions and predictions that are not given are
    taken from where an earlier command left them in ``folder``.
    """
    if descriptions is None and (beside := folder / "descriptions.jsonl").is_file():
        descriptions = _left(read_descriptions, beside, measured, "bemerc describe")
    if not predictions and not without and (beside := folder / "predictions.jsonl").is_file():
        predictions = _left(read_predictions, beside, measured, "bemerc predict") or ()
    columns: Columns = {}
    if predictions or without:
        columns |= _labels(predictions)
    if descriptions is not None:
        columns["sentences"] = {id_: " ".join(one.sentences()) for id_, one in descriptions.items()}
    columns |= _face(measured) | _listeners(measured)
    if predictions or without:
        columns |= _notes(predictions, without)
    path = folder / name
    utterance_table.write(path, measured.manifest.utterances, columns)
    return path


def check_replaceable(folder: Path) -> None:
    """WouldReplaceError where the table, or what is written beside it, would replace somebody's own: before the work is
    done, and not after it."""
    utterance_table.check_replaceable(folder / NAME)
    for name, ours in _BESIDE.items():
        must_be_ours(folder / name, ours)


def _left(read: Callable[[Path], T], path: Path, measured: Measured, command: str) -> T | None:
    """What an earlier command left in a file; None where it is damaged, which whoever needs it says. Warns where a cache
    is newer: it may have been measured in another way since."""
    try:
        left = read(path)
    except BemercError:
        return None
    caches = [cache for kind in MODALITIES if (cache := measured.caches.get(kind)) is not None]
    newer = [cache for cache in caches if cache.stat().st_mtime > path.stat().st_mtime]
    if newer:
        log.warning("%s is newer than %s, which is repeated in the table: run %s again.", newer[0].name, path, command)
    return left


def of_project(project: Project, ids: Set[str] | None = None) -> Measured:
    """What there is of a prepared corpus; ``ids``: of these utterances alone."""
    manifest = read_manifest(project.manifest_file)
    if ids is not None:
        manifest = replace(manifest, utterances=tuple(u for u in manifest.utterances if u.id in ids))
    return Measured(manifest, caches_in(project.cache_dir))


def caches_in(folder: Path) -> dict[Kind, Path | None]:
    """The caches that lie in a folder, of this run or another one."""
    files = {kind: folder / f"{kind}.h5" for kind in KINDS}
    return {kind: file if file.is_file() else None for kind, file in files.items()}


def of_extracted(folder: Path, measured: Measured, manifest: Path | None = None) -> Path:
    """utterances.csv of all caches in ``folder``, whichever of them were measured now. Of a prepared corpus, whose words
    stand in ``manifest``, one that is newer than all of these stays: reading every row of a large one takes minutes."""
    caches, path = caches_in(folder), folder / NAME
    sources = [*filter(None, caches.values()), *filter(None, [manifest])]
    if manifest is not None and path.is_file():
        written = path.stat().st_mtime_ns
        if all(source.stat().st_mtime_ns < written for source in sources):
            return path
    return write(folder, replace(measured, caches=caches))


def _labels(predictions: tuple[Prediction, ...]) -> Columns:
    names = list(predictions[0].scores) if predictions else []
    scores = {f"p_{name}": {one.id: f"{one.scores[name]:.4f}" for one in predictions} for name in names}
    return {"label": {one.id: one.label for one in predictions}} | scores


def _notes(predictions: tuple[Prediction, ...], without: tuple[Unlabelled, ...]) -> Columns:
    notes: dict[str, Any] = {one.id: one.note for one in predictions} | {one.id: one.reason for one in without}
    return {"unmeasured": {one.id: " ".join(one.unmeasured or ()) for one in predictions}, "note": notes}


def _face(measured: Measured) -> Columns:
    """quality: mean of the frames' quality, 0 to 1, a frame without a face counting 0. uncertain: yes where it is
    doubtful which of several faces is the speaker's, no where it is not."""
    quality, uncertain = dict[str, str](), dict[str, str]()
    path = measured.caches.get("face")
    if path is not None:
        with open_cache(path, "face") as cache:
            for id_ in (u.id for u in measured.manifest.utterances if u.id in cache):
                if id_ in cache.choices:
                    uncertain[id_] = "yes" if cache.choices[id_].uncertain else "no"
                try:
                    frames = cache[id_]
                except CacheError:  # damaged rows: the cache's own check says so
                    continue
                if "quality" in frames.columns and len(frames.values):
                    quality[id_] = f"{np.nan_to_num(frames.column('quality')).mean():.3f}"
    return {"quality": quality, "uncertain": uncertain}


def _listeners(measured: Measured) -> Columns:
    """What the listeners did, where caches keep everybody in sight: a column per field of ``Listening``; no columns
    elsewhere."""
    from bemerc.behavior.describe.listening import Listening, listening

    path = measured.caches.get("face")
    if path is None:
        return {}
    names = {field.name: "listener" if field.name == "name" else _column(field.name) for field in fields(Listening)}
    columns: Columns = {name: {} for name in names.values()}
    with open_cache(path, "face") as cache:
        if cache.others is None:
            return {}
        for id_ in (u.id for u in measured.manifest.utterances if u.id in cache):
            try:
                did = listening(cache, id_)
            except CacheError:
                continue
            for field, name in names.items() if did is not None else ():
                value = getattr(did, field)
                columns[name][id_] = f"{value:.3f}" if isinstance(value, float) else value
    return columns


def _column(field: str) -> str:
    return field if field.endswith("synchrony") else f"listener_{field}"
