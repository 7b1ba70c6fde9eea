"""The only module that touches mediapipe: its bundled models of face, body and hands, frame in, numpy array out.

mediapipe 0.10.21 is the last release whose wheel carries its models; from 0.10.30 on there is only the Tasks API with
files that the user downloads. Keeping both graphs behind two small classes makes that move one file. The ``solutions``
API would do, but it builds a class per frame, hides the mesh's own confidence, and pretends that every video has 30
frames per second; here the same graphs are driven directly, with true timestamps, and answer with arrays.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bemerc.errors import BemercError
from bemerc.extract.lean import without_output
from bemerc.extract.sight import Box, Sight, Still, sight_of

RELEASE = "0.10.21"
MESH_POINTS = 478
POSE_POINTS = 33
HAND_POINTS = 21


@dataclass(frozen=True)
class Rect:
    """A part of a picture: middle, width and height in fractions of the picture's width and height, and how far it is
    turned clockwise, in radians."""

    x: float
    y: float
    width: float
    height: float
    angle: float = 0.0


WHOLE = Rect(0.5, 0.5, 1.0, 1.0)


@dataclass(frozen=True)
class Found:
    """A face that a detector found: the part of the picture that the mesh wants to see of it, and the score in [0, 1]."""

    rect: Rect
    score: float


class FaceModels:
    """The bundled face detectors and the bundled face mesh with irises, asked one by one about a picture.

    MediaPipe's own graph follows faces from frame to frame by itself, runs its short-range detector on every frame that
    shows fewer faces than it was told to look for, and never says which face is which. Here nothing is remembered:
    ``show`` a picture, then ask; who follows whom is decided by bemerc.extract.finding.
    """

    def __init__(self, detection_confidence: float) -> None:
        self._detection_confidence = detection_confidence
        self._mesh = _Graph(
            _MESH_GRAPH,
            side_inputs={"with_attention": True},
            thresholds={"facelandmarkcpu__ThresholdingCalculator.threshold": 0.0},
            outputs=("landmarks", _PRESENCE),
        )
        self._detectors: dict[str, _Graph] = {}
        self._sight: Sight = Still(np.zeros((1, 1, 3), np.uint8))
        self._whole: Any = None
        self._canvas = np.zeros((1, 1, 3), np.uint8)

    def show(self, shown: Sight | NDArray[np.uint8]) -> None:
        """The picture (H, W, 3) that is asked about from now on. Detectors look at all of it, the mesh at a part."""
        self._sight, self._whole = sight_of(shown), None

    def find(self, reach: Literal["near", "far"], part: Rect = WHOLE) -> list[Found]:
        """Faces in a part of the picture, best first. ``near`` is the short-range detector (128 x 128 pixels; about 1 ms),
        ``far`` the full-range one (192 x 192; it finds smaller faces)."""
        graph = self._detectors.get(reach) or self._detectors.setdefault(reach, self._detector(reach))
        faces = graph.run({"image": self._all(), "roi": graph.rect(part)}).get("faces")
        if faces is None or faces.is_empty():
            return []
        found = [_found(message, self._sight.size) for message in graph.getter._get_serialized_proto_list(faces)]
        return sorted(found, key=lambda face: -face.score)

    def mesh(self, rect: Rect) -> tuple[NDArray[np.float32], float]:
        """The landmarks (478, 3) float32 of the face in ``rect``, and the model's belief in [0, 1] that there is one.

        x and y are fractions of width and height, x growing to the image's right and y down; z is in fractions of
        the width, grows away from the camera and is zero near the head's centre.
        """
        outputs = self._mesh.run({"image": self._around(rect), "roi": self._mesh.rect(rect)})
        message = self._mesh.getter._get_serialized_proto(outputs["landmarks"])
        return _numbers(message, MESH_POINTS, 3), float(self._mesh.getter.get_float(outputs[_PRESENCE]))

    def _around(self, rect: Rect) -> Any:
        """A picture of full size in which what lies around ``rect`` is there: the mesh takes its samples at the very places
        where it would take them in the whole, so that its answers are the same bit for bit."""
        box = _box_around(rect, self._sight.size)
        if self._whole is not None or self._sight.is_there or box is None:
            return self._all()
        left, top, right, bottom = box
        width, height = self._sight.size
        if self._canvas.shape[:2] != (height, width):
            self._canvas = np.zeros((height, width, 3), np.uint8)
        self._canvas[top:bottom, left:right] = self._sight.part(box)
        return self._mesh.picture(self._canvas)

    def _all(self) -> Any:
        if self._whole is None:
            self._whole = self._mesh.picture(self._sight.rgb())
        return self._whole

    def close(self) -> None:
        for graph in (self._mesh, *self._detectors.values()):
            graph.close()

    def _detector(self, reach: str) -> _Graph:
        text = _DETECTOR_GRAPH.format(_DETECTORS[reach], self._detection_confidence)
        return _Graph(text, side_inputs={}, thresholds={}, outputs=("faces",))


def _box_around(rect: Rect, size: tuple[int, int]) -> Box | None:
    """The part of a picture of ``size`` that the mesh takes its samples from, in pixels, a little larger so that a video's
    frame can be cut there (media.Frame.part); None where the rect lies outside of the picture."""
    width, height = size
    across, down = rect.width * width / 2, rect.height * height / 2
    cosine, sine = abs(math.cos(rect.angle)), abs(math.sin(rect.angle))
    half_width, half_height = cosine * across + sine * down + _MARGIN_PX, sine * across + cosine * down + _MARGIN_PX
    left, right = _on_grid(rect.x * width - half_width, rect.x * width + half_width, width)
    top, bottom = _on_grid(rect.y * height - half_height, rect.y * height + half_height, height)
    return (left, top, right, bottom) if left < right and top < bottom else None


def _on_grid(low: float, high: float, length: int) -> tuple[int, int]:
    return max(0, math.floor(low / _GRID_PX) * _GRID_PX), min(length, math.ceil(high / _GRID_PX) * _GRID_PX)


def _found(message: bytes, size: tuple[int, int]) -> Found:
    """A serialised detection -> the square that the mesh wants: half as large again as the box, turned with the eyes.

    That is what MediaPipe's DetectionsToRects and RectTransformation calculators do, at the settings of its own graph.
    """
    from mediapipe.framework.formats.detection_pb2 import Detection

    detection = Detection.FromString(message)
    box, eyes = detection.location_data.relative_bounding_box, detection.location_data.relative_keypoints[:2]
    width, height = size
    angle = math.atan2((eyes[1].y - eyes[0].y) * height, (eyes[1].x - eyes[0].x) * width)
    side = _ROOM * max(box.width * width, box.height * height)
    middle = box.xmin + box.width / 2, box.ymin + box.height / 2
    return Found(Rect(*middle, side / width, side / height, angle), float(detection.score[0]))


def rect_around(landmarks: NDArray[np.float32], size: tuple[int, int]) -> Rect:
    """Where to look for a face in the next frame: around its landmarks (478, 3) in fractions of ``size``, as
    MediaPipe's own graph does it."""
    width, height = size
    (left, top), (right, bottom) = landmarks[:, :2].min(axis=0).tolist(), landmarks[:, :2].max(axis=0).tolist()
    across, down = (landmarks[_EYE_CORNERS[1], :2] - landmarks[_EYE_CORNERS[0], :2]).tolist()
    side = _ROOM * max((right - left) * width, (bottom - top) * height)
    angle = math.atan2(down * height, across * width)
    return Rect((left + right) / 2, (top + bottom) / 2, side / width, side / height, angle)


