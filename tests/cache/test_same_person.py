"""Whose body: rows of a pose that belong to the chosen face, and rows that do not."""

from __future__ import annotations

import numpy as np
import pytest

from bemerc.cache import Features
from bemerc.cache.same_person import is_other_person


def face(x: list[float]) -> Features:
    rows = np.column_stack([x, np.full(len(x), 0.4), np.full(len(x), 0.2)]).astype(np.float32)
    return Features(rows, np.arange(len(x)) / 25, ("face_x", "face_y", "face_size"))


def pose(x: list[float], step: int = 2) -> Features:
    rows = np.column_stack([x, np.full(len(x), 0.45)]).astype(np.float32)
    return Features(rows, np.arange(len(x)) * step / 25, ("nose_x", "nose_y"))


def test_each_row_is_judged_at_its_own_time() -> None:
    other = is_other_person(face([0.2] * 4 + [0.8] * 4 + [np.nan] * 2), pose([0.25, 0.7, 0.75, 0.2, 0.2]))
    np.testing.assert_array_equal(other, [0, 1, 0, 1, np.nan])


@pytest.mark.parametrize("names", [("face_x", "face_y"), ("AU12_r", "quality", "yaw")])
def test_without_places_nobody_can_tell(names: tuple[str, ...]) -> None:
    body = Features(np.zeros((5, len(names)), np.float32), np.arange(5) / 25, names)
    assert np.isnan(is_other_person(body, pose([0.2, 0.2]))).all()
    assert np.isnan(is_other_person(face([]), pose([0.2]))).all()
