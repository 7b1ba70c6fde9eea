"""MediaPipe's bundled body detector and its full pose model."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bemerc.extraction.networks.graph import Graph, bundled, numbers, packet_or_none
from bemerc.extraction.networks.prune_tflite import without_output

POSE_POINTS = 33

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
  output_stream: "TENSORS:outputs"
  options { [mediapipe.InferenceCalculatorOptions.ext] { delegate { xnnpack {} } } }
}
node {
  calculator: "TensorsToPoseLandmarksAndSegmentation"
  input_side_packet: "ENABLE_SEGMENTATION:enable_segmentation"
  input_stream: "TENSORS:outputs"
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
# What PoseLandmarkFiltering does to the two points that give the next region, at its own settings.
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


class BodyPose:
    """The full pose model, for one person; frames of one clip in their order, ``reset`` before each clip.

    Its output equals that of MediaPipe's own graph (fits.mediapipe_graphs.BodyGraph), bit for bit, in half of the time: the model's
    silhouette is left out (prune_tflite.py); and since a graph that is reset loads its models anew, 30 ms, the models
    are in stateless graphs, and a small one without models keeps the body's place. The smoothing of keypoints is off:
    at 8 frames per second it lags behind gestures by several frames.
    """

    def __init__(self, detection_confidence: float, tracking_confidence: float) -> None:
        model = without_output(bundled("pose_landmark/pose_landmark_full.tflite"), _SILHOUETTE)
        flag = "tensorstoposelandmarksandsegmentation__ThresholdingCalculator.threshold"
        self._body = Graph(
            _BODY_GRAPH,
            side_inputs={"file": model, "enable_segmentation": False},
            thresholds={flag: tracking_confidence},
            outputs=("landmarks", "auxiliary"),
        )
        detector = "posedetectioncpu__TensorsToDetectionsCalculator.min_score_thresh"
        self._detector = Graph(
            _BODY_DETECTOR_GRAPH, side_inputs={}, thresholds={detector: detection_confidence}, outputs=("roi",)
        )
        self._follow = Graph(_BODY_FOLLOW_GRAPH, side_inputs={}, thresholds={}, outputs=("next",))
        self._roi: Any = None

    def reset(self) -> None:
        """Forget every earlier frame; the next clip gets the numbers that a new graph would give (bit-equal)."""
        self._follow.reset()
        self._roi = None

    def __call__(self, rgb: NDArray[np.uint8], timestamp_s: float) -> NDArray[np.float32] | None:
        """``rgb`` (H, W, 3), contiguous -> keypoints (33, 4) float32, or None where no body was detected.

        x and y are fractions of width and height; z is in fractions of the width, zero at the hips, negative towards
        the camera; visibility in [0, 1].
        """
        picture = self._body.picture(rgb)
        if self._roi is None:
            self._roi = packet_or_none(self._detector.run({"image": picture}).get("roi"))
            if self._roi is None:
                return None
        outputs = self._body.run({"image": picture, "roi": self._roi})
        landmarks = packet_or_none(outputs.get("landmarks"))
        if landmarks is None:
            self.reset()
            return None
        # The region is smoothed over time, so this graph gets the true timestamp.
        following = self._follow.run({"image": picture, "auxiliary": outputs["auxiliary"]}, timestamp_s)
        self._roi = packet_or_none(following.get("next"))
        # MediaPipe's graph turns fractions into pixels and back, filter or not: the last bit depends on it.
        size = np.array([rgb.shape[1], rgb.shape[0], rgb.shape[1], 1], np.float32)
        return keypoints_of(self._body, landmarks) * size / size

    def close(self) -> None:
        for graph in (self._body, self._detector, self._follow):
            graph.close()


def keypoints_of(graph: Graph, landmarks: Any) -> NDArray[np.float32]:
    """A packet of landmarks -> (33, 4) float32."""
    return numbers(graph.getter._get_serialized_proto(landmarks), POSE_POINTS, 5)[:, :4]
