"""Parts of the picture as people write them: left, right, or four fractions."""

from __future__ import annotations

import math
import re

from bemerc.core.terminal import printable

# left, top, right, bottom as fractions of the frame.
Crop = tuple[float, float, float, float]
CROPS: dict[str, Crop] = {"left": (0.0, 0.0, 0.5, 1.0), "right": (0.5, 0.0, 1.0, 1.0)}
# At 16 pixels no face was found of two people who fill their part of the picture, at 20 one in 20 of 48 pictures.
SMALLEST_PX = 20


def size_fault(crop: Crop, width: int, height: int) -> str:
    """Why nothing can be measured in this part of a picture of width x height pixels; "" where it is large enough."""
    left, top, right, bottom = crop
    across, down = round((right - left) * width), round((bottom - top) * height)
    if min(across, down) >= SMALLEST_PX:
        return ""
    return (
        f"it is {across}x{down} of the {width}x{height} pixels of the picture. The smallest is {SMALLEST_PX}x{SMALLEST_PX}, "
        "since in a smaller one no face is found."
    )


def read_crop(written: str, faults: list[str], column: str = "crop") -> Crop | None:
    """A cell as a crop; None where it is blank, and where it is none: then a sentence is added to ``faults``."""
    words = re.split(r"[\s;]+", written.strip().lower())
    if words == [""]:
        return None
    if len(words) == 1 and words[0] in CROPS:
        return CROPS[words[0]]
    if len(words) != 4:
        words = re.split(r"[\s,;]+", written.strip())
    try:
        left, top, right, bottom = (float(word.replace(",", ".")) for word in words)
    except ValueError:
        left = top = right = bottom = math.nan
    if 0 <= left < right <= 1 and 0 <= top < bottom <= 1:
        return left, top, right, bottom
    faults.append(
        f"{column} must be left, right, or four fractions 'left top right bottom' with 0 <= left < right <= 1, "
        f"not '{printable(written, 40)}'."
    )
    return None
