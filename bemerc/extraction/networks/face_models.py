"""MediaPipe's bundled face detectors and its face mesh with irises, driven separately."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bemerc.extraction.networks.graph import PRESENCE, WHOLE, Graph, Rect, numbers
from bemerc.media.frame_view import ArrayFrame, Box, Crop, FrameView, as_frame_view

MESH_POINTS = 478

_DETECTORS = {"near": "FaceDetectionShortRange", "far": "FaceDetectionFullRange"}
_MARGIN = 1.5
# Samples are taken between two pixels; and parts of a frame begin where a converter's stride does (media/).
_MARGIN_PX = 2
_GRID_PX = 32
_EYE_CORNERS = (33, 263)
# The parts of MediaPipe's face graphs, without what decides between them: a picture and where to look, the answer.
_MESH_GRAPH = """
input_stream: "image"
input_stream: "roi"
input_side_packet: "with_attention"
output_stream: "landmarks"
node {
  calculator: "FaceLandmarkCpu"
  input_stream: "IMAGE:image"
  input_stream: "ROI:roi"
  input_side_packet: "WITH_ATTENTION:with_attention"
  output_stream: "LANDMARKS:landmarks"
}
"""
_DETECTOR_GRAPH = """
input_stream: "image"
input_stream: "roi"
output_stream: "faces"
node {{
  calculator: "{}"
  input_stream: "IMAGE:image"
  input_stream: "ROI:roi"
  output_stream: "DETECTIONS:faces"
  options {{ [mediapipe.FaceDetectionOptions.ext] {{ min_score_thresh: {} delegate {{ xnnpack {{}} }} }} }}
}}
"""


@dataclass(frozen=True)
class FaceDetection:
    """A detected face: the box that the mesh needs of it, and the detector's score in [0, 1]."""

    rect: Rect
    score: float


class FaceModels:
    """Face detectors and mesh for one frame at a time: ``set_frame``, then ``detect`` and ``mesh``.

    Nothing carries over from frame to frame: tracking is done by bemerc.extraction.face.detection. (MediaPipe's own
    graph tracks by itself and never says which face is which.)
    """

    def __init__(self, detection_confidence: float) -> None:
        self._detection_confidence = detection_confidence
        self._mesh = Graph(
            _MESH_GRAPH,
            side_inputs={"with_attention": True},
            thresholds={"facelandmarkcpu__ThresholdingCalculator.threshold": 0.0},
            outputs=("landmarks", PRESENCE),
        )
        self._detectors: dict[str, Graph] = {}
        self._view: FrameView = ArrayFrame(np.zeros((1, 1, 3), np.uint8))
        self._whole: Any = None
        self._canvas = np.zeros((1, 1, 3), np.uint8)

    def set_frame(self, frame: FrameView | NDArray[np.uint8]) -> None:
        """Set the frame (H, W, 3) uint8. Detectors need all of it converted, the mesh only a part."""
        self._view, self._whole = as_frame_view(frame), None

    def detect(self, reach: Literal["near", "far"], region: Rect = WHOLE) -> list[FaceDetection]:
        """Faces in a region of the frame, best first. ``near`` is the short-range detector (128 x 128 pixels; about 1
        ms), ``far`` the full-range one (192 x 192; it detects smaller faces)."""
        graph = self._detectors.get(reach) or self._detectors.setdefault(reach, self._detector(reach))
        faces = graph.run({"image": self._all(), "roi": graph.rect(region)}).get("faces")
        if faces is None or faces.is_empty():
            return []
        detections = [
            _parse_detection(message, self._view.size) for message in graph.getter._get_serialized_proto_list(faces)
        ]
        return sorted(detections, key=lambda face: -face.score)

    def mesh(self, rect: Rect) -> tuple[NDArray[np.float32], float]:
        """The landmarks (478, 3) float32 of the face in ``rect``, and the model's confidence in [0, 1] that there is
        one.

        x and y are fractions of width and height, x growing to the image's right and y down; z is in fractions of
        the width, grows away from the camera and is zero near the head's centre.
        """
        outputs = self._mesh.run({"image": self._region_around(rect), "roi": self._mesh.rect(rect)})
        message = self._mesh.getter._get_serialized_proto(outputs["landmarks"])
        return numbers(message, MESH_POINTS, 3), float(self._mesh.getter.get_float(outputs[PRESENCE]))

    def crop_around(self, rect: Rect) -> Crop:
        """The region that the mesh read at ``rect``, which must be the one it last ran on; the same pixels whether or
        not the whole frame was converted."""
        box = box_around(rect, self._view.size)
        if box is None:
            return Crop(self._view.rgb(), (0, 0))
        left, top, right, bottom = box
        converted = self._whole is not None or self._view.is_decoded
        picture = self._view.rgb() if converted else self._canvas
        return Crop(picture[top:bottom, left:right], (left, top))

    def _region_around(self, rect: Rect) -> Any:
        """A frame of full size in which only the region around ``rect`` is filled: the mesh samples the same positions
        as in the whole frame, so that its outputs are the same bit for bit."""
        box = box_around(rect, self._view.size)
        if self._whole is not None or self._view.is_decoded or box is None:
            return self._all()
        left, top, right, bottom = box
        width, height = self._view.size
        if self._canvas.shape[:2] != (height, width):
            self._canvas = np.zeros((height, width, 3), np.uint8)
        self._canvas[top:bottom, left:right] = self._view.part(box)
        return self._mesh.picture(self._canvas)

    def _all(self) -> Any:
        if self._whole is None:
            self._whole = self._mesh.picture(self._view.rgb())
        return self._whole

    def close(self) -> None:
        for graph in (self._mesh, *self._detectors.values()):
            graph.close()

    def _detector(self, reach: str) -> Graph:
        text = _DETECTOR_GRAPH.format(_DETECTORS[reach], self._detection_confidence)
        return Graph(text, side_inputs={}, thresholds={}, outputs=("faces",))


