"""The blendshape model of a face_landmarker.task, which the user gives."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bemerc.core.errors import BemercError
from bemerc.extraction.networks.graph import quiet

_BLENDSHAPES = "face_blendshapes.tflite"
_SHAPES = 52
_SQUARE = 1000  # the blendshape graph wants a picture's size; a square one leaves the points' proportions alone


class BlendshapeModel:
    """The blendshape model of a face_landmarker.task file, alone: landmarks in, 52 scores out (about 1 ms each).

    The Tasks API runs it only behind its own mesh on a picture; its graph takes any landmarks. Raises
    BrokenTaskFile where the file is missing or holds no such model.
    """

    def __init__(self, task: Path) -> None:
        model = _blendshape_file(task)
        with quiet():
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
        result = np.empty((len(points), _SHAPES))
        for row, face in enumerate(points[:, :, :2]):
            low, high = face.min(axis=0), face.max(axis=0)
            unit = (face - low) / (high - low).max()
            message = self._list()
            for x, y in unit.tolist():
                message.landmark.add(x=x, y=y)
            packets = {"landmarks": self._create.create_proto(message), "picture": self._picture}
            scores = self._read.get_proto(self._runner.process(packets)["scores"]).classification
            result[row] = [score.score for score in scores]
        return result

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
