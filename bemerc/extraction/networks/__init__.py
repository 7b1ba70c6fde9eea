"""MediaPipe's bundled models of face, body and hands: frame in, array out. Only this package imports mediapipe.

mediapipe 0.10.21 is the last release whose wheel contains its models; from 0.10.30 on there is only the Tasks API with
files that the user downloads. Its graphs are driven directly, with true timestamps: the ``solutions`` API builds a
class per frame, hides the mesh's confidence, and assumes that every video has 30 frames per second.
"""

from bemerc.extraction.networks.blendshape_model import BlendshapeModel, BrokenTaskFile
from bemerc.extraction.networks.body_models import POSE_POINTS, BodyPose
from bemerc.extraction.networks.face_models import MESH_POINTS, FaceDetection, FaceModels, rect_around
from bemerc.extraction.networks.graph import RELEASE, WHOLE, Rect
from bemerc.extraction.networks.hand_models import HAND_POINTS, Hands

__all__ = [
    "HAND_POINTS",
    "MESH_POINTS",
    "POSE_POINTS",
    "RELEASE",
    "WHOLE",
    "BlendshapeModel",
    "BodyPose",
    "BrokenTaskFile",
    "FaceDetection",
    "FaceModels",
    "Hands",
    "Rect",
    "rect_around",
]
