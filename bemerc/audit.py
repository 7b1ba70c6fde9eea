"""Is what a cache holds what was measured? Every row against its clock, every column against its range, every clip's hash.

open_cache refuses what contradicts itself in shape, and is asked on every read, so it must be quick. This reads every row,
and with the clips at hand every clip: what a broken disk, an edited file or somebody else's import has done shows with
the utterance's id. *wrong* is what would hand on false numbers; *odd* is what one should know and may be as it should.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bemerc import belonging
from bemerc.cache import Choice, FrameCache, Kind, summary
from bemerc.corpus import Manifest
from bemerc.errors import CacheError
from bemerc.progress import bar

# Name of a column -> the least and the largest value that it can have.
_RANGES: tuple[tuple[str, float, float], ...] = (
    (r"AU\d\d_r", 0, 5),
    (r"AU\d\d_c|quality|confidence|voicing|\w+_visibility|\w+_hand_(open|near_face)", 0, 1),
    (r"(pose|gaze)_\w+_deg|\w+_tilt_deg|(lean|sway)_deg", -180, 180),
    (r"face_size", 0, 10),
)
_SLACK = 1e-3
# Headers round, and a decoder may lack the last frames: an end counts as missing from half a second and a tenth on.
_MISSING_S, _MISSING_SHARE = 0.5, 0.1
_HOLE_S = 1.0
_LISTED = 10
# An encoder's hundreds of columns have no meaning one by one: a few stand for all.
_ENCODED, _ENCODED_LISTED = r"\w+_\d{4}", 4
_APART_SHARE = 0.5


@dataclass(frozen=True)
class Finding:
    """Something about one utterance, or about the whole cache where ``id`` is empty. ``what`` is its kind."""

    id: str
    what: str
    says: str
    wrong: bool


@dataclass(frozen=True)
class Report:
    """What was found in one cache. ``unseen``: utterances with rows of which every one is NaN."""

    path: str
    summary: Mapping[str, Any]
    unseen: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def wrong(self) -> int:
        return sum(finding.wrong for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """For programs: the summary, the ids of which nothing was seen, the findings."""
        found = [asdict(finding) for finding in self.findings]
        return {"path": self.path, "summary": self.summary, "unseen": list(self.unseen), "findings": found}

    def format_text(self) -> str:
        """For people: one line on the cache, a line per finding (of each kind ten at most), a verdict."""
        told = self.summary
        lines = [self.path + (f": {told['rows']} rows of {told['utterances']} utterances" if told else "")]
        if told:
            lines.append(f"  not measured: {told['failed']}; nothing seen in any frame: {len(self.unseen)}")
        for kind in dict.fromkeys((finding.wrong, finding.what) for finding in self.findings):
            mine = [finding for finding in self.findings if (finding.wrong, finding.what) == kind]
            mark = "WRONG" if kind[0] else "odd  "
            lines += [f"  {mark} {f.id + ': ' if f.id else ''}{f.says}" for f in mine[:_LISTED]]
            lines += (
                [f"  {mark} {kind[1]}: {len(mine) - _LISTED} more (--json lists all)"] if len(mine) > _LISTED else []
            )
        return "\n".join([*lines, f"  {self.wrong} wrong, {len(self.findings) - self.wrong} odd"])


def refused(path: Path, error: CacheError) -> Report:
    """The report on a file that cannot be opened as a cache."""
    return Report(str(path), {}, (), (Finding("", "cache", str(error), True),))


def check(cache: FrameCache, also: Sequence[Finding] = ()) -> Report:
    """Read every row of a cache. ``also``: findings made elsewhere, for the same report."""
    findings = list(also) + _provenance(cache)
    unseen = []
    with bar(f"Checking {cache.path.name}", len(cache), "utterances") as advance:
        for id_ in cache:
            try:
                findings += [Finding(id_, *rest) for rest in _utterance(cache, id_)]
                if cache.frames(id_) and np.isnan(cache[id_].values).all():
                    unseen.append(id_)
            except (CacheError, OSError, RuntimeError) as error:  # a chunk whose bytes are damaged
                findings.append(Finding(id_, "unreadable", f"Its rows cannot be read: {error}", True))
            advance(1)
    told: dict[str, Any] = {}
    if not any(finding.what == "unreadable" for finding in findings):
        told = summary(cache)
        findings += _empty_columns(told)
    return Report(str(cache.path), told, tuple(unseen), tuple(sorted(findings, key=lambda f: (not f.wrong, f.what))))


_Told = tuple[str, str, bool]


def _utterance(cache: FrameCache, id_: str) -> Iterator[_Told]:
    features, duration_s = cache[id_], cache.duration_s(id_)
    rows, stamps = features.values, features.timestamps_s
    if id_ in cache.failures:
        if len(rows):
            yield "failure", f"It is listed as not measured ({cache.failures[id_]}) and has {len(rows)} rows.", True
        return
    if not (np.isfinite(duration_s) and duration_s >= 0):
        known = bool(cache.params.get("imported"))
        yield "duration", f"Its duration is {duration_s} s.", not known
    if not len(rows):
        if duration_s >= _MISSING_S:
            yield "no rows", f"It lasts {duration_s:.2f} s and has no rows, and no reason is given.", False
        return
    # A sound track may well end before the picture does.
    yield from _clock(
        stamps, duration_s, cache.rate, id_ in cache.notes, may_end_early=cache.modality in ("audio", "speech")
    )
    yield from _values(rows, features.columns)
    if cache.has_landmarks:
        yield from _landmarks(cache, id_, rows)
    if id_ in cache.choices:
        yield from _choice(cache.choices[id_], len(rows))


def _choice(choice: Choice, rows: int) -> Iterator[_Told]:
    if any(not 0 <= stretch.first < stretch.end <= rows for stretch in choice.stretches):
        yield "choice", f"Its rows are said to be of faces beyond its {rows} rows.", True
    if choice.uncertain:
        says = f"Up to {choice.faces} faces are seen at a time, and by {choice.by} the one chosen scores {choice.score:.2f}."
        yield "whose face", says, False


def _clock(
    stamps: NDArray[np.float64], duration_s: float, rate: str | float, noted: bool, *, may_end_early: bool
) -> Iterator[_Told]:
    """Timestamps against themselves, the duration and the rate."""
    if not np.isfinite(stamps).all() or stamps[0] < -_SLACK:
        yield "timestamps", f"Its timestamps run from {stamps[0]} to {stamps[-1]} s; they start at 0 or later.", True
        return
    steps = np.diff(stamps)
    if (steps <= 0).any():
        at = int(np.argmax(steps <= 0))
        yield (
            "timestamps",
            f"Row {at + 1} is at {stamps[at + 1]:.3f} s, not after row {at} at {stamps[at]:.3f} s.",
            True,
        )
        return
    step_s = float(np.median(steps)) if len(steps) else 0.0
    if not isinstance(rate, str):
        yield from _rate(stamps, rate)
    if len(steps) and steps.max() > max(_HOLE_S, 10 * step_s):
        yield "hole", f"No rows for {steps.max():.2f} s after {stamps[np.argmax(steps)]:.2f} s.", False
    if not np.isfinite(duration_s):
        return
    if stamps[-1] > duration_s + step_s + 0.05:
        yield "duration", f"Its last row is at {stamps[-1]:.2f} s and it lasts {duration_s:.2f} s.", True
    missing_s = duration_s - stamps[-1] - step_s
    if missing_s > max(_MISSING_S, _MISSING_SHARE * duration_s) and not noted:
        yield (
            "duration",
            f"It lasts {duration_s:.2f} s and its rows end at {stamps[-1] + step_s:.2f} s.",
            not may_end_early,
        )


def _rate(stamps: NDArray[np.float64], rate_hz: float) -> Iterator[_Told]:
    """Rows may be fewer than the rate says, where a clip shows fewer frames, but not more."""
    if len(stamps) < 5:
        return
    found_hz = (len(stamps) - 1) / float(stamps[-1] - stamps[0])
    if found_hz > rate_hz * (1 + 1 / len(stamps)) + _SLACK:
        yield "rate", f"It has {found_hz:.2f} rows per second, and the cache's rate is {rate_hz:g}.", True
    elif found_hz < 0.6 * rate_hz:
        yield "rate", f"It has {found_hz:.2f} rows per second, and the cache's rate is {rate_hz:g}.", False


def _values(rows: NDArray[np.float32], columns: Sequence[str]) -> Iterator[_Told]:
    infinite = np.isinf(rows).any(axis=0)
    if infinite.any():
        names = [name for name, bad in zip(columns, infinite, strict=True) if bad]
        yield "infinite", f"Infinite numbers in {', '.join(names[:4])}; what is not known is NaN in a cache.", True
    for at, name in enumerate(columns):
        low, high = _range(name)
        seen = rows[np.isfinite(rows[:, at]), at]
        if len(seen) and (seen.min() < low - _SLACK or seen.max() > high + _SLACK):
            found = f"{seen.min():.3g} to {seen.max():.3g}"
            yield "range", f"{name} runs from {found}; it can only lie between {low:g} and {high:g}.", True


def _range(column: str) -> tuple[float, float]:
    return next(((low, high) for name, low, high in _RANGES if re.fullmatch(name, column)), (-np.inf, np.inf))


def _landmarks(cache: FrameCache, id_: str, rows: NDArray[np.float32]) -> Iterator[_Told]:
    points = cache.landmarks(id_)
    assert points is not None
    there = np.isfinite(points).all(axis=(1, 2))
    without = int((np.isfinite(rows).any(axis=1) & ~there).sum())
    # A cache may keep no points of a few utterances; of one it keeps all or none.
    if without and there.any():
        yield "landmarks", f"{without} of {len(rows)} rows hold measurements and no landmarks.", True


def _empty_columns(told: Mapping[str, Any]) -> Iterator[Finding]:
    for name, numbers in told["columns"].items():
        if told["rows"] and numbers["nan_share"] == 1.0:
            yield Finding("", "empty column", f"The column {name} is NaN in every row.", False)


def _provenance(cache: FrameCache) -> list[Finding]:
    odd = [id_ for id_, content in cache.sources.items() if not re.fullmatch("[0-9a-f]{64}", content)]
    return [Finding(id_, "source", f"Its source '{cache.sources[id_]}' is no SHA-256.", True) for id_ in odd]


# ------------------------------------------------------------------------------------------------------- beside each other


def together(caches: Mapping[Kind, FrameCache]) -> list[Finding]:
    """Caches that lie side by side: the same utterances, and about the same durations."""
    if len(caches) < 2:
        return []
    everyone = set().union(*(cache.ids for cache in caches.values()))
    findings = []
    for id_ in sorted(everyone):
        lacking = [modality for modality, cache in caches.items() if id_ not in cache]
        if lacking:
            says = f"It is not in {' and '.join(lacking)}, and is in the caches beside. Extract all of them again."
            findings.append(Finding(id_, "missing", says, True))
            continue
        durations = {modality: cache.duration_s(id_) for modality, cache in caches.items()}
        known = [duration for duration in durations.values() if np.isfinite(duration)]
        if known and max(known) - min(known) > max(_MISSING_S, _MISSING_SHARE * max(known)):
            told = ", ".join(f"{modality} {duration:.2f} s" for modality, duration in durations.items())
            findings.append(Finding(id_, "durations", f"Its lengths differ: {told}.", False))
    return findings + _two_people(caches)


def _two_people(caches: Mapping[Kind, FrameCache]) -> list[Finding]:
    """The face is chosen among several, the body is whichever the pose model takes: do they belong together?"""
    if not {"face", "pose"} <= set(caches):
        return []
    findings = []
    for id_ in caches["pose"]:
        if not belonging.several(caches, id_) or id_ not in caches["face"]:
            continue
        other = belonging.others(caches["face"][id_], caches["pose"][id_])
        share = float(np.mean(other[np.isfinite(other)])) if np.isfinite(other).any() else 0.0
        if share > _APART_SHARE:
            says = f"In {share:.0%} of its frames the body is not below the face that was chosen; they are left out."
            findings.append(Finding(id_, "body", says, False))
    return findings


# --------------------------------------------------------------------------------------------------------- against the clips


def against_media(cache: FrameCache, manifest: Manifest, store_dir: Path | None) -> list[Finding]:
    """Hash every clip anew and compare with what the cache was measured of, what its fingerprint says, and what the
    store keeps. A store's damaged piece is removed, as it is whenever it is read."""
    if cache.params.get("imported"):
        return [Finding("", "imported", "It was imported: its rows come from files, not from clips.", False)]
    if not cache.sources:
        says = "It does not say of which clips it was measured. Run the extraction again; nothing is measured anew."
        return [Finding("", "source", says, False)]
    from bemerc.extract.jobs import jobs_from_manifest
    from bemerc.extract.store import Contents, Store, hash_files, identity

    jobs = {job.id: job for job in jobs_from_manifest(manifest)}
    paths = sorted({job.path for job in jobs.values() if job.path is not None and job.id in cache})
    with bar("Reading clips", len(paths), "clips") as advance:
        now = hash_files(paths, advance)
    findings = [
        Finding(id_, "missing", "The manifest has it and the cache does not. Extract again.", True)
        for id_ in sorted(set(jobs) - set(cache.ids))
    ]
    for id_ in cache:
        path = jobs[id_].path if id_ in jobs else None
        found = now.get(path) if path is not None else None
        if id_ not in jobs:
            findings.append(Finding(id_, "extra", "The cache has it and the manifest does not.", False))
        elif isinstance(found, str) and id_ in cache.sources:
            findings.append(Finding(id_, "clip", f"{found} It was measured of a clip that could be read.", True))
        elif isinstance(found, tuple) and found[1] != cache.sources.get(id_):
            says = f"Its clip {path} is not the one that was measured. Extract again, which measures it anew."
            findings.append(Finding(id_, "clip", says, True))
    store = Store(store_dir) if store_dir is not None and store_dir.is_dir() else None
    if store is not None:
        known = Contents(store)
        for path in paths:
            found, remembered = now[path], known.known(path, identity(path)) if path.exists() else None
            if isinstance(found, tuple) and remembered is not None and remembered != found[1]:
                says = f"{path} changed without a trace in size, time and inode: the store takes it for what it was. Touch the file."
                findings.append(Finding("", "memory", says, True))
    return findings + _fingerprint(cache, {id_: jobs[id_].part for id_ in cache if id_ in jobs}, store)