class FaceMesh:
    """MediaPipe's own graph of short-range detector and mesh, for one face; frames of one clip in their order, ``reset``
    before each clip. For benchmarks: what is extracted comes by way of FaceModels."""

    def __init__(self, detection_confidence: float, tracking_confidence: float) -> None:
        detector = "facedetectionshortrangecpu__facedetectionshortrange__facedetection__TensorsToDetectionsCalculator"
        self._graph = _Graph(
            "face_landmark/face_landmark_front_cpu",
            side_inputs={"num_faces": 1, "with_attention": True, "use_prev_landmarks": True},
            thresholds={
                f"{detector}.min_score_thresh": detection_confidence,
                "facelandmarkcpu__ThresholdingCalculator.threshold": tracking_confidence,
            },
            outputs=("multi_face_landmarks", _PRESENCE),
            as_shipped=True,
        )

    def reset(self) -> None:
        """Forget every earlier frame; the next clip gets the numbers that a new graph would give (bit-equal)."""
        self._graph.reset()

    def __call__(self, rgb: NDArray[np.uint8], timestamp_s: float) -> tuple[NDArray[np.float32], float] | None:
        """``rgb`` (H, W, 3), contiguous -> landmarks (478, 3) float32 and presence, or None where no face was seen.

        x and y are fractions of width and height, x growing to the image's right and y down; z is in fractions of
        the width, grows away from the camera and is zero near the head's centre. presence in [0, 1] is the mesh
        model's own belief that there is a face; below the tracking confidence the answer is None.
        """
        outputs = self._graph.run({"image": self._graph.picture(rgb)}, timestamp_s)
        faces = outputs.get("multi_face_landmarks")
        if faces is None or faces.is_empty():
            return None
        message = self._graph.getter._get_serialized_proto_list(faces)[0]
        return _numbers(message, MESH_POINTS, 3), float(self._graph.getter.get_float(outputs[_PRESENCE]))

    def close(self) -> None:
        self._graph.close()


