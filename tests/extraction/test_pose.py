"""Body numbers from keypoints with known answers, and the pose model on a real portrait."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from bemerc.extraction.networks import BodyPose
from bemerc.extraction.pose import body as pose

SIZE = (800, 400)  # not square, so that a mix-up of fractions and pixels shows
TIMES = np.arange(5) / 8


def body(head: tuple[float, float] = (400, 90), shoulders: float = 200.0, size: float = 1.0) -> NDArray[np.float32]:
    """One frame's keypoints (33, 4) of somebody upright in the middle, in fractions of SIZE; hands hang at the hips."""
    points = np.zeros((33, 2))
    points[pose.HEAD] = head + np.array([(x, y) for y in (-12, 0, 12) for x in (-30, -12, 12, 30)])[:11] * size
    points[0] = head
    points[list(pose.EARS)] = head[0] + 40 * size, head[1]
    points[pose.EARS[1]] = head[0] - 40 * size, head[1]
    points[pose.LEFT_SHOULDER], points[pose.RIGHT_SHOULDER] = (400 + shoulders / 2, 220), (400 - shoulders / 2, 220)
    points[[13, 14]] = (400 + shoulders / 2, 300), (400 - shoulders / 2, 300)
    points[[pose.LEFT_WRIST, pose.RIGHT_WRIST]] = (520, 380), (280, 380)
    keypoints = np.ones((33, 4), np.float32)
    keypoints[:, :2] = points / SIZE
    return keypoints