def _fingerprint(cache: FrameCache, parts: Mapping[str, Any], store: Any) -> list[Finding]:
    """The cache's fingerprint worked out anew from what it says of itself, and its rows against the store's."""
    from bemerc.extract.loop import digest
    from bemerc.extract.store import fingerprint

    version, params = cache.extractor, cache.params
    if set(cache.sources) - set(parts):
        return []  # utterances that the manifest lost have a finding already; their part of the clip is not known
    names = {
        id_: fingerprint(cache.sources[id_], parts[id_], cache.modality, version, params)
        for id_ in sorted(cache.sources)
        if id_ not in cache.failures
    }
    findings = []
    if digest(version, params, names, cache.failures, cache.sources) != cache.contents:
        says = "Its fingerprint is not what its clips, params and failures give: it was changed after it was sealed, or the manifest was."
        findings.append(Finding("", "fingerprint", says, True))
    return findings + (_against_store(cache, names, store) if store is not None else [])


def _against_store(cache: FrameCache, names: Mapping[str, str], store: Any) -> list[Finding]:
    from bemerc.extract.store import Finished

    findings, gone = [], 0
    for id_, name in names.items():
        if store.state(cache.modality, name) is not Finished:
            gone += 1
            continue
        try:
            kept = store.finished(cache.modality, name, cache.columns).features
        except CacheError as error:
            findings.append(Finding(id_, "store", str(error), True))
            continue
        mine = cache[id_]
        same = np.array_equal(kept.values, mine.values, equal_nan=True)
        if not (same and np.array_equal(kept.timestamps_s, mine.timestamps_s)):
            findings.append(
                Finding(
                    id_,
                    "store",
                    "Its rows are not those that the store keeps of it. Delete the cache and extract again; nothing is measured anew.",
                    True,
                )
            )
    if gone:
        findings.append(
            Finding("", "store", f"{gone} finished clips are not in the store; losing them costs time only.", False)
        )
    return findings


