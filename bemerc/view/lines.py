"""The lines that stand for a person in pictures: landmarks of the face mesh, bones of the body, fingers of a hand."""

from __future__ import annotations

# Landmarks of the mesh's lines: face oval, brows, eyes, irises, nose, lips.
_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149,
    150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109, 10,
)  # fmt: skip
LINES = (
    _OVAL,
    (46, 53, 52, 65, 55, 107, 66, 105, 63, 70, 46),
    (276, 283, 282, 295, 285, 336, 296, 334, 293, 300, 276),
    (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7, 33),
    (263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249, 263),
    (469, 470, 471, 472, 469),
    (474, 475, 476, 477, 474),
    (168, 6, 197, 195, 5, 4),
    (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146, 61),
    (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95, 78),
)
BONES = (
    ("left_shoulder", "right_shoulder"),
    ("left_shoulder", "left_elbow"),
    ("left_elbow", "left_wrist"),
    ("right_shoulder", "right_elbow"),
    ("right_elbow", "right_wrist"),
    ("left_shoulder", "left_hip"),
    ("right_shoulder", "right_hip"),
    ("left_hip", "right_hip"),
)
POINT = ("x", "y", "visibility")
FINGERS = tuple((0, *range(first, first + 4)) for first in (1, 5, 9, 13, 17))
