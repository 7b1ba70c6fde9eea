"""The picture of one utterance: what is in the caches shows in it, and what is not is said instead of drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bemerc import picture
from bemerc.cache import Features, write_cache
from bemerc.errors import CacheError
from bemerc.extract import pose
from tests.test_hands import hand

COLUMNS = pose.columns(pose.Params(hands=True))


def body(*, hands: bool) -> Features:
    """Eight frames of a body of which nothing is visible but, where asked for, an open left hand."""
    values = np.full((8, len(COLUMNS)), np.nan, np.float32)
    values[:, [i for i, name in enumerate(COLUMNS) if name.endswith("_visibility")]] = 0.0
    if hands:
        first = COLUMNS.index("left_hand_00_x")
        values[:, first : first + 63] = hand(100, 60).ravel()
    return Features(values, np.arange(8) / 8, COLUMNS)


def drawn(path: Path, features: Features) -> bytes:
    picture.draw("a", picture.Shown({"pose": features}), None, path)
    return path.read_bytes()


def test_hands_are_drawn_where_they_were_measured(tmp_path: Path) -> None:
    bare = drawn(tmp_path / "bare.png", body(hands=False))
    assert bare.startswith(b"\x89PNG")
    assert drawn(tmp_path / "again.png", body(hands=False)) == bare
    assert drawn(tmp_path / "hands.png", body(hands=True)) != bare


def test_where_there_is_nothing_to_draw_the_reason_is_told_once(tmp_path: Path) -> None:
    write_cache(
        tmp_path / "pose.h5",
        modality="pose",
        columns=COLUMNS,
        rate=8.0,
        extractor="x/1",
        params={},
        clips=[],
        failures={"a": "The clip is empty (0 bytes)."},
    )
    with pytest.raises(CacheError, match=r"^Of 'a' there is nothing to draw\. Pose: The clip is empty \(0 bytes\)\.$"):
        picture.save("a", {"pose": tmp_path / "pose.h5"}, tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()
