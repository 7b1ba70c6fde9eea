"""The data of one dialogue for the page: its turns, its time axis, and the rows of its caches as arrays."""

from __future__ import annotations

import contextlib
import gzip
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bemerc.behavior.describe.description import SLOTS, Description
from bemerc.behavior.describe.rules import NOT_LOOKED_FOR
from bemerc.behavior.describe.run import read_clip
from bemerc.cache import Choice, Features, FrameCache
from bemerc.core.errors import MachineError, MediaError
from bemerc.corpus.corpora import caveat
from bemerc.corpus.manifest import MODALITIES, Dialogue, Modality, Utterance, listener_id
from bemerc.language.inputs.left_out import whole_of
from bemerc.language.predict.evidence import Evidence
from bemerc.view import marks, others_data, page_file
from bemerc.view.arrays import Arrays
from bemerc.view.media_files import ClipHeader
from bemerc.view.positions import JOINTS, MESH, frame_size, hands_of, joints_of, mesh_of
from bemerc.view.sources import Sources
from bemerc.view.time_axis import AxisSpan, Segment, lay_out

# The columns that are drawn as curves, or say where the face is; action units besides.
CURVES: Mapping[Modality, tuple[str, ...]] = {
    "face": (
        "pose_pitch_deg", "pose_yaw_deg", "pose_roll_deg", "gaze_x_deg", "gaze_y_deg", "quality",
        "face_x", "face_y", "face_size",
    ),
    "pose": ("lean_deg", "sway_deg", "shoulder_tilt_deg", "movement", "hands_movement"),
    "audio": ("pitch_hz", "energy_db"),
}  # fmt: skip


@dataclass(frozen=True)
class Turn:
    """An utterance, where it lies, and what was measured of it; ``reasons``: modality -> why nothing was."""

    utterance: Utterance
    span: AxisSpan
    clip: Mapping[Modality, Features]
    reasons: Mapping[Modality, str]


@dataclass(frozen=True)
class DialogueData:
    """A dialogue as the page holds it: ``header`` (JSON) and the arrays' bytes. ``segments``: its parts of clips."""

    id: str
    header: dict[str, Any]
    block: bytes
    segments: tuple[Segment, ...]
    turns: tuple[Turn, ...]

    def packed(self) -> bytes:
        """Length of the header (4 bytes, little-endian), header, padding to eight bytes, arrays; compressed."""
        head = json.dumps(page_file.settled_words(self.header), ensure_ascii=False, allow_nan=False).encode()
        head += b" " * (-(len(head) + 4) % 8)
        return gzip.compress(len(head).to_bytes(4, "little") + head + self.block, 9, mtime=0)


def collect(
    dialogue: Dialogue, sources: Sources, headers: Mapping[Path, ClipHeader | None], cuts: bool
) -> DialogueData:
    """Everything of one dialogue. ``headers``: of the clips that are there; ``cuts``: look for them in the clips."""
    clips = {u.id: sources.manifest.local_clip(u) for u in dialogue.utterances}
    there = {id_: clip if clip in headers else None for id_, clip in clips.items()}
    measured = {u.id: read_clip(sources.caches, u.id) for u in dialogue.utterances}
    durations = {u.id: _duration_s(u, sources.caches, measured[u.id][0]) for u in dialogue.utterances}
    segments, on_axis = lay_out(dialogue.utterances, durations, there)
    turns = [Turn(u, span, *measured[u.id]) for u, span in zip(dialogue.utterances, on_axis, strict=True)]
    arrays, rows = Arrays(), [dict[str, tuple[int, int]]() for _ in turns]
    for modality in MODALITIES:
        _add_rows(arrays, modality, turns, rows, sources.caches)
    others = others_data.add(arrays, [(t.utterance, t.span.start_s) for t in turns], sources.caches.get("face"))
    cut_marks = list(_cuts(segments)) if cuts else []
    header = {
        "id": dialogue.id,
        "modalities": list(sources.caches),
        "duration_s": max((span.end_s for span in on_axis), default=0.0),
        "segments": [_segment(s, turns, number, headers, sources.caches) for number, s in enumerate(segments)],
        "utterances": [_turn(t, sources, r) | {"others": o} for t, r, o in zip(turns, rows, others, strict=True)],
        "cuts": cut_marks,
        "arrays": arrays.table,
        "joints": list(JOINTS),
    }
    return DialogueData(dialogue.id, header, arrays.block(), tuple(segments), tuple(turns))