def to_json(reports: Sequence[Report]) -> str:
    """Several reports for programs; NaN is null, since JSON has none."""
    return as_json([report.as_json() for report in reports])


def as_json(value: Any) -> str:
    """Any summary for programs, in the same way."""
    return json.dumps(_plain(value), ensure_ascii=False, indent=1)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def in_words(cache: FrameCache) -> str:
    """What a cache holds, for the terminal."""
    found = summary(cache)
    rate = "every frame" if found["rate"] == "clip" else f"{found['rate']:g} per second"
    landmarks = ", raw landmarks kept" if found["landmarks"] else ""
    width = max([6, *map(len, cache.columns)])
    lines = [
        f"{cache.path}: {cache.modality} of {found['utterances']} utterances, {found['hours']:.2f} hours",
        f"{found['rows']} rows, {rate}, by {cache.extractor}, {found['bytes'] / 1e6:.1f} MB{landmarks}",
        f"made with {json.dumps(cache.params, sort_keys=True, ensure_ascii=False)}",
        "",
        f"{'column':<{width}} {'seen':>6} {'mean':>9} {'std':>9} {'min':>9} {'max':>9}",
    ]
    encoded = [name for name in cache.columns if re.fullmatch(_ENCODED, name)]
    hidden = set(encoded[_ENCODED_LISTED:])
    for name, numbers in found["columns"].items():
        cells = [numbers[key] for key in ("mean", "std", "min", "max")]
        row = f"{name:<{width}} {1 - numbers['nan_share']:>6.0%} " + " ".join(f"{cell:>9.3f}" for cell in cells)
        lines += [] if name in hidden else [row]
    lines += [f"and {len(hidden)} more of an encoder (bemerc cache info --json lists all)"] if hidden else []
    more = f" and {len(cache) - 5} more" if len(cache) > 5 else ""
    if found["several_faces"]:
        doubt = f", and of {found['uncertain_faces']} it is uncertain whose was to be measured"
        lines += ["", f"one of several faces was chosen in {found['several_faces']} utterances{doubt}"]
    lines += ["", "utterances: " + ", ".join(cache.ids[:5]) + more]
    for what, sentences in (("without rows", cache.failures), ("note", cache.notes)):
        lines += [f"{what}: {id_}: {says}" for id_, says in sorted(sentences.items())[:_LISTED]]
        lines += [f"{what}: {len(sentences) - _LISTED} more"] if len(sentences) > _LISTED else []
    return "\n".join(lines)
