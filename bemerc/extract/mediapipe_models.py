"""The only module that touches mediapipe: its bundled face mesh and body pose, frame in, numpy array out.

mediapipe 0.10.21 is the last release whose wheel carries its models; from 0.10.30 on there is only the Tasks API with
files that the user downloads. Keeping both graphs behind two small classes makes that move one file. The ``solutions``
API would do, but it builds a class per frame, hides the mesh's own confidence, and pretends that every video has 30
frames per second; here the same graphs are driven directly, with true timestamps, and answer with arrays.
"""

from __future__ import annotations

import contextlib
import os
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bemerc.errors import BemercError

RELEASE = "0.10.21"
MESH_POINTS = 478
POSE_POINTS = 33


class FaceMesh:
    """The bundled face mesh with irises, for one face; frames of one clip in their order, ``reset`` before each clip.

    Between frames the graph follows the face from its last position and runs its detector only when it lost it: that
    is what makes a frame cost under 2 ms, and why the state must be put back between clips.
    """

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
        outputs = self._graph.run(rgb, timestamp_s)
        faces = outputs.get("multi_face_landmarks")
        if faces is None or faces.is_empty():
            return None
        message = self._graph.getter._get_serialized_proto_list(faces)[0]
        return _numbers(message, MESH_POINTS, 3), float(self._graph.getter.get_float(outputs[_PRESENCE]))

    def close(self) -> None:
        self._graph.close()


class BodyPose:
    """The bundled full pose model, for one person; frames of one clip in their order, ``reset`` before each clip.

    The graph's own smoothing is off: at 8 frames per second it lags behind gestures by several frames.
    """

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
        )

    def reset(self) -> None:
        """Forget every earlier frame; the next clip gets the numbers that a new graph would give (bit-equal)."""
        self._graph.reset()

    def __call__(self, rgb: NDArray[np.uint8], timestamp_s: float) -> NDArray[np.float32] | None:
        """``rgb`` (H, W, 3), contiguous -> keypoints (33, 4) float32, or None where nobody was seen.

        x and y are fractions of width and height; z is in fractions of the width, zero at the hips, negative towards
        the camera; visibility in [0, 1].
        """
        landmarks = self._graph.run(rgb, timestamp_s).get("pose_landmarks")
        if landmarks is None or landmarks.is_empty():
            return None
        return _numbers(self._graph.getter._get_serialized_proto(landmarks), POSE_POINTS, 5)[:, :4]

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


class _Graph:
    """One of the wheel's graphs, driven through the same objects that ``mediapipe.solutions`` uses."""

    def __init__(
        self,
        name: str,
        *,
        side_inputs: Mapping[str, Any],
        thresholds: Mapping[str, float],
        outputs: Sequence[str],
    ) -> None:
        with _quiet():
            # These two register the message types that the graphs' options are written in.
            from mediapipe.python import packet_creator, packet_getter, solution_base
            from mediapipe.python.solutions import face_mesh, pose  # noqa: F401

            self._solution: Any = solution_base.SolutionBase(
                binary_graph_path=f"mediapipe/modules/{name}.binarypb",
                side_inputs=side_inputs,
                calculator_params=thresholds,
                outputs=list(outputs),
                stream_type_hints={_PRESENCE: solution_base.PacketDataType.FLOAT},
            )
            self._solution._graph.wait_until_idle()  # it opens on threads of its own, and prints from there
        self.getter: Any = packet_getter._packet_getter
        self._packet: Any = packet_creator.create_image_frame
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

    def run(self, rgb: NDArray[np.uint8], timestamp_s: float) -> Mapping[str, Any]:
        """The packets that came out for this frame, by stream name."""
        outputs: dict[str, Any] = self._solution._graph_outputs
        outputs.clear()
        # The graph refuses a time that does not grow, which broken files do hold.
        self._time_us = max(round(timestamp_s * 1e6), self._time_us + 1)
        with _quiet() if self._chatty else contextlib.nullcontext():
            packet = self._packet(rgb, image_format=self._format).at(self._time_us)
            self._solution._graph.add_packet_to_input_stream("image", packet)
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