def _duration_s(u: Utterance, caches: Mapping[Modality, FrameCache], clip: Mapping[Modality, Features]) -> float:
    stated = [cache.duration_s(u.id) for cache in caches.values() if u.id in cache]
    stated += [(u.end_s or math.nan) - (u.start_s or 0.0)]
    stated += [float(f.timestamps_s[-1]) for f in clip.values() if len(f.timestamps_s)]
    return max(0.04, next((value for value in stated if math.isfinite(value)), 1.0))


def _cuts(segments: Sequence[Segment]) -> Iterator[dict[str, Any]]:
    for segment in segments:
        if segment.clip is not None:
            end_s = segment.clip_start_s + segment.duration_s
            with contextlib.suppress(MediaError, MachineError):  # the caches say what is wrong with the clip
                for time_s in marks.cuts(segment.clip, segment.clip_start_s, end_s):
                    yield marks.cut_mark(time_s - segment.clip_start_s + segment.start_s)


# ------------------------------------------------------------------------------------------------------------------ rows


def _add_rows(
    arrays: Arrays,
    modality: Modality,
    turns: Sequence[Turn],
    rows: Sequence[dict[str, tuple[int, int]]],
    caches: Mapping[Modality, FrameCache],
) -> None:
    """The rows of all turns, end to end; ``rows`` gets which of them are a turn's (first, count)."""
    parts = [
        (n, t, t.clip[modality]) for n, t in enumerate(turns) if modality in t.clip and len(t.clip[modality].values)
    ]
    if not parts:
        return
    at = 0
    for number, _, features in parts:
        rows[number][modality] = (at, len(features.values))
        at += len(features.values)
    arrays.add_times(f"{modality}.time", np.concatenate([f.timestamps_s + t.span.start_s for _, t, f in parts]))
    columns = parts[0][2].columns
    for name in columns:
        if name in CURVES[modality] or (modality == "face" and name.startswith("AU")):
            arrays.add_series(f"{modality}.{name}", np.concatenate([f.column(name) for _, _, f in parts]))
    if modality == "face" and caches["face"].has_landmarks and caches["face"].landmark_points > max(MESH):
        meshes = [mesh_of(caches["face"], t.utterance, f) for _, t, f in parts]
        arrays.add_positions("face.mesh", np.concatenate(meshes))
    if modality == "pose":
        for name, points in (("joints", joints_of), ("hands", hands_of)):
            positions = [points(f, t.utterance) for _, t, f in parts]
            if all(one is not None for one in positions):
                arrays.add_positions(f"pose.{name}", np.concatenate([one for one in positions if one is not None]))


# ------------------------------------------------------------------------------------------------------------------ JSON


def _segment(
    segment: Segment,
    turns: Sequence[Turn],
    number: int,
    headers: Mapping[Path, ClipHeader | None],
    caches: Mapping[Modality, FrameCache],
) -> dict[str, Any]:
    about = headers.get(segment.clip) if segment.clip is not None else None
    aspect = None if about is None else about.aspect
    if aspect is None:
        aspect = next((a for t in turns if t.span.segment == number and (a := _aspect(t, caches)) is not None), 16 / 9)
    times = {key: round(value, 6) for key, value in asdict(segment).items() if key != "clip"}
    return {**times, "aspect": round(aspect, 4), "video": None}


