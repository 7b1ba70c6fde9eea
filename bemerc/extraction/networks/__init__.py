"""MediaPipe's models of face, body and hands on LiteRT: frame in, array out. Only this package runs them.

The models are files of the package (models/models.json names their sources); what MediaPipe's graphs do around them
(crops, anchors, non-maximum suppression, the region of the next frame) is done here in numpy and OpenCV. MediaPipe's
own releases carry no models any more, and its Tasks API follows faces by itself without ever saying which is which.
"""

from bemerc.extraction.networks.body import POSE_POINTS, BodyPose
from bemerc.extraction.networks.face import BLENDSHAPES, MESH_POINTS, Blendshapes
from bemerc.extraction.networks.face_models import MARGIN, FaceDetection, FaceModels, rect_around
from bemerc.extraction.networks.hands import HAND_POINTS, Hands
from bemerc.extraction.networks.regions import WHOLE, Rect
from bemerc.extraction.networks.runtime import BrokenTaskFile

__all__ = [
    "BLENDSHAPES",
    "HAND_POINTS",
    "MARGIN",
    "MESH_POINTS",
    "POSE_POINTS",
    "WHOLE",
    "Blendshapes",
    "BodyPose",
    "BrokenTaskFile",
    "FaceDetection",
    "FaceModels",
    "Hands",
    "Rect",
    "rect_around",
]
