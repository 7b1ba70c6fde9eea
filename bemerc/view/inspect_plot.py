"""Plot one utterance: a frame with landmarks and skeleton, action units over time, head pose, pitch and energy.

Everything is drawn from the caches, so that one sees what the language model gets, except for the frame itself, which
comes from the clip, where there is one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bemerc.cache import VISIBLE, Choice, Features, FrameCache, open_cache, same_person, split_other
from bemerc.core import pictures
from bemerc.core.errors import CacheError
from bemerc.core.pictures import in_picture
from bemerc.core.terminal import printable
from bemerc.corpus.manifest import MODALITIES, Manifest, Modality
from bemerc.corpus.reading import must_be_no_recording
from bemerc.view import media_files
from bemerc.view.lines import BONES, FINGERS, LINES, POINT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SAME_FRAME_S = 0.004
_FACE, _BODY, _SOUND, _PALE = "#2f6fb5", "#d9822b", "#4a8f5c", "#b8b8b8"


@dataclass(frozen=True)
class PlotData:
    """The data of a plot.

    features   modality -> the utterance's features
    landmarks  (1, P, 3) the mesh's landmarks in the frame
    others     (P, 3) each, those of other people in it
    frame      (H, W, 3) RGB, on which they are drawn
    """

    features: Mapping[Modality, Features]
    landmarks: NDArray[np.float32] | None = None
    frame: NDArray[np.uint8] | None = None
    others: Sequence[NDArray[np.float32]] = ()


def save(id_: str, caches: Mapping[Modality, Path], out: Path, manifest: Manifest | None = None) -> str:
    """Plot utterance ``id_`` of the caches into the PNG ``out``; the frame comes from its clip by the manifest.

    Returns a sentence for the user, which names modalities that cannot be drawn. Raises CacheError when no cache has
    the id or a row of it, MediaError when the clip cannot be read, DiskError when the plot cannot be written.
    """
    must_be_no_recording(out)
    with ExitStack() as stack:
        opened = {m: stack.enter_context(open_cache(caches[m], m)) for m in MODALITIES if m in caches}
        utterance = id_
        if "face" in opened and (others := opened["face"].others) is not None and id_ in others:
            opened, utterance = {"face": others}, split_other(id_)[0]
        if not any(id_ in cache for cache in opened.values()):
            ids = next((cache.ids for cache in opened.values()), ())
            some = ", ".join(map(printable, ids[:5]))
            raise CacheError(f"No cache here has the id '{printable(id_)}'. Among the {len(ids)} ids are: {some}.")
        features, broken = _read(opened, id_)
        at = peak(features["face"]) if "face" in features else None
        landmarks = None
        if at is not None and opened["face"].has_landmarks:
            try:  # of one frame: those of a film are gigabytes
                landmarks = opened["face"].landmarks(id_, at, at + 1)
            except CacheError as error:
                broken.append(str(error))
        failures = {m: cache.failures[id_].rstrip(".") for m, cache in opened.items() if id_ in cache.failures}
        lost = [f"{m}: {reason}" for m, reason in failures.items()] + broken
        if not any(len(rows.values) for rows in features.values()):
            reason = "; ".join(lost) or "it has no row in any cache"
            raise CacheError(f"Of '{id_}' there is nothing to draw. {reason[0].upper()}{reason[1:]}.")
        lost += [_describe_choice(cache.choices[id_]) for cache in opened.values() if id_ in cache.choices]
        time_s = _time_s(features, at)
        if manifest is not None and _is_another(utterance, manifest, opened):
            lost.append("its clip is not the file that was measured, so the frame may be another one")
        around = _others(opened["face"], id_, time_s) if "face" in opened and time_s is not None else {}
        lost += [_describe_other(name, opened["face"]) for name in around]
    frame = _frame(utterance, manifest, time_s) if manifest is not None and time_s is not None else None
    draw(id_, PlotData(features, landmarks, frame, [*around.values()]), at, out)
    parts = [f"{out}: {id_}", *_coverage({m: f for m, f in features.items() if m not in failures}), *lost]
    if manifest is not None and frame is None:
        parts.append(f"{manifest.folder} has no clip of it")
    return "; ".join(parts) + "."


def _is_another(id_: str, manifest: Manifest, caches: Mapping[Modality, FrameCache]) -> bool:
    u = next((u for u in manifest.utterances if u.id == id_), None)
    clip = None if u is None else manifest.local_clip(u)
    return clip is not None and media_files.is_another(clip, id_, caches)


def _others(face: FrameCache, id_: str, time_s: float) -> dict[str, NDArray[np.float32]]:
    """The landmarks (P, 3) of everybody else in the frame at ``time_s``, by their ids; none where none are kept."""
    meshes = {}
    for other in face.others_of(id_) if face.others is not None and face.others.has_landmarks else ():
        assert face.others is not None
        stamps = face.others[other].timestamps_s
        at = int(np.argmin(np.abs(stamps - time_s))) if len(stamps) else 0
        if len(stamps) and abs(stamps[at] - time_s) < _SAME_FRAME_S:
            landmarks = face.others.landmarks(other, at, at + 1)
            assert landmarks is not None
            meshes[other] = landmarks[0]
    return meshes


def _describe_other(id_: str, face: FrameCache) -> str:
    choice = face.others.choices.get(id_) if face.others is not None else None
    score = "" if choice is None else f" (score {choice.score:.2f})"
    return f"beside it {printable(id_)}{score}"


def _read(opened: Mapping[Modality, FrameCache], id_: str) -> tuple[dict[Modality, Features], list[str]]:
    """The features that can be read, without other people's bodies, and sentences on what is left out."""
    features: dict[Modality, Features] = {}
    broken = []
    for modality, cache in opened.items():
        if id_ in cache:
            try:
                features[modality], reason = same_person.read_with_reason(opened, modality, id_)
                if reason:
                    broken.append(f"{modality}: {reason.rstrip('.')}")
            except CacheError as error:
                broken.append(str(error))
    return features, broken


