"""Everybody in sight: rows of all faces beside the target's, from the models to the cache and back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bemerc.cache import Choice, Features, Other, TrackSpan, open_cache, pack_landmarks
from bemerc.extraction import recompute
from bemerc.extraction.face import extractor, target_face
from bemerc.extraction.fingerprint import WITHOUT_LANDMARKS
from bemerc.extraction.jobs import Job, extractor_spec
from bemerc.extraction.run import run
from bemerc.extraction.store import Result, Store
from bemerc.sample.clip import write_clip
from tests.extraction.test_detection import FPS, RATE_HZ, person, wall
from tests.extraction.test_target_face import track

FRAMES = 8
COLUMNS = ("a", "b")
KEY = "ab" + "0" * 38


def test_everybody_but_the_target_is_somebody_with_a_score() -> None:
    tracks = [
        track(0, range(40), 0.3, area=0.05),
        track(1, range(40), 0.7, area=0.03),
        track(2, range(9), 0.1, area=0.01),
    ]
    choice, scores = target_face.select(tracks, np.arange(40) / 25, "largest", None, 0.7)
    others = target_face.others(tracks, choice, scores)
    assert {span.track for span in choice.spans} == {0}
    assert {number: [span.track for span in of.spans] for number, of in others.items()} == {2: [1], 3: [2]}
    assert others[2].spans[0] == TrackSpan(0, 40, 1, scores[1], 3)
    assert others[2].score == scores[1] < choice.score


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people; the one on the right, smaller, is hidden in two frames."""
    path = tmp_path_factory.mktemp("two") / "two.mp4"
    left, right = person(0, 320), person(1, 200, 0.5)
    frames = []
    for at in range(FRAMES):
        picture = wall(640, 320)
        picture[:, :320] = left
        if at not in (3, 4):
            picture[60:260, 400:600] = right
        frames.append(picture)
    write_clip(path, frames, np.zeros(FRAMES * RATE_HZ // FPS, np.int16), size=(640, 320), fps=FPS, rate_hz=RATE_HZ)
    return path


@pytest.fixture(scope="module")
def caches(clip: Path) -> dict[str, Path]:
    made = {}
    for keep in ("target", "all"):
        params = extractor.Params(policy="left", keep=keep)  # type: ignore[arg-type]
        out = clip.parent / keep
        run([Job("two", clip)], (extractor_spec("face", extractor.__name__, params),), out, clip.parent / "store", 1)
        made[keep] = out / "face.h5"
    return made


def test_the_target_is_measured_the_same_and_the_other_where_it_is_seen(caches: dict[str, Path]) -> None:
    with open_cache(caches["target"]) as target, open_cache(caches["all"]) as everybody:
        np.testing.assert_array_equal(everybody["two"].values, target["two"].values)
        assert target.others is None
        assert "keep" not in target.params
        others = everybody.others
        assert others is not None
        (other,) = everybody.others_of("two")
        features = others[other]
        seen = np.isin(np.round(everybody["two"].timestamps_s, 4), np.round(features.timestamps_s, 4))
        assert not seen[3:5].any()
        assert seen.sum() == len(features.values) >= 4
        assert features.column("face_x") == pytest.approx(500 / 640, abs=0.05)
        assert (features.column("quality") > 0.3).all()  # nobody took a step while out of sight
        assert {span.track for span in others.choices[other].spans}.isdisjoint(
            span.track for span in everybody.choices["two"].spans
        )


def test_new_numbers_from_landmarks_are_the_same_for_everybody(caches: dict[str, Path], tmp_path: Path) -> None:
    recompute.run(caches["all"], tmp_path / "face.h5")
    with open_cache(tmp_path / "face.h5") as new, open_cache(caches["all"]) as old:
        assert new.others is not None
        assert old.others is not None
        (other,) = old.others_of("two")
        np.testing.assert_allclose(new.others[other].values, old.others[other].values, atol=1e-5)


def test_a_result_keeps_everybody_and_drops_all_landmarks(tmp_path: Path) -> None:
    choice = Choice("speaking", "speaking", 2, 0.2, True, (TrackSpan(1, 4, 1, 0.2, 2),))
    features = Features(np.ones((3, 2), np.float32), np.arange(3) / 25, COLUMNS)
    packed = pack_landmarks(np.ones((3, 5, 3), np.float32) * np.arange(3))
    others = (Other("2", features, packed, choice), Other("Ann", features, packed))
    store = Store(tmp_path)
    store.put("face", KEY, Result(features, 0.2, packed, choice=choice, others=others))
    back = store.result("face", KEY, COLUMNS)
    assert [(other.name, other.choice) for other in back.others] == [("2", choice), ("Ann", None)]
    np.testing.assert_array_equal(back.others[1].features.values, features.values)
    assert store.drop_landmarks("face") == 1
    bare = store.result("face", KEY + WITHOUT_LANDMARKS, COLUMNS)
    assert [other.landmarks for other in bare.others] == [None, None]
    assert [other.choice for other in bare.others] == [choice, None]


def test_one_tracked_face_leaves_nobody_else_to_keep() -> None:
    params = extractor.Params(keep="all")
    assert [*params.check()] == []
    assert len([*replace(params, faces=1).check()]) == 1
