"""Faces found and followed in pictures made on the spot, and the choice among them through a worker, as a user runs it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from bemerc.cache import open_cache
from bemerc.extraction.face import extractor
from bemerc.extraction.face.detection import FaceTracker, tiles
from bemerc.extraction.jobs import Job, extractor_spec
from bemerc.extraction.networks import FaceModels, Rect
from bemerc.extraction.run import run
from bemerc.media.frame_view import ArrayFrame, Box
from bemerc.sample.clip import write_clip
from bemerc.sample.looks import looks
from bemerc.sample.portrait import Sitter
from bemerc.sample.recipes import BODY_NAMES, UNIT_NAMES

Picture = NDArray[np.uint8]
FPS, RATE_HZ = 25, 16_000


@pytest.fixture(scope="module")
def tracker() -> FaceTracker:
    return FaceTracker(4, 0.5, 0.5)


def person(who: int, side: int, open_mouth: float = 0.0) -> Picture:
    units = dict.fromkeys(UNIT_NAMES, 0.0) | {"AU25": 0.7 * open_mouth, "AU26": 0.3 * open_mouth}
    picture = Sitter(looks(4, 3)[who], 320, 320).draw(units, dict.fromkeys(BODY_NAMES, 0.0))
    return np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def wall(width: int, height: int) -> Picture:
    grey = np.linspace(70, 120, width)[None, :, None] + np.linspace(0, 30, height)[:, None, None]
    return np.repeat(grey, 3, axis=2).astype(np.uint8)


def put(picture: Picture, who: Picture, x: int, y: int) -> Picture:
    shown = picture.copy()
    shown[y : y + who.shape[0], x : x + who.shape[1]] = who
    return shown


def test_two_people_are_followed_and_a_third_is_seen_when_he_comes(tracker: FaceTracker) -> None:
    tracker.reset()
    one, other, third = person(0, 200), person(1, 200), person(2, 180)
    numbers = []
    for i in range(30):
        shown = put(put(wall(720, 360), one, 20 + 2 * i, 150), other, 500, 140)
        if i >= 10:
            shown = put(shown, third, 300, 0)
        numbers.append([faces.track for faces in tracker(shown, i / FPS)])
    assert numbers[0] == [0, 1]
    assert numbers[-1] == [0, 1, 2]
    assert tracker.shot == 0


def test_a_small_face_is_found_and_what_is_found_is_its_mesh(tracker: FaceTracker) -> None:
    tracker.reset()
    shown = put(wall(1280, 720), person(0, 120), 900, 300)  # the face itself is some 30 pixels wide
    faces = tracker(shown, 0.0)
    assert len(faces) == 1
    x, y = faces[0].landmarks[:, :2].mean(axis=0)
    assert 930 < x < 990
    assert 310 < y < 380
    assert tracker(wall(1280, 720), 0.04) == []


def test_who_sits_farther_back_is_seen_beside_somebody_near(tracker: FaceTracker) -> None:
    tracker.reset()
    shown = put(put(wall(1280, 720), person(0, 500), 100, 150), person(1, 160), 1050, 300)
    tracker(shown, 0.0)
    faces = tracker(shown, 0.04)
    assert len(faces) == 2
    x, y = faces[1].landmarks[:, :2].mean(axis=0)
    assert 1090 < x < 1170
    assert 315 < y < 400


def test_a_small_face_that_was_hidden_is_found_where_it_was(tracker: FaceTracker) -> None:
    tracker.reset()
    shown, hidden = put(wall(1280, 720), person(0, 120), 900, 300), wall(1280, 720)
    hidden[300:420, 900:1020] = shown[300:420, 900:1020] // 8
    numbers = []
    for i, picture in enumerate([shown] * 3 + [hidden] * 4 + [shown] * 3):
        numbers.append([faces.track for faces in tracker(picture, i / FPS)])
    assert numbers[2] == [0]
    assert numbers[7:] == [[0]] * 3, "at once, and under its old number"


class Parts:
    """A picture that is given in parts alone, and remembers which."""

    is_decoded = False

    def __init__(self, picture: Picture) -> None:
        self._still, self.size, self.asked = ArrayFrame(picture), ArrayFrame(picture).size, list[Box]()

    def rgb(self) -> Picture:
        raise AssertionError("a part is enough")

    def part(self, box: Box) -> Picture:
        self.asked.append(box)
        return self._still.part(box)

    def pixels(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Picture:
        return self._still.pixels(rows, columns)


def test_the_mesh_needs_a_part_of_the_picture_and_answers_bit_for_bit_as_with_all_of_it() -> None:
    models = FaceModels(0.5)
    shown = put(put(wall(960, 540), person(0, 320), 20, 200), person(1, 300), 650, 10)
    models.set_frame(shown)
    rects = [models.detect("near")[0].rect, Rect(0.83, 0.3, 0.2, 0.36)]
    turned = [replace(rect, angle=angle) for rect in rects for angle in (0.0, 0.4, -1.3, 2.5)]
    outside = [Rect(x, y, 0.3, 0.3 * 960 / 540, 0.2) for x, y in ((0.02, 0.5), (0.97, 0.03), (0.5, 1.0), (1.4, 0.5))]
    for rect in [*turned, *outside[:3]]:
        models.set_frame(shown)
        landmarks, presence = models.mesh(rect)
        whole = models.crop_around(rect)
        view = Parts(shown)
        models.set_frame(view)
        again, belief = models.mesh(rect)
        assert again.tobytes() == landmarks.tobytes()
        assert belief == presence
        assert models.crop_around(rect).corner == whole.corner
        np.testing.assert_array_equal(
            models.crop_around(rect).pixels, whole.pixels
        )  # small pictures are cut from these
        left, top, right, bottom = view.asked[0]
        assert (right - left) * (bottom - top) < 0.6 * 960 * 540
    models.set_frame(shown)
    models.mesh(outside[3])  # nothing of it is in the picture
    assert models.crop_around(outside[3]).pixels.shape == shown.shape


def test_a_shining_collar_beside_a_face_is_nobody_and_a_neighbour_is_somebody(tracker: FaceTracker) -> None:
    """The ring of the portrait's suit, about which the short-range detector is half sure and the mesh quite."""
    alone, both = [], []
    for look in looks(12, 0):
        still = Sitter(look, 320, 320).draw(dict.fromkeys(UNIT_NAMES, 0.0), dict.fromkeys(BODY_NAMES, 0.0))
        tracker.reset()
        alone.append({faces.track for i in range(2) for faces in tracker(still, i / 2)})
        tracker.reset()
        pair = np.concatenate([still, cv2.resize(put(wall(320, 320), person(1, 200), 60, 120), (320, 320))], axis=1)
        both.append(len(tracker(np.ascontiguousarray(pair), 0.0)))
    assert alone == [{0}] * 12
    assert both == [2] * 12