def box_around(rect: Rect, size: tuple[int, int]) -> Box | None:
    """The region of a frame of ``size`` that the mesh samples, in pixels, a little larger so that a video's frame can
    be cut there (media.video); None where the rect lies outside of the frame."""
    width, height = size
    across, down = rect.width * width / 2, rect.height * height / 2
    cosine, sine = abs(math.cos(rect.angle)), abs(math.sin(rect.angle))
    half_width, half_height = cosine * across + sine * down + _MARGIN_PX, sine * across + cosine * down + _MARGIN_PX
    left, right = _on_grid(rect.x * width - half_width, rect.x * width + half_width, width)
    top, bottom = _on_grid(rect.y * height - half_height, rect.y * height + half_height, height)
    return (left, top, right, bottom) if left < right and top < bottom else None


def _on_grid(low: float, high: float, length: int) -> tuple[int, int]:
    return max(0, math.floor(low / _GRID_PX) * _GRID_PX), min(length, math.ceil(high / _GRID_PX) * _GRID_PX)


def _parse_detection(message: bytes, size: tuple[int, int]) -> FaceDetection:
    """A serialised detection -> the square that the mesh needs: half as large again as the box, turned with the eyes.

    That is what MediaPipe's DetectionsToRects and RectTransformation calculators do, at the settings of its own graph.
    """
    from mediapipe.framework.formats.detection_pb2 import Detection

    fields = Detection.FromString(message)
    box, eyes = fields.location_data.relative_bounding_box, fields.location_data.relative_keypoints[:2]
    width, height = size
    angle = math.atan2((eyes[1].y - eyes[0].y) * height, (eyes[1].x - eyes[0].x) * width)
    side = _MARGIN * max(box.width * width, box.height * height)
    middle = box.xmin + box.width / 2, box.ymin + box.height / 2
    return FaceDetection(Rect(*middle, side / width, side / height, angle), float(fields.score[0]))


def rect_around(landmarks: NDArray[np.float32], size: tuple[int, int]) -> Rect:
    """Where to look for a face in the next frame: around its landmarks (478, 3) in fractions of ``size``, as
    MediaPipe's own graph does it."""
    width, height = size
    (left, top), (right, bottom) = landmarks[:, :2].min(axis=0).tolist(), landmarks[:, :2].max(axis=0).tolist()
    across, down = (landmarks[_EYE_CORNERS[1], :2] - landmarks[_EYE_CORNERS[0], :2]).tolist()
    side = _MARGIN * max((right - left) * width, (bottom - top) * height)
    angle = math.atan2(down * height, across * width)
    return Rect((left + right) / 2, (top + bottom) / 2, side / width, side / height, angle)
