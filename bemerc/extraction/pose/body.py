"""The pose extractor: frames at ``rate_hz`` -> 33 body keypoints and a few readable numbers, one row per frame.

The body moves slower than the face and its model costs five times as much, hence a rate of its own. The readable
numbers are computed per clip, in shoulder widths and degrees, so that they do not depend on the distance from the
camera. They are uncalibrated: a person's habitual posture is subtracted later, in the tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bemerc.cache import VISIBLE, Features
from bemerc.extraction.networks import POSE_POINTS, BodyPose, Hands
from bemerc.extraction.pose import hands
from bemerc.media.frame_view import Window

Array = NDArray[np.float64]

VERSION = "mediapipe-pose-full-0.10.21/4"  # the release that the models are of, and of what is computed

KEYPOINTS: tuple[str, ...] = (
    "nose",
    *("left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye", "right_eye_outer"),
    *("left_ear", "right_ear", "mouth_left", "mouth_right"),
    *("left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist"),
    *("left_pinky", "right_pinky", "left_index", "right_index", "left_thumb", "right_thumb"),
    *("left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle"),
    *("left_heel", "right_heel", "left_foot_index", "right_foot_index"),
)
DERIVED: tuple[str, ...] = (
    "lean_deg",
    "sway_deg",
    "shoulder_tilt_deg",
    "slump",
    "left_hand_height",
    "right_hand_height",
    "movement",
)
HEAD = slice(0, 11)  # nose, eyes, ears, mouth
LEFT_SHOULDER, RIGHT_SHOULDER = KEYPOINTS.index("left_shoulder"), KEYPOINTS.index("right_shoulder")
LEFT_WRIST, RIGHT_WRIST = KEYPOINTS.index("left_wrist"), KEYPOINTS.index("right_wrist")
EARS = (KEYPOINTS.index("left_ear"), KEYPOINTS.index("right_ear"))
_EYES, _MOUTH = [KEYPOINTS.index("left_eye"), KEYPOINTS.index("right_eye")], slice(9, 11)
_MOVING = np.array([0, *EARS, LEFT_SHOULDER, RIGHT_SHOULDER, 13, 14, LEFT_WRIST, RIGHT_WRIST])


# What turns an apparent size into a lean: people's shoulders, a webcam's field of view, from hips to shoulders.
_SHOULDERS_M, _FOCAL_LENGTHS, _TRUNK_M = 0.38, 1.0, 0.5
_SLACK = 0.05  # of the usual distance from eyes to mouth
# The sine of a head's turn is this times the nose's distance from the middle of the ears, in distances from eyes to mouth
# (by the face mesh, of two people in a debate).
_SINE_OF_TURN = 0.67
# Lean, sway and slump are NaN where a turn makes the head narrower or wider than usual by more than this part, or its sine
# differs from the usual one by more than that.
_NARROWER, _ASIDE = 0.05, 0.25
# Ears this many shoulder widths above the shoulders: upright, and as low as a slumped sitter's.
_UPRIGHT, _SLUMPED = 0.75, 0.25
_LYING_DEG = 60.0


@dataclass(frozen=True)
class Params:
    """Section ``extract_video.pose`` of params.yaml.

    rate_hz               frames per second that are processed; of a clip with fewer, all
    detection_confidence  a body is detected when the detector's score is at least this
    tracking_confidence   a body is lost when the model's confidence falls below this
    upright               discard a body whose head is not above its shoulders: the model detects lying people in
                          lettering, and with as much confidence as real ones
    hands                 measure hands as well (bemerc.extraction.pose.hands): 21 points each, open or shut, at the
                          face, moving
    """

    rate_hz: float = 8.0
    detection_confidence: float = 0.5
    tracking_confidence: float = 0.5
    upright: bool = True
    hands: bool = False

    def check(self) -> Iterator[str]:
        """What is wrong with these values, a sentence each."""
        if not 0 < self.rate_hz <= 120:
            yield f"rate_hz: {self.rate_hz} must be above 0 and at most 120."
        for name in ("detection_confidence", "tracking_confidence"):
            if not 0 <= getattr(self, name) <= 1:
                yield f"{name}: {getattr(self, name)} must lie between 0 and 1."


def columns(params: Params) -> tuple[str, ...]:
    """The names of the pose columns, in order."""
    body = (*(f"{name}_{part}" for name in KEYPOINTS for part in ("x", "y", "z", "visibility")), *DERIVED)
    return (*body, *hands.COLUMNS) if params.hands else body


def open_extractor(params: Params) -> PoseExtractor:
    """Load the pose model (some 30 ms, and the imports the first time)."""
    return PoseExtractor(params)


class PoseExtractor:
    """``reset()``, then ``frame()`` for the frames taken of one clip in order, then ``finish()``; again for the next.
    ``keypoints``: (33, 4) of the latest frame, None where there is no body."""

    def __init__(self, params: Params) -> None:
        self.params = params
        self._model = BodyPose(params.detection_confidence, params.tracking_confidence)
        self._hands = Hands(params.detection_confidence, params.tracking_confidence) if params.hands else None
        self._clear()

    def reset(self) -> None:
        """Forget the previous clip: the same clip gives the same bytes whatever came before it."""
        self._model.reset()
        if self._hands is not None:
            self._hands.reset()
        self._clear()

    def _clear(self) -> None:
        self.keypoints: NDArray[np.float32] | None = None
        self._keypoints: list[NDArray[np.float32]] = []
        self._hand_points: list[NDArray[np.float32]] = []
        self._timestamps_s: list[float] = []
        self._sizes: list[tuple[int, int]] = []

    def frame(self, rgb: NDArray[np.uint8], timestamp_s: float) -> None:
        """One frame (H, W, 3) uint8, contiguous; its size may be another than that of the frame before."""
        self._sizes.append((rgb.shape[1], rgb.shape[0]))
        detected = self._model(rgb, timestamp_s)
        self.keypoints = None if detected is None else within_picture(detected)
        nobody = np.full((POSE_POINTS, 4), np.nan, np.float32)
        self._keypoints.append(nobody if self.keypoints is None else self.keypoints)
        if self._hands is not None:
            self._hand_points.append(hands.left_and_right(self._hands(rgb, timestamp_s)))
        self._timestamps_s.append(timestamp_s)

    def finish(self) -> Features:
        """The clip's features: one row per processed frame, NaN where no body was detected."""
        names = columns(self.params)
        timestamps_s = np.array(self._timestamps_s, np.float64)
        if not self._keypoints:
            return Features(np.empty((0, len(names)), np.float32), timestamps_s, names)
        window = Window(self._sizes)
        keypoints = window.map_points(np.stack(self._keypoints))
        if self.params.upright:
            keypoints[_is_lying(keypoints, window.size)] = np.nan
        derived = derive(keypoints, timestamps_s, window.size)
        parts = [keypoints.reshape(len(keypoints), -1), derived]
        if self._hands is not None:
            points = window.map_points(np.stack(self._hand_points))
            parts.append(hands.measure(points, keypoints[:, 0, :2], timestamps_s, window.size))
        return Features(np.concatenate(parts, axis=1), timestamps_s, names)

    def close(self) -> None:
        """Nothing to free: the models are memory of this process."""


