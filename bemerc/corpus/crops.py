"""Parts of the picture as people write them: left, right, or four fractions."""

from __future__ import annotations

import math
import re

from bemerc.core.terminal import printable

# left, top, right, bottom as fractions of the frame.
Crop = tuple[float, float, float, float]
CROPS: dict[str, Crop] = {"left": (0.0, 0.0, 0.5, 1.0), "right": (0.5, 0.0, 1.0, 1.0)}


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
