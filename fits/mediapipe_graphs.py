"""MediaPipe's own tracking graphs of face and body, as references for fits, benchmarks and tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bemerc.extraction.networks import MESH_POINTS
from bemerc.extraction.networks.body_models import keypoints_of
from bemerc.extraction.networks.graph import PRESENCE, Graph, numbers, packet_or_none


class FaceMesh:
    """MediaPipe's own graph of short-range detector and mesh, for one face; frames of one clip in their order,
    ``reset`` before each clip. For benchmarks: what is extracted comes by way of FaceModels."""

    def __init__(self, detection_confidence: float, tracking_confidence: float) -> None:
        detector = "facedetectionshortrangecpu__facedetectionshortrange__facedetection__TensorsToDetectionsCalculator"
        self._graph = Graph(
            "face_landmark/face_landmark_front_cpu",
            side_inputs={"num_faces": 1, "with_attention": True, "use_prev_landmarks": True},
            thresholds={
                f"{detector}.min_score_thresh": detection_confidence,
                "facelandmarkcpu__ThresholdingCalculator.threshold": tracking_confidence,
            },
            outputs=("multi_face_landmarks", PRESENCE),
            as_shipped=True,
        )

    def reset(self) -> None:
        """Forget every earlier frame; the next clip gets the numbers that a new graph would give (bit-equal)."""
        self._graph.reset()

    def __call__(self, rgb: NDArray[np.uint8], timestamp_s: float) -> tuple[NDArray[np.float32], float] | None:
        """``rgb`` (H, W, 3), contiguous -> landmarks (478, 3) float32 and presence, or None where no face was detected.

        x and y are fractions of width and height, x growing to the image's right and y down; z is in fractions of
        the width, grows away from the camera and is zero near the head's centre. presence in [0, 1] is the mesh
        model's own confidence that there is a face; below the tracking confidence the result is None.
        """
        outputs = self._graph.run({"image": self._graph.picture(rgb)}, timestamp_s)
        faces = outputs.get("multi_face_landmarks")
        if faces is None or faces.is_empty():
            return None
        message = self._graph.getter._get_serialized_proto_list(faces)[0]
        return numbers(message, MESH_POINTS, 3), float(self._graph.getter.get_float(outputs[PRESENCE]))

    def close(self) -> None:
        self._graph.close()


class BodyGraph:
    """MediaPipe's own graph of body detector and full pose model, with its smoothing off. For benchmarks and the test
    that BodyPose is equal."""

    def __init__(self, detection_confidence: float, tracking_confidence: float) -> None:
        presence = "poselandmarkbyroicpu__tensorstoposelandmarksandsegmentation__ThresholdingCalculator.threshold"
        self._graph = Graph(
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
        return None if packet_or_none(landmarks) is None else keypoints_of(self._graph, landmarks)

    def close(self) -> None:
        self._graph.close()