def _aspect(turn: Turn, caches: Mapping[Modality, FrameCache]) -> float | None:
    """Width over height of the whole frame, by the landmarks."""
    if "face" not in turn.clip or not caches["face"].has_landmarks:
        return None
    landmarks = caches["face"].landmarks(turn.utterance.id)
    size = None if landmarks is None else frame_size(landmarks, turn.clip["face"])
    left, top, right, bottom = turn.utterance.crop or (0.0, 0.0, 1.0, 1.0)
    return None if size is None else size[0] / (right - left) / (size[1] / (bottom - top))


def _turn(turn: Turn, sources: Sources, rows: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
    u, span = turn.utterance, turn.span
    prediction = sources.predictions.get(u.id)
    conflict = sources.conflicts.get(u.id)
    choice = sources.caches["face"].choices.get(u.id) if "face" in sources.caches else None
    return {
        "id": u.id,
        "speaker": u.speaker or (prediction.speaker if prediction else "") or "",
        "text": u.text or (prediction.text if prediction else "") or "",
        "label": u.label,
        "segment": span.segment,
        "start_s": round(span.start_s, 6),
        "end_s": round(span.end_s, 6),
        "rows": rows,
        "crop": u.crop,
        "reasons": {m: reason for m, reason in turn.reasons.items() if m in sources.caches},
        "notes": _notes(u.id, sources.caches),
        "covered": {m: _share(turn.clip[m]) for m in MODALITIES if m in turn.clip},
        "choice": None if choice is None else _choice(choice),
        "marks": marks.of_clip(turn.clip, span.start_s),
        "sentences": _sentences(sources, u.id),
        "scores": None if prediction is None else prediction.scores,
        "predicted": None if prediction is None else prediction.label,
        "caveat": "" if prediction is None else caveat(prediction.corpora or ()),
        "evidence": _evidence(sources.evidence.get(u.id)),
        "conflict": None if conflict is None else {"voice": conflict.label_voice, "face": conflict.label_face},
    }


def _sentences(sources: Sources, id_: str) -> dict[str, str]:
    """Slot -> sentence of an utterance, and what its listener does where that was described."""
    own, listener = (sources.descriptions.get(one) for one in (id_, listener_id(id_)))
    sentences = {} if own is None else {slot: _sentence(own, slot) for slot in SLOTS}
    if listener is not None:
        sentences["listener"] = f"{listener.facial_expression} {listener.body_language}".strip()
    return sentences


def _sentence(description: Description, slot: str) -> str:
    """The sentence of a slot where no earlier one has it, else why there is none of something that was looked for."""
    if getattr(description, slot):
        return description.distinct().get(slot, "")
    reason = description.reasons.get(slot, NOT_LOOKED_FOR)
    return "" if reason == NOT_LOOKED_FOR else reason


def _notes(id_: str, caches: Mapping[Modality, FrameCache]) -> dict[str, str]:
    texts = {m: cache.failures.get(id_) or cache.notes.get(id_) for m, cache in caches.items()}
    return {m: text for m, text in texts.items() if text}


def _share(features: Features) -> float:
    """The share of rows in which something was measured."""
    if not len(features.values):
        return 0.0
    return round(float(np.isfinite(features.values).any(axis=1).mean()), 4)


def _choice(choice: Choice) -> dict[str, Any]:
    spans = [[s.first, s.end, s.track, round(s.score, 4), s.tracks] for s in choice.spans]
    keys = ("policy", "by", "faces", "uncertain")
    return {key: getattr(choice, key) for key in keys} | {"score": round(choice.score, 4), "spans": spans}


def _evidence(evidence: Evidence | None) -> dict[str, Any] | None:
    if evidence is None:
        return None
    whole = {part: of if (of := whole_of(part)) in evidence.parts else None for part in evidence.parts}
    order = [one for part, of in whole.items() if of is None for one in (part, *(p for p in whole if whole[p] == part))]
    parts = [[part, list(evidence.parts[part].values()), whole[part] is not None] for part in order]
    return {"labels": list(evidence.log_probs), "log_probs": list(evidence.log_probs.values()), "parts": parts}