def within_picture(keypoints: NDArray[np.float32]) -> NDArray[np.float32]:
    """Keypoints (33, 4) of one frame, as fractions of it -> the same; visibility is 0 of what lies beyond the picture.

    The model guesses on there, and calls it visible: of a close-up it tells shoulders that nobody sees.
    """
    inside = ((keypoints[:, :2] >= 0) & (keypoints[:, :2] <= 1)).all(axis=1)
    return np.column_stack([keypoints[:, :3], np.where(inside, keypoints[:, 3], 0)]).astype(np.float32)


def derive(
    keypoints: NDArray[np.float32], timestamps_s: NDArray[np.float64], frame_size: tuple[int, int]
) -> NDArray[np.float32]:
    """Keypoints (T, 33, 4) as fractions of a frame of ``frame_size`` (width, height) -> (T, 7) float32, as DERIVED.

    NaN where a keypoint that the number needs has a visibility below 0.5. All definitions are ours.

    lean_deg           how far the trunk has tipped towards the camera since the clip's usual posture (its median):
                       head or shoulders look larger by as much as they have come nearer; see _lean_deg
    sway_deg           the head's middle over the shoulders' middle, from the upright, + to the image's right
    shoulder_tilt_deg  the line of the shoulders, + clockwise in the image
    slump              0 where the ears stand 0.75 shoulder widths above the shoulders, 1 at 0.25
    *_hand_height      the wrist above the shoulders' middle, in shoulder widths
    movement           mean speed of head, shoulders, elbows and wrists since the frame before, shoulder widths per s

    Who turns looks narrower, and the face goes aside, as if he leant back or sideways and sat up. So lean, sway and slump
    are NaN where the head is turned otherwise than usual, and throughout a clip in which it mostly is.
    """
    visible = keypoints[:, :, 3] >= VISIBLE
    points = np.where(visible[:, :, None], keypoints[:, :, :2].astype(np.float64) * frame_size, np.nan)
    left, right = points[:, LEFT_SHOULDER], points[:, RIGHT_SHOULDER]
    middle, across = (left + right) / 2, left - right  # the person's left is the image's right
    width = np.maximum(np.hypot(across[:, 0], across[:, 1]), 1.0)
    head = points[:, HEAD].mean(axis=1)
    ears = points[:, EARS].mean(axis=1)
    up = middle[:, 1] - head[:, 1]
    as_usual = _as_usual(points)
    slump = np.clip((_UPRIGHT - (middle[:, 1] - ears[:, 1]) / width) / (_UPRIGHT - _SLUMPED), 0, 1)
    measures = [
        _lean_deg(
            np.where(as_usual[:, None, None], points, np.nan), np.where(as_usual, width, np.nan), max(frame_size)
        ),
        np.where(as_usual, np.degrees(np.arctan2(head[:, 0] - middle[:, 0], up)), np.nan),
        np.degrees(np.arctan2(across[:, 1], across[:, 0])),
        np.where(as_usual, slump, np.nan),
        (middle[:, 1] - points[:, LEFT_WRIST, 1]) / width,
        (middle[:, 1] - points[:, RIGHT_WRIST, 1]) / width,
        _movement(points[:, _MOVING], width, timestamps_s),
    ]
    return np.asarray(np.stack(measures, axis=1), np.float32)


