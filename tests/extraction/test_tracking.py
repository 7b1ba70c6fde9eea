"""Track numbers out of places: who keeps a number, who gets a new one. And cuts, from small pictures."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from bemerc.extraction.face.shots import ShotDetector, thumbnail
from bemerc.extraction.face.tracking import ActiveTracks, is_same_face, overlap
from bemerc.extraction.networks import Rect


def at(x: float, y: float = 0.5, size: float = 0.2) -> Rect:
    return Rect(x, y, size, size)


def test_a_face_that_walks_through_the_picture_keeps_its_number() -> None:
    tracks = ActiveTracks(4)
    walker, sitter = tracks.start(at(0.1, 0.7), 0.0), tracks.start(at(0.5, 0.2, 0.1), 0.0)
    assert walker is not None
    assert sitter is not None
    for step in range(1, 20):
        assert tracks.update(tracks.active[0], at(0.1 + 0.04 * step, 0.7), step / 25)
        assert tracks.update(tracks.active[1], at(0.5, 0.2, 0.1), step / 25)
    assert [track.number for track in tracks.active] == [walker.number, sitter.number]


def test_a_face_that_was_hidden_gets_its_number_back_and_a_new_one_does_not() -> None:
    tracks = ActiveTracks(4)
    first = tracks.start(at(0.3), 0.0)
    assert first is not None
    tracks.lose(first)
    assert tracks.active == ()
    assert tracks.recently_lost(0.4)
    back = tracks.start(at(0.33), 0.5)
    assert back is not None
    assert back.number == first.number
    tracks.lose(back)
    elsewhere = tracks.start(at(0.8), 0.6)
    late = tracks.start(at(0.33), 10.0)
    assert elsewhere is not None
    assert late is not None
    assert len({first.number, elsewhere.number, late.number}) == 3


def test_a_cut_ends_every_track() -> None:
    tracks = ActiveTracks(4)
    before = tracks.start(at(0.3), 0.0)
    tracks.end_all()
    after = tracks.start(at(0.3), 0.04)
    assert before is not None
    assert after is not None
    assert after.number != before.number
    assert not tracks.recently_lost(0.04)


def test_no_place_is_followed_twice_and_no_more_than_asked_for() -> None:
    tracks = ActiveTracks(2)
    assert tracks.start(at(0.3), 0.0) is not None
    assert tracks.start(at(0.32), 0.0) is None
    assert tracks.untracked([at(0.31), at(0.7), at(0.72)]) == [at(0.7)]
    second = tracks.start(at(0.7), 0.0)
    assert second is not None
    assert tracks.full
    assert tracks.start(at(0.5, 0.1), 0.0) is None
    assert not tracks.update(second, at(0.34), 0.04), "the mesh has slipped onto the first face"
    assert [track.number for track in tracks.active] == [0]


def test_a_leap_is_another_face() -> None:
    tracks = ActiveTracks(1)
    first = tracks.start(at(0.2), 0.0)
    assert first is not None
    assert not tracks.update(first, at(0.6), 0.04)
    second = tracks.start(at(0.6), 0.04)
    assert second is not None
    assert second.number != first.number


@pytest.mark.parametrize(
    ("other", "one"),
    [
        (at(0.52), True),
        (at(0.62, size=0.18), False),
        (at(0.75), False),
        (at(0.5, 0.52, 0.08), True),
        (at(0.58, 0.44, 0.06), False),
    ],
    ids=["beside itself", "the neighbour", "farther", "a nose", "somebody behind the shoulder"],
)
def test_places_that_are_one_face(other: Rect, one: bool) -> None:
    assert is_same_face(at(0.5), other) is one
    assert is_same_face(other, at(0.5)) is one
    assert 0 <= overlap(at(0.5), other) <= 1 + 1e-9


# ---------------------------------------------------------------------------------------------------------------- cuts


def room(seed: int, size: tuple[int, int] = (360, 640)) -> NDArray[np.float64]:
    """A wall with things on it: blocks of random colours."""
    blocks = np.random.default_rng(seed).uniform(30, 220, (9, 16, 3))
    return np.kron(blocks, np.ones((size[0] // 9, size[1] // 16, 1)))


def with_person(picture: NDArray[np.float64], x: int, width: int = 160) -> NDArray[np.uint8]:
    shown = picture.copy()
    shown[60:, max(0, x) : x + width] = (200, 160, 130)
    return shown.astype(np.uint8)


def cuts(pictures: list[NDArray[np.uint8]]) -> list[int]:
    detector = ShotDetector()
    return [i for i, picture in enumerate(pictures) if detector(picture)]


def test_a_cut_is_found_and_movement_is_none() -> None:
    here, there = room(1), room(2)
    walk = [with_person(here, 20 * step) for step in range(20)]
    assert cuts([*walk, *(with_person(there, 300) for _ in range(10)), *walk[:5]]) == [20, 30]


def test_a_view_is_known_again() -> None:
    detector, views = ShotDetector(), []
    for place, x in ((1, 100), (2, 300), (1, 160), (3, 100), (2, 280)):
        for step in range(5):
            detector(with_person(room(place), x + 4 * step))
        views.append((detector.shot, detector.view))
    assert views == [(0, 0), (1, 1), (2, 0), (3, 3), (4, 1)]


def test_neither_light_nor_a_pan_nor_noise_is_a_cut() -> None:
    here, rng = room(3, (360, 1280)), np.random.default_rng(0)
    light = [(here * (0.4 if 5 <= i < 8 else 1.0)).astype(np.uint8) for i in range(12)]
    assert cuts(light) == []
    pan = [np.ascontiguousarray(here[:, 24 * i : 24 * i + 640]).astype(np.uint8) for i in range(25)]
    assert cuts(pan) == []
    dark = [np.clip(here * 0.05 + rng.normal(0, 4, here.shape), 0, 255).astype(np.uint8) for _ in range(12)]
    assert cuts(dark) == []


def test_a_blank_frame_is_a_shot_of_its_own() -> None:
    blank = np.full((360, 640, 3), 255, np.uint8)
    assert cuts([with_person(room(1), 100)] * 3 + [blank] * 2 + [with_person(room(1), 100)] * 2) == [3, 5]


@pytest.mark.parametrize("size", [(48, 64), (37, 51), (1080, 1920), (8, 8)])
def test_any_frame_becomes_as_small(size: tuple[int, int]) -> None:
    picture = np.full((*size, 3), 77, np.uint8)
    assert thumbnail(picture).shape == (12, 16, 3)
    assert (thumbnail(picture) == 77).all()
