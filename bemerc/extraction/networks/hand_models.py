"""MediaPipe's bundled palm detector and its full hand model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bemerc.extraction.networks.graph import Graph, numbers

HAND_POINTS = 21


class Hands:
    """The bundled palm detector and the bundled full hand model, for two hands; frames of one clip in their order,
    ``reset`` before each clip. Some 8 ms a frame without a hand and 14 with one."""

    def __init__(self, detection_confidence: float, tracking_confidence: float) -> None:
        self._graph = Graph(
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
        """``rgb`` (H, W, 3), contiguous -> per hand the probability that it is the person's left one, and its points
        (21, 3): x and y in fractions of width and height, z in fractions of the width, zero at the wrist, negative
        towards the camera."""
        outputs = self._graph.run({"image": self._graph.picture(rgb)}, timestamp_s)
        hands = outputs.get("multi_hand_landmarks")
        if hands is None or hands.is_empty():
            return []
        from mediapipe.framework.formats.classification_pb2 import ClassificationList

        read = self._graph.getter._get_serialized_proto_list
        sides = [ClassificationList.FromString(side).classification[0] for side in read(outputs["multi_handedness"])]
        # The model was trained on mirrored frames of front cameras: its right is the left here.
        left = [side.score if side.label == "Right" else 1 - side.score for side in sides]
        points = [numbers(message, HAND_POINTS, 3) for message in read(hands)]
        return list(zip(map(float, left), points, strict=True))

    def close(self) -> None:
        self._graph.close()