def _is_lying(keypoints: NDArray[np.float32], frame_size: tuple[int, int]) -> NDArray[np.bool_]:
    points = keypoints[:, :, :2] * np.array(frame_size, np.float32)
    neck = points[:, HEAD].mean(axis=1) - points[:, [LEFT_SHOULDER, RIGHT_SHOULDER]].mean(axis=1)
    return np.asarray(np.degrees(np.arctan2(np.abs(neck[:, 0]), -neck[:, 1])) > _LYING_DEG)


def _lean_deg(points: Array, width: Array, frame_side: int) -> Array:
    """Apparent size -> distance (a pinhole camera of usual width) -> the trunk's angle.

    Who turns looks narrower, and would lean back. So size is the larger of two, of the shoulders and of the head; where
    that is still less than the distance from eyes to mouth says, which a turn leaves as it is, the latter is taken (not
    everywhere, since it is a few pixels). The model's own depth is not used: in frames without hips it puts the nose two
    shoulder widths ahead.
    """
    head = points[:, HEAD]
    spread = np.sqrt(((head - head.mean(axis=1, keepdims=True)) ** 2).sum(axis=2).mean(axis=1))
    if not np.isfinite(width * spread).any():
        return np.full(len(points), np.nan)
    long = np.minimum(_to_usual(_face_px(points)), 1)
    size = np.maximum(_to_usual(width), _to_usual(spread))
    size = np.where(size < long - _SLACK, long, size)
    distance_m = _SHOULDERS_M * _FOCAL_LENGTHS * frame_side / np.nanmedian(width)
    nearer_m = distance_m * (1 - np.nanmedian(size) / np.maximum(size, 1e-6))
    return np.asarray(np.degrees(np.arcsin(np.clip(nearer_m / _TRUNK_M, -1, 1))))


def _as_usual(points: Array) -> NDArray[np.bool_]:
    """(T,) whether the head is turned as it usually is in this clip; nowhere where that is less than half of it."""
    aside = (points[:, 0, 0] - points[:, EARS, 0].mean(axis=1)) / np.maximum(_face_px(points), 1e-6)
    sine = np.clip(_SINE_OF_TURN * aside, -0.95, 0.95)
    if not np.isfinite(sine).any():
        return np.zeros(len(points), np.bool_)
    near = np.abs(_to_usual(np.sqrt(1 - sine**2)) - 1) <= _NARROWER
    near &= np.abs(sine - np.nanmedian(sine)) <= _ASIDE
    return np.asarray(near & (2 * near.sum() >= np.isfinite(sine).sum()))


def _face_px(points: Array) -> Array:
    """(T,) from eyes to mouth, which no turn changes."""
    return np.asarray(np.linalg.norm(points[:, _EYES].mean(axis=1) - points[:, _MOUTH].mean(axis=1), axis=1))


def _to_usual(size: Array) -> Array:
    """Sizes (T,) to their median."""
    return np.asarray(size / max(float(np.nanmedian(size)), 1e-6))


def _movement(points: Array, width: Array, timestamps_s: NDArray[np.float64]) -> Array:
    """(T, P, 2) -> (T,); a keypoint counts where it is visible in both frames; the first frame has no predecessor:
    NaN."""
    step = np.diff(points, axis=0)
    speed = np.hypot(step[:, :, 0], step[:, :, 1]) / width[1:, None] / np.diff(timestamps_s)[:, None]
    count = np.isfinite(speed).sum(axis=1)
    mean = np.where(count > 0, np.nansum(speed, axis=1) / np.maximum(count, 1), np.nan)
    return np.append(np.nan, mean)