class BodyPose:
    """The bundled full pose model, for one person; frames of one clip in their order, ``reset`` before each clip.

    It answers as MediaPipe's own graph does (BodyGraph), bit for bit, in half of its time: the model's silhouette, which
    nobody reads, is left out (bemerc.extract.lean); and since a graph that is reset loads its models anew, 30 ms, the models
    stand in graphs without memory, and a small one without models remembers where the body was.
    The smoothing of what comes out is off: at 8 frames per second it lags behind gestures by several frames.
    """

    def __init__(self, detection_confidence: float, tracking_confidence: float) -> None:
        model = without_output(_bundled("pose_landmark/pose_landmark_full.tflite"), _SILHOUETTE)
        flag = "tensorstoposelandmarksandsegmentation__ThresholdingCalculator.threshold"
        self._body = _Graph(
            _BODY_GRAPH,
            side_inputs={"file": model, "enable_segmentation": False},
            thresholds={flag: tracking_confidence},
            outputs=("landmarks", "auxiliary"),
        )
        detector = "posedetectioncpu__TensorsToDetectionsCalculator.min_score_thresh"
        self._detector = _Graph(
            _BODY_DETECTOR_GRAPH, side_inputs={}, thresholds={detector: detection_confidence}, outputs=("roi",)
        )
        self._follow = _Graph(_BODY_FOLLOW_GRAPH, side_inputs={}, thresholds={}, outputs=("next",))
        self._roi: Any = None

    def reset(self) -> None:
        """Forget every earlier frame; the next clip gets the numbers that a new graph would give (bit-equal)."""
        self._follow.reset()
        self._roi = None

    def __call__(self, rgb: NDArray[np.uint8], timestamp_s: float) -> NDArray[np.float32] | None:
        """``rgb`` (H, W, 3), contiguous -> keypoints (33, 4) float32, or None where nobody was seen.

        x and y are fractions of width and height; z is in fractions of the width, zero at the hips, negative towards
        the camera; visibility in [0, 1].
        """
        picture = self._body.picture(rgb)
        if self._roi is None:
            self._roi = _there(self._detector.run({"image": picture}).get("roi"))
            if self._roi is None:
                return None
        told = self._body.run({"image": picture, "roi": self._roi})
        landmarks = _there(told.get("landmarks"))
        if landmarks is None:
            self.reset()
            return None
        # Whose place is smoothed over time: the graph gets the true one.
        following = self._follow.run({"image": picture, "auxiliary": told["auxiliary"]}, timestamp_s)
        self._roi = _there(following.get("next"))
        # MediaPipe's graph turns fractions into pixels and back, filter or not: the last bit depends on it.
        size = np.array([rgb.shape[1], rgb.shape[0], rgb.shape[1], 1], np.float32)
        return _keypoints(self._body, landmarks) * size / size

    def close(self) -> None:
        for graph in (self._body, self._detector, self._follow):
            graph.close()


def _bundled(file: str) -> bytes:
    """A model of the wheel, found without importing it: that prints, and _Graph keeps it quiet."""
    folder = importlib.util.find_spec("mediapipe").submodule_search_locations[0]  # type: ignore[union-attr,index]
    return (Path(folder) / "modules" / file).read_bytes()


def _there(packet: Any) -> Any:
    return None if packet is None or packet.is_empty() else packet


