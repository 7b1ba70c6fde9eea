"""The only package that touches mediapipe: its bundled models of face, body and hands, frame in, numpy array out.

mediapipe 0.10.21 is the last release whose wheel carries its models; from 0.10.30 on there is only the Tasks API with
files that the user downloads. Keeping the graphs behind a few small classes makes that move one folder. The ``solutions``
API would do, but it builds a class per frame, hides the mesh's own confidence, and pretends that every video has 30
frames per second; here the same graphs are driven directly, with true timestamps, and answer with arrays.
"""

from bemerc.extraction.networks.blendshape_model import BlendshapeModel, BrokenTaskFile
from bemerc.extraction.networks.body_models import POSE_POINTS, BodyGraph, BodyPose
from bemerc.extraction.networks.face_models import MESH_POINTS, FaceMesh, FaceModels, Found, rect_around
from bemerc.extraction.networks.graph import RELEASE, WHOLE, Rect
from bemerc.extraction.networks.hand_models import HAND_POINTS, Hands

__all__ = [
    "HAND_POINTS",
    "MESH_POINTS",
    "POSE_POINTS",
    "RELEASE",
    "WHOLE",
    "BlendshapeModel",
    "BodyGraph",
    "BodyPose",
    "BrokenTaskFile",
    "FaceMesh",
    "FaceModels",
    "Found",
    "Hands",
    "Rect",
    "rect_around",
]