def derived(*frames: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    values = pose.derive(np.stack(frames), TIMES[: len(frames)], SIZE)
    assert values.dtype == np.float32
    return dict(zip(pose.DERIVED, values.T, strict=True))


def moved(frame: NDArray[np.float32], points: list[int], x: float = 0, y: float = 0) -> NDArray[np.float32]:
    result = frame.copy()
    result[points, :2] += np.array([x, y], np.float32) / SIZE
    return result


def test_somebody_upright_and_still() -> None:
    still = derived(body(), body(), body())
    for name in ("lean_deg", "sway_deg", "shoulder_tilt_deg"):
        np.testing.assert_allclose(still[name], 0, atol=2)
    assert still["movement"][1:] == pytest.approx(0, abs=1e-6)
    assert np.isnan(still["movement"][0]), "nothing is known of the time before the first frame"
    assert still["slump"] == pytest.approx((0.75 - 130 / 200) / 0.5, abs=0.01)
    assert still["left_hand_height"] == pytest.approx(-160 / 200, abs=0.01)


def test_signs() -> None:
    assert derived(body(head=(450, 90)))["sway_deg"][0] == pytest.approx(np.degrees(np.arctan(50 / 130)), abs=2)
    lower_left = moved(body(), [pose.LEFT_SHOULDER], y=40)  # the person's left is the image's right: clockwise
    assert derived(lower_left)["shoulder_tilt_deg"][0] == pytest.approx(np.degrees(np.arctan(40 / 200)), abs=0.1)
    assert derived(moved(body(), [pose.RIGHT_WRIST], y=-260))["right_hand_height"][0] == pytest.approx(0.5, abs=0.01)
    assert derived(body(head=(400, 160)))["slump"][0] == pytest.approx(0.9, abs=0.01)
    assert derived(body(head=(400, 20)))["slump"][0] == 0


def test_who_looks_larger_leans_forward() -> None:
    near = body(shoulders=230, size=1.15)
    lean = derived(body(), body(), near, body(), body())["lean_deg"]
    assert lean[2] > 15
    assert lean[[0, 1, 3, 4]] == pytest.approx(0, abs=0.1)
    away = derived(body(), body(), body(shoulders=180, size=0.9), body())["lean_deg"]
    assert away[2] < -10


def turned(share: float) -> NDArray[np.float32]:
    """The same body turned, so that all of it looks so much narrower and no lower."""
    frame = body()
    frame[:, 0] = 0.5 + share * (frame[:, 0] - 0.5)
    return frame


@pytest.mark.parametrize("share", [0.9, 0.7, 0.5])
def test_who_turns_does_not_lean_back(share: float) -> None:
    """A woman who turned aside in a debate leant back by 90 degrees, since shoulders and head looked narrow."""
    lean = derived(body(), body(), turned(share), body(), body())["lean_deg"]
    assert lean == pytest.approx(0, abs=2)
    aside = derived(body(), body(), body(shoulders=200 * share), body(), body())["lean_deg"]
    assert aside == pytest.approx(0, abs=2), "the head's size tells"


def facing(aside: float, size: float = 1.0) -> NDArray[np.float32]:
    """The same body, whose nose is aside from between the ears by so many distances from eyes to mouth."""
    return moved(body(shoulders=200 * size, size=size), [0], x=18 * size * aside)


def test_no_posture_is_told_of_who_turns() -> None:
    """Sizes are not to be compared then; somebody who is turned all the time leans as others do."""
    straight = [body(), body(), body()]
    one = derived(*straight, facing(1.0, 1.1), facing(0.1, 1.1))["lean_deg"]
    assert np.isnan(one[3])
    assert one[4] > 10
    aside = derived(*[facing(1.0)] * 3, facing(1.0, 1.1))["lean_deg"]
    assert aside[3] > 10
    restless = [facing(aside, size) for aside, size in ((-1.0, 1.0), (-0.5, 1.1), (0.0, 1.2), (0.6, 1.1), (1.2, 1.0))]
    values = derived(*restless)
    assert all(np.isnan(values[name]).all() for name in ("lean_deg", "sway_deg", "slump"))
    assert all(np.isfinite(values[name]).all() for name in ("shoulder_tilt_deg", "left_hand_height"))
    other_way = derived(*[facing(0.6)] * 3, facing(-0.6))
    assert np.isnan(other_way["sway_deg"][3]), "as narrow, and its face on the other side"


def test_what_lies_beyond_the_picture_is_not_seen() -> None:
    """In a close-up the model tells where the shoulders would be, and calls them visible."""
    close_up = moved(body(), [pose.LEFT_SHOULDER], y=200)
    seen = pose.within_picture(close_up)
    assert seen[pose.LEFT_SHOULDER, 3] == 0
    assert (np.delete(seen, pose.LEFT_SHOULDER, axis=0) == np.delete(close_up, pose.LEFT_SHOULDER, axis=0)).all()
    assert np.isnan(derived(seen)["slump"]).all()


def test_the_extractor_does_not_see_beyond_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    close_up = moved(body(), [pose.LEFT_SHOULDER], y=200)
    monkeypatch.setattr(BodyPose, "__call__", lambda self, rgb, timestamp_s: close_up)
    extractor = pose.open_extractor(pose.Params())
    for time_s in TIMES:
        extractor.frame(np.zeros((SIZE[1], SIZE[0], 3), np.uint8), float(time_s))
    rows = extractor.finish()
    assert (rows.column("left_shoulder_visibility") == 0).all()
    assert (rows.column("right_shoulder_visibility") == 1).all()
    assert extractor.keypoints is not None
    assert extractor.keypoints[pose.LEFT_SHOULDER, 3] == 0


def test_movement_is_in_shoulder_widths_per_second() -> None:
    everybody = list(range(33))
    frames = [moved(body(), everybody, x=10 * i) for i in range(4)]
    assert derived(*frames)["movement"][1:] == pytest.approx(10 / 200 * 8, rel=1e-3)
    hand = derived(body(), moved(body(), [pose.LEFT_WRIST], y=-90))["movement"][1]
    assert hand == pytest.approx(90 / 200 * 8 / 9, rel=1e-3), "one of nine keypoints moved"


def test_what_is_not_visible_is_not_measured() -> None:
    hidden = body()
    hidden[pose.LEFT_WRIST, 3] = 0.4
    values = derived(body(), hidden)
    assert np.isnan(values["left_hand_height"][1])
    assert np.isfinite(values["right_hand_height"][1])
    assert np.isfinite(values["movement"][1]), "the others still move"
    hidden[pose.LEFT_SHOULDER, 3] = 0.4
    values = derived(body(), hidden)
    assert all(np.isnan(values[name][1]) for name in pose.DERIVED)
    nobody = np.full((33, 4), np.nan, np.float32)
    assert all(np.isnan(series).all() for series in derived(nobody, nobody).values())


def test_columns_name_every_number_once() -> None:
    names = pose.columns(pose.Params())
    assert len(names) == len(set(names)) == 33 * 4 + 7
    assert names[:4] == ("nose_x", "nose_y", "nose_z", "nose_visibility")
    assert names[11 * 4] == "left_shoulder_x"
    assert names[-7:] == pose.DERIVED


def test_params_that_cannot_be_are_named() -> None:
    assert list(pose.Params().check()) == []
    assert "rate_hz" in " ".join(pose.Params(rate_hz=0).check())
    assert "tracking_confidence" in " ".join(pose.Params(tracking_confidence=2).check())


# ------------------------------------------------------------------------------------------------------ the real model


@pytest.fixture(scope="module")
def portrait() -> NDArray[np.uint8]:
    data = pytest.importorskip("skimage.data")
    return np.ascontiguousarray(data.astronaut())


@pytest.fixture(scope="module")
def extractor() -> pose.PoseExtractor:
    return pose.open_extractor(pose.Params())


def run(extractor: pose.PoseExtractor, *frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    extractor.reset()
    for index, frame in enumerate(frames):
        extractor.frame(frame, index / 8)
    features = extractor.finish()
    assert features.columns == pose.columns(extractor.params)
    assert features.values.shape == (len(frames), len(features.columns))
    assert features.timestamps_s == pytest.approx(np.arange(len(frames)) / 8)
    return features.values


def test_a_portrait_has_its_body_where_it_is(extractor: pose.PoseExtractor, portrait: NDArray[np.uint8]) -> None:
    keypoints = run(extractor, portrait, portrait)[-1, :132].reshape(33, 4)
    assert keypoints[0, :2] == pytest.approx((0.45, 0.25), abs=0.08), "the nose"
    left, right = keypoints[pose.LEFT_SHOULDER], keypoints[pose.RIGHT_SHOULDER]
    assert left[3] > 0.9
    assert right[3] > 0.9
    assert left[0] > right[0]
    assert left[1] == pytest.approx(0.45, abs=0.12)


def test_the_same_clip_gives_the_same_bytes(extractor: pose.PoseExtractor, portrait: NDArray[np.uint8]) -> None:
    clip = [portrait, np.roll(portrait, 12, axis=1), np.roll(portrait, 30, axis=0)]
    first = run(extractor, *clip)
    run(extractor, np.zeros((300, 500, 3), np.uint8), portrait)
    assert run(extractor, *clip).tobytes() == first.tobytes()


def test_nobody_is_nan_and_a_lying_body_is_taken_for_a_false_alarm(
    extractor: pose.PoseExtractor, portrait: NDArray[np.uint8]
) -> None:
    assert np.isnan(run(extractor, np.full((240, 320, 3), 90, np.uint8))).all()
    lying = np.ascontiguousarray(np.rot90(portrait))
    assert np.isnan(run(extractor, lying, lying)).all()
    kept = run(pose.open_extractor(pose.Params(upright=False)), lying, lying)
    assert np.isfinite(kept[-1, :132]).all()


def test_an_empty_clip(extractor: pose.PoseExtractor) -> None:
    assert run(extractor).shape == (0, 139)


def test_a_body_is_followed_lost_and_detected_again_and_a_reset_forgets_it(portrait: NDArray[np.uint8]) -> None:
    model = BodyPose(0.5, 0.5)
    empty = np.full(portrait.shape, 90, np.uint8)
    clip = [*(np.roll(portrait, 9 * i, axis=1) for i in range(5)), empty, empty, portrait]
    wide = [np.ascontiguousarray(np.pad(picture, ((0, 1), (80, 20), (0, 0)))) for picture in clip]

    def followed(pictures: list[NDArray[np.uint8]]) -> list[NDArray[np.float32] | None]:
        model.reset()
        return [model(picture, index / 8 + 0.01 * (index % 3)) for index, picture in enumerate(pictures)]

    first, others, again = followed(clip), followed(wide), followed(clip)
    for keypoints in (first, others):
        assert [one is not None for one in keypoints] == [*[True] * 5, False, False, True]
    for one, other in zip(first, again, strict=True):
        assert (one is None) == (other is None)
        assert one is None or other is None or one.tobytes() == other.tobytes()