def peak(face: Features) -> int | None:
    """The frame with the largest sum of action units above the clip's median; None where no frame has a face."""
    units = face.values[:, [i for i, name in enumerate(face.columns) if name.startswith("AU")]].astype(np.float64)
    has_face = np.isfinite(units).all(axis=1)
    if not has_face.any() or not units.shape[1]:
        return None
    above = (units - np.median(units[has_face], axis=0)).sum(axis=1)
    return int(np.argmax(np.where(has_face, above, -np.inf)))


def _time_s(features: Mapping[Modality, Features], at: int | None) -> float | None:
    """The time of the frame to show: the face's peak, else the middle of the utterance."""
    if at is not None:
        return float(features["face"].timestamps_s[at])
    stamps = next((f.timestamps_s for m, f in features.items() if m != "audio" and len(f.timestamps_s)), None)
    return None if stamps is None else float(stamps[len(stamps) // 2])


def _describe_choice(choice: Choice) -> str:
    if not choice.faces:
        return "no face was detected"
    if choice.by == "alone":
        return "the only face"
    doubt = ", which leaves it uncertain" if choice.uncertain else ""
    return f"one of up to {choice.faces} faces at a time, by {choice.by}, score {choice.score:.2f}{doubt}"


def _coverage(features: Mapping[Modality, Features]) -> list[str]:
    shares = {m: np.isfinite(f.values).any(axis=1).mean() if len(f.values) else 0.0 for m, f in features.items()}
    return [f"{m} in {share:.0%} of {len(features[m].values)} frames" for m, share in shares.items()]


def _frame(id_: str, manifest: Manifest, time_s: float) -> NDArray[np.uint8] | None:
    """The frame of an utterance at ``time_s`` after its start, cropped as the utterance is; None without a clip."""
    from bemerc.media.video import Video

    matches = [u for u in manifest.utterances if u.id == id_] or [
        u for u in manifest.utterances if id_.endswith(f"/{u.id}") or u.id.endswith(f"/{id_}")
    ]
    clip = manifest.clip_path(matches[0]) if len(matches) == 1 else None
    if clip is None or not clip.is_file():
        return None
    at_s = (matches[0].start_s or 0.0) + time_s
    with Video(clip) as video:
        return next((f.rgb(matches[0].crop) for f in video if f.timestamp_s >= at_s - 1e-6), None)


# ------------------------------------------------------------------------------------------------------------- drawing


def draw(title: str, data: PlotData, at: int | None, out: Path) -> None:
    """Write the PNG; ``at``: the row of the face to show. A panel without data says so."""
    from matplotlib.figure import Figure  # without pyplot: no window, no global state

    figure = Figure(figsize=(13, 7), dpi=110, layout="constrained")
    grid = figure.add_gridspec(3, 2, width_ratios=(1, 1.25), height_ratios=(2.2, 1, 1))
    figure.suptitle(in_picture(title))
    face, pose, audio = (data.features.get(m) for m in MODALITIES)
    _draw_person(figure.add_subplot(grid[:, 0]), data, at)
    units = figure.add_subplot(grid[0, 1])
    _draw_units(units, face, at)
    _draw_angles(figure.add_subplot(grid[1, 1], sharex=units), face, pose)
    _draw_voice(figure.add_subplot(grid[2, 1], sharex=units), audio)
    units.set_xlim(0, max([float(f.timestamps_s[-1]) for f in data.features.values() if len(f.timestamps_s)] + [0.04]))
    pictures.save(figure, out)  # readable for its owner only, as it shows a person


def _draw_person(axes: Axes, data: PlotData, at: int | None) -> None:
    axes.set_axis_off()
    axes.set_aspect("equal")
    pose, time_s = data.features.get("pose"), _time_s(data.features, at)
    size = None if data.frame is None else (data.frame.shape[1], data.frame.shape[0])
    if data.frame is not None:
        axes.imshow(data.frame)
    else:
        axes.invert_yaxis()
    if at is not None and data.landmarks is not None and data.landmarks.shape[1] > max(map(max, LINES)):
        points = data.landmarks[0]
        for line in LINES:
            axes.plot(*points[list(line), :2].T, color=_FACE, linewidth=0.9)
            for other in data.others:
                axes.plot(*other[list(line), :2].T, color=_PALE, linewidth=0.7)
    if pose is not None and time_s is not None and len(pose.values):
        # Keypoints are fractions of the frame; without a frame, 16:9 is the most likely shape.
        _draw_skeleton(axes, pose, int(np.argmin(np.abs(pose.timestamps_s - time_s))), size or (16, 9), at, data)
    if size is not None:
        axes.set_xlim(0, size[0])
        axes.set_ylim(size[1], 0)
    when = "" if time_s is None else f"{time_s:.2f} s"
    axes.set_title(when if data.frame is not None else f"{when} (no clip at hand)", fontsize=9)


def _draw_skeleton(axes: Axes, pose: Features, row: int, size: tuple[int, int], at: int | None, data: PlotData) -> None:
    if data.frame is None and at is not None and data.landmarks is not None:
        return  # the mesh is in pixels of a frame of unknown size
    bones = [bone for bone in BONES if {f"{end}_{axis}" for end in bone for axis in POINT} <= {*pose.columns}]
    for first, second in bones:  # imported poses have other columns
        ends = np.array([[pose.column(f"{name}_{part}")[row] for part in POINT] for name in (first, second)])
        if (ends[:, 2] >= VISIBLE).all():
            axes.plot(ends[:, 0] * size[0], ends[:, 1] * size[1], color=_BODY, linewidth=2, marker="o", markersize=4)
    for side in ("left", "right") if "left_hand_00_x" in pose.columns else ():
        points = np.array([[pose.column(f"{side}_hand_{i:02d}_{axis}")[row] for axis in "xy"] for i in range(21)])
        for finger in FINGERS:  # NaN, where there is no hand, draws nothing
            axes.plot(points[list(finger), 0] * size[0], points[list(finger), 1] * size[1], color=_BODY, linewidth=1.2)


def _draw_units(axes: Axes, face: Features | None, at: int | None) -> None:
    names = [] if face is None else [name for name in face.columns if name.startswith("AU")]
    if face is None or at is None:
        _empty(axes, "no face")
        return
    values = np.stack([face.column(name) for name in names])
    half = np.median(np.diff(face.timestamps_s)) / 2 if len(face.timestamps_s) > 1 else 0.02
    edges = np.append(face.timestamps_s - half, face.timestamps_s[-1] + half)
    heatmap = axes.pcolormesh(edges, np.arange(len(names) + 1), values, cmap="Blues", vmin=0, vmax=5)
    axes.set_yticks(np.arange(len(names)) + 0.5, [name.removesuffix("_r") for name in names], fontsize=7)
    axes.invert_yaxis()
    axes.axvline(face.timestamps_s[at], color=_BODY, linewidth=1)
    bar = axes.figure.colorbar(heatmap, ax=axes, pad=0.01)
    bar.set_label("intensity", fontsize=8)


def _draw_angles(axes: Axes, face: Features | None, pose: Features | None) -> None:
    lines = [
        (face, "pose_pitch_deg", "nod", _FACE, "-"),
        (face, "pose_yaw_deg", "turn", _FACE, "--"),
        (face, "pose_roll_deg", "tilt", _FACE, ":"),
        (pose, "lean_deg", "lean", _BODY, "-"),
        (pose, "sway_deg", "sway", _BODY, "--"),
    ]
    for features, name, label, color, style in lines:
        if features is not None and name in features.columns and np.isfinite(features.column(name)).any():
            axes.plot(features.timestamps_s, features.column(name), style, color=color, linewidth=1.2, label=label)
    if not axes.lines:
        _empty(axes, "no head, no body")
        return
    axes.set_ylabel("degrees", fontsize=8)
    # Above the lines, which go anywhere.
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0, fontsize=7, ncols=5, frameon=False)


def _draw_voice(axes: Axes, audio: Features | None) -> None:
    axes.set_xlabel("seconds", fontsize=8)
    if audio is None or not len(audio.values) or not {"pitch_hz", "energy_db"} <= set(audio.columns):
        _empty(axes, "no sound")
        return
    axes.plot(audio.timestamps_s, audio.column("energy_db"), color=_PALE, linewidth=1)
    axes.set_ylabel("energy, dB", fontsize=8)
    pitch: Any = axes.twinx()
    pitch.plot(audio.timestamps_s, audio.column("pitch_hz"), ".", color=_SOUND, markersize=2.5)
    pitch.set_ylabel("pitch, Hz", color=_SOUND, fontsize=8)


def _empty(axes: Axes, word: str) -> None:
    axes.text(0.5, 0.5, word, ha="center", va="center", color=_PALE, transform=axes.transAxes)
    axes.set_yticks([])