class BodyGraph:
    """MediaPipe's own graph of body detector and full pose model, with its smoothing off. For benchmarks and the test that
    BodyPose answers alike."""

    def __init__(self, detection_confidence: float, tracking_confidence: float) -> None:
        presence = "poselandmarkbyroicpu__tensorstoposelandmarksandsegmentation__ThresholdingCalculator.threshold"
        self._graph = _Graph(
            "pose_landmark/pose_landmark_cpu",
            side_inputs={
                "model_complexity": 1,
                "smooth_landmarks": False,
                "enable_segmentation": False,
                "smooth_segmentation": False,
                "use_prev_landmarks": True,
            },
            thresholds={
                "posedetectioncpu__TensorsToDetectionsCalculator.min_score_thresh": detection_confidence,
                presence: tracking_confidence,
            },
            outputs=("pose_landmarks",),
            as_shipped=True,
        )

    def reset(self) -> None:
        """Forget every earlier frame."""
        self._graph.reset()

    def __call__(self, rgb: NDArray[np.uint8], timestamp_s: float) -> NDArray[np.float32] | None:
        """As BodyPose."""
        landmarks = self._graph.run({"image": self._graph.picture(rgb)}, timestamp_s).get("pose_landmarks")
        return None if _there(landmarks) is None else _keypoints(self._graph, landmarks)

    def close(self) -> None:
        self._graph.close()


def _keypoints(graph: _Graph, landmarks: Any) -> NDArray[np.float32]:
    return _numbers(graph.getter._get_serialized_proto(landmarks), POSE_POINTS, 5)[:, :4]


class Hands:
    """The bundled palm detector and the bundled full hand model, for two hands; frames of one clip in their order,
    ``reset`` before each clip. Some 8 ms a frame without a hand and 14 with one."""

    def __init__(self, detection_confidence: float, tracking_confidence: float) -> None:
        self._graph = _Graph(
            "hand_landmark/hand_landmark_tracking_cpu",
            side_inputs={"model_complexity": 1, "num_hands": 2, "use_prev_landmarks": True},
            thresholds={
                "palmdetectioncpu__TensorsToDetectionsCalculator.min_score_thresh": detection_confidence,
                "handlandmarkcpu__ThresholdingCalculator.threshold": tracking_confidence,
            },
            outputs=("multi_hand_landmarks", "multi_handedness"),
        )

    def reset(self) -> None:
        """Forget every earlier frame; the next clip gets the numbers that a new graph would give."""
        self._graph.reset()

    def __call__(self, rgb: NDArray[np.uint8], timestamp_s: float) -> list[tuple[float, NDArray[np.float32]]]:
        """``rgb`` (H, W, 3), contiguous -> per hand how likely it is the person's left one, and its points (21, 3): x and
        y in fractions of width and height, z in fractions of the width, zero at the wrist, negative towards the camera."""
        outputs = self._graph.run({"image": self._graph.picture(rgb)}, timestamp_s)
        hands = outputs.get("multi_hand_landmarks")
        if hands is None or hands.is_empty():
            return []
        from mediapipe.framework.formats.classification_pb2 import ClassificationList

        read = self._graph.getter._get_serialized_proto_list
        sides = [ClassificationList.FromString(side).classification[0] for side in read(outputs["multi_handedness"])]
        # The model was taught with pictures from front cameras, which are mirrored: its right is here the left.
        left = [side.score if side.label == "Right" else 1 - side.score for side in sides]
        points = [_numbers(message, HAND_POINTS, 3) for message in read(hands)]
        return list(zip(map(float, left), points, strict=True))

    def close(self) -> None:
        self._graph.close()