def test_the_same_clip_gives_the_same_faces_after_another(tracker: FaceTracker) -> None:
    clip = [put(wall(480, 360), person(0, 240), 20 + 4 * i, 100) for i in range(6)]
    runs = []
    for other in (None, [put(wall(480, 360), person(1, 300), 100, 50)] * 3):
        tracker.reset()
        for i, picture in enumerate(other or []):
            tracker(picture, i / FPS)
        tracker.reset()
        runs.append([tracker(picture, i / FPS) for i, picture in enumerate(clip)])
    for first, second in zip(*runs, strict=True):
        assert [s.track for s in first] == [s.track for s in second]
        for one in ("landmarks", "mouth", "head"):
            np.testing.assert_array_equal(getattr(first[0], one), getattr(second[0], one))


@pytest.mark.parametrize("size", [(640, 360), (360, 640), (320, 320), (1920, 1080), (64, 64)])
@pytest.mark.parametrize("share", [1 / 2, 1 / 3])
def test_parts_cover_the_picture(size: tuple[int, int], share: float) -> None:
    covered = np.zeros((40, 40), bool)
    at = (np.arange(40) + 0.5) / 40
    for part in tiles(*size, share):
        inside = [abs(at - m) <= s / 2 + 1e-9 for m, s in ((part.x, part.width), (part.y, part.height))]
        covered |= inside[1][:, None] & inside[0][None]
    assert covered.all() or (share < 0.5 and max(size) < 600 and not covered.any())
    assert len(tiles(*size, share)) <= (9 if share == 0.5 else 25)


@pytest.mark.slow
def test_the_sound_decides_whose_face_is_in_the_cache(tmp_path: Path) -> None:
    """Two mouths, each to a rhythm of its own; the same pictures with the one's and with the other's sound."""
    count, rhythms = 50, (3.1, 2.2)
    opened = [np.clip(np.sin(2 * np.pi * hz * np.arange(count) / FPS), 0, 1) for hz in rhythms]
    drawn = [{level: person(who, 240, level) for level in np.linspace(0, 1, 6).round(1)} for who in (0, 1)]
    frames = [
        np.concatenate([drawn[who][float((opened[who][i] * 5).round() / 5)] for who in (0, 1)], axis=1)
        for i in range(count)
    ]
    jobs = []
    for who in (0, 1):
        time_s = np.arange(count * RATE_HZ // FPS) / RATE_HZ
        level = np.clip(np.sin(2 * np.pi * rhythms[who] * (time_s - 0.04)), 0, 1)
        sound = (9000 * level * np.sin(2 * np.pi * 500 * time_s)).astype(np.int16)
        path = tmp_path / f"{who}.mp4"
        write_clip(path, frames, sound, size=(480, 240), fps=FPS, rate_hz=RATE_HZ)
        jobs.append(Job(str(who), path))
    params = extractor.Params()
    outcome = run(jobs, (extractor_spec("face", extractor.__name__, params),), tmp_path / "out", tmp_path / "store", 1)
    with open_cache(tmp_path / "out" / "face.h5") as cache:
        middles = [float(np.nanmean(cache[id_].column("face_x"))) for id_ in ("0", "1")]
        assert middles[0] < 0.5 < middles[1]
        assert {choice.by for choice in cache.choices.values()} == {"speaking"}
        assert {choice.faces for choice in cache.choices.values()} == {2}
        assert outcome.uncertain == sum(choice.uncertain for choice in cache.choices.values())
        assert cache.has_landmarks
    largest = extractor_spec("face", extractor.__name__, replace(params, policy="left"))
    run(jobs, (largest,), tmp_path / "out", tmp_path / "store", 1)
    with open_cache(tmp_path / "out" / "face.h5") as cache:
        assert all(np.nanmean(cache[id_].column("face_x")) < 0.5 for id_ in cache)
    one = extractor_spec("face", extractor.__name__, replace(params, faces=1))
    run(jobs, (one,), tmp_path / "out", tmp_path / "store", 1)
    with open_cache(tmp_path / "out" / "face.h5") as cache:
        assert cache.choices == {}
        assert np.isfinite(cache["0"].values).all()
