"""Crops of one face as the published code of TalkNet, Light-ASD and LR-ASD makes them (crop_video, cropScale .40), 25 a
second, from frames at any rate.

A frame's crop is a square of 2.8 half sides of the face's box, wider below the middle than above, resized to 224 pixels;
the network reads its central 112. The box is a median over 13 crops; what lies outside of the frame is grey. Frames are
taken to 25 a second as ffmpeg does: each crop is of the latest frame whose time rounds to it or to one before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bemerc.extraction.face.speaker_network import CROP_PX
from bemerc.extraction.networks import Rect
from bemerc.extraction.networks.face_models import box_around
from bemerc.media.frame_view import FrameView

Grey = NDArray[np.uint8]

FPS = 25
_SCALE = 0.40
_MEDIAN = 13
_FULL_PX = 224
_OUTSIDE = 110
_HALF = _MEDIAN // 2


@dataclass(frozen=True)
class FaceBox:
    """The middle of a face's box and half of its longer side, in pixels of the frame."""

    x: float
    y: float
    half: float

    @staticmethod
    def around(landmarks: NDArray[np.float32]) -> FaceBox:
        """Of landmarks (478, 3) in pixels."""
        low, high = landmarks[:, :2].min(axis=0).astype(np.float64), landmarks[:, :2].max(axis=0).astype(np.float64)
        (x, y), half = ((low + high) / 2).tolist(), float(np.max(high - low)) / 2
        return FaceBox(x, y, half)

    def bounds(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom of the crop."""
        pad = int(self.half * (1 + 2 * _SCALE))
        x, y, wide = self.x + pad, self.y + pad, self.half * (1 + _SCALE)
        top, bottom = int(y - self.half), int(y + self.half * (1 + 2 * _SCALE))
        left, right = int(x - wide), int(x + wide)
        return left - pad, top - pad, max(right, left + 1) - pad, max(bottom, top + 1) - pad


@dataclass(frozen=True)
class FaceRegion:
    """A face's box in a frame, and the part of the frame around it in grey with its upper left ``corner``."""

    box: FaceBox
    grey: Grey
    corner: tuple[int, int]


def face_region(view: FrameView, landmarks: NDArray[np.float32]) -> FaceRegion:
    """The part of a frame from which a face's crop is cut: as large as the crop at the face's own box, since the
    median's lies nearby and only its middle half is read."""
    import cv2

    box, (width, height) = FaceBox.around(landmarks), view.size
    left, top, right, bottom = box.bounds()
    rect = Rect(
        (left + right) / 2 / width, (top + bottom) / 2 / height, (right - left) / width, (bottom - top) / height
    )
    region = box_around(rect, view.size)
    if region is None:
        return FaceRegion(box, np.empty((0, 0), np.uint8), (0, 0))
    return FaceRegion(box, np.asarray(cv2.cvtColor(view.part(region), cv2.COLOR_RGB2GRAY), np.uint8), region[:2])


def cut(region: FaceRegion, box: FaceBox) -> Grey:
    """(112, 112): the middle of the crop of ``box`` from a region around it."""
    import cv2

    left, top, right, bottom = box.bounds()
    canvas = np.full((bottom - top, right - left), _OUTSIDE, np.uint8)
    x, y = region.corner[0] - left, region.corner[1] - top
    target = canvas[max(y, 0) : max(y + len(region.grey), 0), max(x, 0) : max(x + region.grey.shape[1], 0)]
    target[:] = region.grey[max(-y, 0) :, max(-x, 0) :][: len(target), : target.shape[1]]
    full = cv2.resize(canvas, (_FULL_PX, _FULL_PX))
    edge = (_FULL_PX - CROP_PX) // 2
    return np.asarray(full[edge : edge + CROP_PX, edge : edge + CROP_PX], np.uint8)


class Stretch:
    """One track without a longer gap: ``add`` its frames in their order, ``crops`` grows, 25 a second from ``start_s``.

    rows, slots  numbers of the frames, and of the crop that shows each
    taken        crops that were removed from the front of ``crops``
    """

    def __init__(self, start_s: float) -> None:
        self.start_s, self.latest_s = start_s, start_s
        self.rows: list[int] = []
        self.slots: list[int] = []
        self.crops: list[Grey] = []
        self.taken = 0
        self._boxes: list[FaceBox] = []  # of all slots
        self._regions: list[FaceRegion] = []  # of the slots that have no crop yet

    def add(self, row: int, time_s: float, region: FaceRegion) -> None:
        """A frame's face. The crop of a slot follows seven slots later, when the median of its box is certain."""
        slot = max(round((time_s - self.start_s) * FPS), len(self._boxes) - 1, 0)
        if slot == len(self._boxes) - 1:
            self._boxes.pop()
            self._regions.pop()
        while len(self._boxes) < slot:
            self._boxes.append(self._boxes[-1])
            self._regions.append(self._regions[-1])
        self._boxes.append(region.box)
        self._regions.append(region)
        self.rows.append(row)
        self.slots.append(slot)
        self.latest_s = time_s
        while len(self._regions) > _HALF + 1:
            self._crop()

    def end(self) -> None:
        """No frame follows: the last slots' crops."""
        while self._regions:
            self._crop()

    def take(self, count: int) -> Grey:
        """Remove the first ``count`` crops: (count, 112, 112)."""
        taken, self.crops = self.crops[:count], self.crops[count:]
        self.taken += count
        return np.stack(taken)

    def _crop(self) -> None:
        at = len(self._boxes) - len(self._regions)
        self.crops.append(cut(self._regions.pop(0), _median(self._boxes, at)))


def _median(boxes: Sequence[FaceBox], at: int) -> FaceBox:
    """Over the 13 boxes around ``at``; as scipy.signal.medfilt has it, with zeros before the first and after the last."""
    near = [(box.x, box.y, box.half) for box in boxes[max(0, at - _HALF) : at + _HALF + 1]]
    x, y, half = np.median(np.concatenate([near, np.zeros((_MEDIAN - len(near), 3))]), axis=0).tolist()
    return FaceBox(x, y, half)