class BlendshapeModel:
    """The blendshape model of a face_landmarker.task file, alone: landmarks in, 52 scores out (about 1 ms each).

    The Tasks API runs it only behind its own mesh on a picture; its graph takes any landmarks. Raises
    BrokenTaskFile where the file is missing or holds no such model.
    """

    def __init__(self, task: Path) -> None:
        model = _blendshape_file(task)
        with _quiet():
            from mediapipe.framework import calculator_pb2
            from mediapipe.framework.formats import landmark_pb2
            from mediapipe.python import packet_creator, packet_getter
            from mediapipe.python._framework_bindings import image, image_frame, task_runner
            from mediapipe.tasks.cc.vision.face_landmarker.proto import face_blendshapes_graph_options_pb2 as proto

            graph = calculator_pb2.CalculatorGraphConfig()
            graph.input_stream.extend(["LANDMARKS:landmarks", "IMAGE:picture"])
            graph.output_stream.append("BLENDSHAPES:scores")
            size = graph.node.add(calculator="ImagePropertiesCalculator")
            size.input_stream.append("IMAGE:picture")
            size.output_stream.append("SIZE:size")
            node = graph.node.add(calculator="mediapipe.tasks.vision.face_landmarker.FaceBlendshapesGraph")
            node.input_stream.extend(["LANDMARKS:landmarks", "IMAGE_SIZE:size"])
            node.output_stream.append("BLENDSHAPES:scores")
            options = proto.FaceBlendshapesGraphOptions()
            options.base_options.model_asset.file_content = model
            node.options.Extensions[proto.FaceBlendshapesGraphOptions.ext].CopyFrom(options)
            self._runner: Any = task_runner.TaskRunner.create(graph)
            blank = image.Image(
                image_format=image_frame.ImageFormat.SRGB, data=np.zeros((_SQUARE, _SQUARE, 3), np.uint8)
            )
            self._picture: Any = packet_creator.create_image(blank)
        self._list, self._create, self._read = landmark_pb2.NormalizedLandmarkList, packet_creator, packet_getter

    def __call__(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """(T, 478, 2 or 3) landmarks, no NaN, in any one unit -> (T, 52) in [0, 1]."""
        found = np.empty((len(points), _SHAPES))
        for row, face in enumerate(points[:, :, :2]):
            low, high = face.min(axis=0), face.max(axis=0)
            inside = (face - low) / (high - low).max()
            message = self._list()
            for x, y in inside.tolist():
                message.landmark.add(x=x, y=y)
            packets = {"landmarks": self._create.create_proto(message), "picture": self._picture}
            scores = self._read.get_proto(self._runner.process(packets)["scores"]).classification
            found[row] = [score.score for score in scores]
        return found

    def close(self) -> None:
        self._runner.close()


class BrokenTaskFile(BemercError):
    """A .task file that cannot be used."""


def _blendshape_file(task: Path) -> bytes:
    try:
        with zipfile.ZipFile(task) as bundle:
            return bundle.read(_BLENDSHAPES)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise BrokenTaskFile(
            f"{task}: no blendshape model can be read from it ({error}); face.blendshapes wants MediaPipe's "
            "face_landmarker.task, or null for the network that comes with bemerc."
        ) from error


# ---------------------------------------------------------------------------------------------------------- the graphs

_BLENDSHAPES = "face_blendshapes.tflite"
_SHAPES = 52
_SQUARE = 1000  # the blendshape graph wants a picture's size; a square one leaves the points' proportions alone

# The mesh's belief in a face is computed inside the graph and dropped there; its stream can be watched by name.
_PRESENCE = "facelandmarkcpu__face_presence_score"


# Without it a graph hands every node to a thread of its own and waits: a mesh costs a quarter more then.
_ON_THIS_THREAD = 'executor { type: "ApplicationThreadExecutor" }'

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
_SILHOUETTE = 2  # which of the model's outputs it is
_BODY_GRAPH = """
input_stream: "image"
input_stream: "roi"
input_side_packet: "file"
input_side_packet: "enable_segmentation"
output_stream: "landmarks"
output_stream: "auxiliary"
node {
  calculator: "TfLiteModelCalculator"
  input_side_packet: "MODEL_BLOB:file"
  output_side_packet: "MODEL:model"
}
node {
  calculator: "ImageToTensorCalculator"
  input_stream: "IMAGE:image"
  input_stream: "NORM_RECT:roi"
  output_stream: "TENSORS:shown"
  output_stream: "LETTERBOX_PADDING:padding"
  options {
    [mediapipe.ImageToTensorCalculatorOptions.ext] {
      output_tensor_width: 256
      output_tensor_height: 256
      keep_aspect_ratio: true
      output_tensor_float_range { min: 0 max: 1 }
    }
  }
}
node {
  calculator: "InferenceCalculator"
  input_side_packet: "MODEL:model"
  input_stream: "TENSORS:shown"
  output_stream: "TENSORS:told"
  options { [mediapipe.InferenceCalculatorOptions.ext] { delegate { xnnpack {} } } }
}
node {
  calculator: "TensorsToPoseLandmarksAndSegmentation"
  input_side_packet: "ENABLE_SEGMENTATION:enable_segmentation"
  input_stream: "TENSORS:told"
  output_stream: "LANDMARKS:in_padded_roi"
  output_stream: "AUXILIARY_LANDMARKS:auxiliary_in_padded_roi"
}
node {
  calculator: "LandmarkLetterboxRemovalCalculator"
  input_stream: "LANDMARKS:in_padded_roi"
  input_stream: "LETTERBOX_PADDING:padding"
  output_stream: "LANDMARKS:in_roi"
}
node {
  calculator: "LandmarkProjectionCalculator"
  input_stream: "NORM_LANDMARKS:in_roi"
  input_stream: "NORM_RECT:roi"
  output_stream: "NORM_LANDMARKS:landmarks"
}
node {
  calculator: "LandmarkLetterboxRemovalCalculator"
  input_stream: "LANDMARKS:auxiliary_in_padded_roi"
  input_stream: "LETTERBOX_PADDING:padding"
  output_stream: "LANDMARKS:auxiliary_in_roi"
}
node {
  calculator: "LandmarkProjectionCalculator"
  input_stream: "NORM_LANDMARKS:auxiliary_in_roi"
  input_stream: "NORM_RECT:roi"
  output_stream: "NORM_LANDMARKS:auxiliary"
}
"""
_BODY_DETECTOR_GRAPH = """
input_stream: "image"
output_stream: "roi"
node {
  calculator: "ImagePropertiesCalculator"
  input_stream: "IMAGE_CPU:image"
  output_stream: "SIZE:size"
}
node {
  calculator: "PoseDetectionCpu"
  input_stream: "IMAGE:image"
  output_stream: "DETECTIONS:bodies"
}
node {
  calculator: "SplitDetectionVectorCalculator"
  input_stream: "bodies"
  output_stream: "body"
  options { [mediapipe.SplitVectorCalculatorOptions.ext] { ranges { begin: 0 end: 1 } element_only: true } }
}
node {
  calculator: "PoseDetectionToRoi"
  input_stream: "DETECTION:body"
  input_stream: "IMAGE_SIZE:size"
  output_stream: "ROI:roi"
}
"""
# What PoseLandmarkFiltering does to the two points that tell where to look next, at its own settings.
_BODY_FOLLOW_GRAPH = """
input_stream: "image"
input_stream: "auxiliary"
output_stream: "next"
node {
  calculator: "ImagePropertiesCalculator"
  input_stream: "IMAGE_CPU:image"
  output_stream: "SIZE:size"
}
node {
  calculator: "LandmarksToDetectionCalculator"
  input_stream: "NORM_LANDMARKS:auxiliary"
  output_stream: "DETECTION:now"
}
node {
  calculator: "AlignmentPointsRectsCalculator"
  input_stream: "DETECTION:now"
  input_stream: "IMAGE_SIZE:size"
  output_stream: "NORM_RECT:scale"
  options {
    [mediapipe.DetectionsToRectsCalculatorOptions.ext] {
      rotation_vector_start_keypoint_index: 0
      rotation_vector_end_keypoint_index: 1
      rotation_vector_target_angle_degrees: 90
    }
  }
}
node {
  calculator: "LandmarksSmoothingCalculator"
  input_stream: "NORM_LANDMARKS:auxiliary"
  input_stream: "IMAGE_SIZE:size"
  input_stream: "OBJECT_SCALE_ROI:scale"
  output_stream: "NORM_FILTERED_LANDMARKS:smooth"
  options {
    [mediapipe.LandmarksSmoothingCalculatorOptions.ext] {
      one_euro_filter { min_cutoff: 0.01 beta: 10 derivate_cutoff: 1 }
    }
  }
}
node {
  calculator: "PoseLandmarksToRoi"
  input_stream: "LANDMARKS:smooth"
  input_stream: "IMAGE_SIZE:size"
  output_stream: "ROI:next"
}
"""
_DETECTORS = {"near": "FaceDetectionShortRange", "far": "FaceDetectionFullRange"}
_ROOM = 1.5
# Samples are taken between two pixels; and parts of a frame begin where a converter's stride does (media.py).
_MARGIN_PX = 2
_GRID_PX = 32
_EYE_CORNERS = (33, 263)


class _Graph:
    """One of the wheel's graphs, by the name of its file or written out, driven through the same objects that
    ``mediapipe.solutions`` uses. ``as_shipped``: on MediaPipe's own threads, for comparisons."""

    def __init__(
        self,
        graph: str,
        *,
        side_inputs: Mapping[str, Any],
        thresholds: Mapping[str, float],
        outputs: Sequence[str],
        as_shipped: bool = False,
    ) -> None:
        with _quiet():
            # These register the message types that the graphs' options are written in.
            from google.protobuf import text_format  # type: ignore[import-untyped]
            from mediapipe.framework import calculator_pb2
            from mediapipe.framework.formats import rect_pb2
            from mediapipe.python import packet_creator, packet_getter, solution_base
            from mediapipe.python.solutions import face_detection, face_mesh, hands, pose  # noqa: F401

            config = calculator_pb2.CalculatorGraphConfig()
            if "node" in graph:
                text_format.Parse(graph, config)
            else:
                config.ParseFromString(_bundled(f"{graph}.binarypb"))
            if not as_shipped:
                text_format.Merge(_ON_THIS_THREAD, config)
            self._solution: Any = solution_base.SolutionBase(
                graph_config=config,
                side_inputs=side_inputs,
                calculator_params=thresholds,
                outputs=list(outputs),
                stream_type_hints={_PRESENCE: solution_base.PacketDataType.FLOAT},
            )
            self._solution._graph.wait_until_idle()  # it opens on threads of its own, and prints from there
        self.getter: Any = packet_getter._packet_getter
        self._create: Any = packet_creator
        self._rect: Any = rect_pb2.NormalizedRect
        self._format: Any = solution_base.image_frame.ImageFormat.SRGB
        self._start()

    def reset(self) -> None:
        with _quiet():
            self._solution.reset()
            self._solution._graph.wait_until_idle()
        self._start()

    def _start(self) -> None:
        self._time_us = -1
        self._chatty = True

    def picture(self, rgb: NDArray[np.uint8]) -> Any:
        """A packet that holds a picture, which must not change meanwhile; any graph takes it, any number of times."""
        shared = rgb.view()
        shared.flags.writeable = False  # what may be written to is copied
        return self._create.create_image_frame(shared, image_format=self._format)

    def rect(self, part: Rect) -> Any:
        """A packet that holds a part of a picture."""
        message = self._rect(
            x_center=part.x, y_center=part.y, width=part.width, height=part.height, rotation=part.angle
        )
        return self._create.create_proto(message)

    def run(self, packets: Mapping[str, Any], timestamp_s: float = 0.0) -> Mapping[str, Any]:
        """The packets that came out for these, by stream name."""
        outputs: dict[str, Any] = self._solution._graph_outputs
        outputs.clear()
        # The graph refuses a time that does not grow, which broken files do hold; a graph without memory has no use for it.
        self._time_us = max(round(timestamp_s * 1e6), self._time_us + 1)
        with _quiet() if self._chatty else contextlib.nullcontext():
            for stream, packet in packets.items():
                self._solution._graph.add_packet_to_input_stream(stream, packet.at(self._time_us))
            self._solution._graph.wait_until_idle()
        self._chatty = self._chatty and not outputs
        return outputs

    def close(self) -> None:
        self._solution.close()


def _numbers(message: bytes, points: int, fields: int) -> NDArray[np.float32]:
    """A serialised list of landmarks -> (points, fields) float32.

    Each is 0a, its length, and per field a tag and a little-endian float: read at once, this costs a sixth of asking
    the parsed message point by point.
    """
    record = 2 + 5 * fields
    raw = np.frombuffer(message, np.uint8)
    assert raw.size == points * record, f"{raw.size} bytes for {points} landmarks with {fields} fields"
    floats = np.add.outer(np.arange(3, record, 5), np.arange(4)).ravel()
    return np.ascontiguousarray(raw.reshape(points, record)[:, floats]).view("<f4").astype(np.float32, copy=False)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Send what the C++ side prints at start-up to nowhere: no variable stops it, and each reset repeats it."""
    sys.stderr.flush()
    kept, sink = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(sink)
