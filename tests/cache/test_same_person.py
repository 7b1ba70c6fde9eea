"""Whose body: rows of a pose that belong to the chosen face, and rows that do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bemerc.behavior.describe.run import read_clip
from bemerc.cache import Choice, Features, Head, Rows, TrackSpan, open_cache, same_person, write_cache
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


@pytest.mark.parametrize(("x", "left"), [([0.7] * 4, 0), ([0.7, 0.7, 0.2, 0.7], 1), ([np.nan] * 4, 0)])
def test_a_body_that_is_all_anothers_is_no_absent_body(tmp_path: Path, x: list[float], left: int) -> None:
    choice = Choice("speaking", "speaking", 2, 0.9, False, (TrackSpan(0, 8, 0, 0.9, 2),))
    files = {}
    for kind, rows, choices in (("face", face([0.2] * 8), {"a": choice}), ("pose", pose(x), {})):
        files[kind] = tmp_path / f"{kind}.h5"
        write_cache(files[kind], Head(kind, rows.columns, "clip", "x/1", {}), Rows([("a", rows, 0.32, None)], choices=choices))  # fmt: skip
    with open_cache(files["face"]) as faces, open_cache(files["pose"]) as bodies:
        clip, reasons = read_clip({"face": faces, "pose": bodies}, "a")
    others = bool(np.isfinite(x).any()) and not left
    assert ("pose" in clip, reasons.get("pose")) == (not others, same_person.OTHER_PERSON if others else None)
    assert others or np.isfinite(clip["pose"].values[:, 0]).sum() == left
