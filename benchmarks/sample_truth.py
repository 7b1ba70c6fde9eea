"""What the clips of the synthetic corpus were made to show, frame by frame, as truth.h5 beside them holds it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from bemerc.core.errors import CorpusError


@dataclass(frozen=True)
class Intensities:
    """The truth of one clip: units (T, len(unit_names)), 0 to about 1, and body (T, len(body_names)), both float32.

    Body as the picture shows it: pitch + nods down, yaw + turns to the image's right, roll + tilts clockwise (degrees);
    gaze + looks right and down; lean + comes nearer; slump, shrug, sway, tilt and head position in shares of our own.
    """

    units: NDArray[np.float32]
    body: NDArray[np.float32]
    unit_names: tuple[str, ...]
    body_names: tuple[str, ...]

    def unit(self, name: str) -> NDArray[np.float32]:
        """One unit's intensity per frame, (T,)."""
        return self.units[:, self.unit_names.index(name)]


def read_intensities(out: Path) -> dict[str, Intensities]:
    """truth.h5 by utterance id. For checks only: nothing of it may reach a model."""
    if not (out / "truth.h5").exists():
        raise CorpusError("there is no sample here. Run 'bemerc sample' first.", path=out, missing=True)
    with h5py.File(out / "truth.h5", "r") as file:
        units, body, offsets = file["units"][()], file["body"][()], file["offsets"][()]
        ids, unit_names, body_names = (tuple(file[key].asstr()[()]) for key in ("ids", "unit_names", "body_names"))
    parts = pairwise(offsets)
    return {
        key: Intensities(units[a:b], body[a:b], unit_names, body_names) for key, (a, b) in zip(ids, parts, strict=True)
    }
