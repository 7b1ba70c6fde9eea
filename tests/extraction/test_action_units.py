"""Action units from landmarks: each movement moves its own unit, a turned head none, a frame stands alone."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from bemerc.cache import pack_landmarks, unpack_landmarks
from bemerc.extraction.face import action_units, extractor, mesh
from bemerc.extraction.networks import BLENDSHAPES, MESH_POINTS, Blendshapes, BrokenTaskFile, runtime
from tests.extraction.test_mesh import Array, batch, seen, turn

NAMES = [f"AU{unit:02d}" for unit in action_units.UNITS]
INNER_BROWS = [107, 55, 66, 65, 336, 285, 296, 295]
OUTER_BROWS = [70, 63, 105, 46, 53, 300, 293, 334, 276, 283]
UPPER_LIDS = [159, 158, 160, 157, 161, 386, 385, 387, 384, 388]
LOWER_LIP_AND_JAW = [14, 87, 317, 17, 84, 314, 18, 200, 199, 152, 148, 377, 175, 83, 313, 15, 16, 176, 400]


def moved(points: list[int], by: tuple[float, float], width: float = 0.12) -> Array:
    """The average face with the skin around these points moved by (x, y) in its own units, softly, as skin moves."""
    rest = mesh.average_face()
    near = np.linalg.norm(rest[:, None, :2] - rest[None, points, :2], axis=2).min(axis=1)
    shift = np.exp(-(near**2) / (2 * width**2))[:, None] * np.array(by)
    return np.asarray(rest + np.column_stack([shift, np.zeros(len(rest))]))


def smile() -> Array:
    return np.asarray(moved([61], (-0.08, -0.07)) + moved([291], (0.08, -0.07)) - mesh.average_face())


def change(points: Array, rotation: Array | None = None) -> dict[str, float]:
    """How far each unit of this face is from the average face's, both seen in an image."""
    of = action_units.linear(mesh.align(batch(seen(mesh.average_face()), seen(points, rotation))))
    return dict(zip(NAMES, (of[1] - of[0]).tolist(), strict=True))


@pytest.mark.parametrize(
    ("points", "rises", "opposite"),
    [
        (moved(INNER_BROWS, (0, -0.09)), "AU01", "AU04"),
        (moved(OUTER_BROWS, (0, -0.09)), "AU02", "AU04"),
        (moved(UPPER_LIDS, (0, 0.05), 0.03), "AU45", "AU05"),
        (smile(), "AU12", "AU15"),
        (moved(LOWER_LIP_AND_JAW, (0, 0.2), 0.1), "AU26", "AU17"),
    ],
)
def test_a_movement_raises_its_own_unit_and_not_the_opposite_one(points: Array, rises: str, opposite: str) -> None:
    units = change(points)
    assert units[rises] > 0.8
    assert units[opposite] < 0.12
    assert units[rises] >= sorted(units.values())[-2], units


def test_a_lowered_brow_is_no_raised_brow() -> None:
    units = change(moved([105, 66, 107, 52, 65, 55, 334, 296, 336, 282, 295, 285], (0, 0.06)))
    assert units["AU04"] > 0.5
    assert units["AU01"] <= 0
    assert units["AU02"] <= 0


@pytest.mark.parametrize("angles", [(15, 0, 0), (-10, 25, -20), (0, -30, 40)])
def test_a_turned_head_changes_no_unit(angles: tuple[float, float, float]) -> None:
    for points in (mesh.average_face(), smile()):
        straight, turned = change(points), change(points, turn(*angles))
        assert turned == pytest.approx(straight, abs=0.01)


def test_intensities_lie_between_0_and_5_however_far_a_face_is_pulled() -> None:
    rng = np.random.default_rng(0)
    faces = mesh.average_face() + rng.normal(0, 1, (50, 1, 3)) * rng.normal(0, 0.3, (50, MESH_POINTS, 3))
    units = action_units.from_landmarks((faces * 80 + 200).astype(np.float32))
    assert units.shape == (50, 18)
    assert units.dtype == np.float32
    assert units.min() >= 0
    assert units.max() <= 5


def test_a_burst_of_two_frames_keeps_its_height_and_frames_without_a_face_stay_absent() -> None:
    rest, burst, nobody = seen(mesh.average_face()), seen(smile()), np.full((MESH_POINTS, 3), np.nan)
    units = action_units.from_landmarks(batch(rest, rest, burst, burst, rest, nobody, rest))
    long = action_units.from_landmarks(batch(*[rest] * 4, *[burst] * 9))
    np.testing.assert_allclose(units[2:4], long[4:6], atol=0.3)  # the rest of a longer clip is known better
    assert np.isnan(units[5]).all()
    assert np.isfinite(units[[0, 1, 4, 6]]).all()
    assert action_units.from_landmarks(batch(rest)[:0]).shape == (0, 18)


def test_a_shut_eye_is_no_tightened_lid() -> None:
    """On real talk with shut eyes AU07 read 1.3 where OpenFace had none, since shut lids are near each other too."""
    rest, shut = seen(mesh.average_face()), seen(moved(UPPER_LIDS, (0, 0.1), 0.03))
    blink, tight = NAMES.index("AU45"), NAMES.index("AU07")
    clip = batch(*[rest] * 20, *[shut] * 5)
    units, alone = action_units.from_landmarks(clip), action_units.linear(mesh.align(clip))
    assert units[20:, blink].min() > 1.5
    assert alone[20:, tight].min() - alone[0, tight] > 1, "the lids alone look tightened"
    assert units[20:, tight].max() < 0.35
    raw = np.zeros((3, len(NAMES)))
    raw[:, tight], raw[:, blink] = 3, (0, 1, 5)
    assert action_units.intensities(raw, np.zeros(len(NAMES)))[:, tight] == pytest.approx([2.8, 1, 0], abs=0.2)


def test_zero_is_the_persons_own_rest() -> None:
    """Whoever this is: a clip that hardly moves reads 0, a smile held all through does not."""
    rng = np.random.default_rng(2)
    rest = mesh.average_face() - 0.5 * (smile() - mesh.average_face())  # photographs, and so the average face, smile
    still = batch(*(seen(rest + rng.normal(0, 0.002, (MESH_POINTS, 3))) for _ in range(50)))
    low_brows = rest.copy()
    low_brows[[105, 66, 107, 52, 65, 55, 334, 296, 336, 282, 295, 285], 1] += 0.04
    for clip in (still, batch(*[seen(low_brows)] * 50)):
        assert action_units.from_landmarks(clip).mean(axis=0).max() < 0.35
    held = action_units.from_landmarks(batch(*[seen(smile())] * 50)).mean(axis=0)
    assert held[action_units.UNITS.index(12)] > 1.0


def test_a_mouth_that_talks_is_not_at_rest() -> None:
    """Most frames of a talker have rounded lips: against those a mouth at rest read as lip corners pulled up."""
    smile = NAMES.index("AU12")
    raw = np.zeros((100, len(NAMES)))
    raw[:80, smile] = -2.0
    at_rest = action_units.rest(raw)
    assert -1 < at_rest[smile] < 0
    assert action_units.intensities(raw, at_rest)[80:, smile].max() < 0.7


@pytest.mark.parametrize(("smiling", "known"), [(0, True), (60, True), (70, True), (95, False)])
def test_where_brows_rest_is_told_by_frames_without_a_smile(smiling: int, known: bool) -> None:
    """A smile makes brows read lower than they are, so that beside it brows at rest read as raised."""
    brow, smile = NAMES.index("AU01"), NAMES.index("AU12")
    raw = np.zeros((100, len(NAMES)))
    raw[:, brow] = 2.0
    raw[:smiling, brow], raw[:smiling, smile] = 0.0, 4.0
    raw[:20, NAMES.index("AU04")] = -1.0
    at_rest = action_units.rest(raw)
    assert at_rest[brow] == pytest.approx(2.0 if known else 0.0, abs=0.2)
    raw[79, smile] = 0.0  # live, a frame more or less changes little
    assert action_units.rest(raw)[brow] == pytest.approx(at_rest[brow], abs=0.2)
    assert at_rest[NAMES.index("AU04")] < -0.1, "of all frames"


def test_what_was_taken_away_gives_what_was_measured() -> None:
    """Also below the rest, where the unit is 0: tokens are made of the sum, and must not lose it."""
    rng = np.random.default_rng(4)
    talks = batch(
        *(seen(mesh.average_face() - rng.uniform(-0.5, 1) * (smile() - mesh.average_face())) for _ in range(40))
    )
    values = extractor.measure_packed(pack_landmarks(talks), (640, 480), np.ones(40, np.float32)).astype(np.float64)
    columns = extractor.columns(extractor.Params())
    raw = action_units.linear(mesh.align(unpack_landmarks(pack_landmarks(talks))))
    for unit in (1, 12, 14):
        together = values[:, columns.index(f"AU{unit:02d}_r")] + values[:, columns.index(f"rest_AU{unit:02d}")]
        np.testing.assert_allclose(together, raw[:, action_units.UNITS.index(unit)], atol=1e-3)


def test_half_a_face_is_no_measurement() -> None:
    units = action_units.from_landmarks(batch(seen(smile()), seen(smile(), turn(yaw=70))))
    assert np.isfinite(units[0]).all()
    assert np.isnan(units[1]).all()


def test_units_worked_out_anew_from_stored_landmarks_are_the_stored_ones() -> None:
    rng = np.random.default_rng(1)
    landmarks = batch(*(seen(smile() + rng.normal(0, 0.01, (MESH_POINTS, 3)), eyes_px=60) for _ in range(20)))
    stored = unpack_landmarks(pack_landmarks(landmarks))
    columns = extractor.measure_packed(pack_landmarks(landmarks), (640, 480), np.ones(20, np.float32))[:, :18]
    np.testing.assert_allclose(action_units.from_landmarks(stored), columns, atol=1e-4)
    exact = action_units.from_landmarks(landmarks)
    assert np.abs(exact - columns).max() < 0.1, "what rounding the points to the cache's grid costs"


def test_blendshapes_do_not_depend_on_place_size_and_tilt() -> None:
    points = smile()[None]
    cos, sin = np.cos(0.4), np.sin(0.4)
    moved_away = points[:, :, :2] * 37 + (120, -40)
    tilted = points[:, :, :2] @ np.array([[cos, sin], [-sin, cos]])
    shapes = action_units.packaged_shapes()
    np.testing.assert_allclose(shapes(moved_away), shapes(points), atol=1e-3)
    np.testing.assert_allclose(shapes(tilted), shapes(points), atol=0.15)  # 23 degrees
    scores = dict(zip(BLENDSHAPES, shapes(points)[0], strict=True))
    assert scores["mouthSmileLeft"] > 0.5
    assert scores["mouthFrownLeft"] < 0.1


def test_a_task_file_is_named_by_its_content_and_a_wrong_one_is_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "face_landmarker.task"
    params = extractor.Params(task=str(file))
    assert params.recorded() == extractor.Params().recorded() | {"task": file.name}  # nobody's folders in a cache
    assert "there is no file" in next(iter(params.check()))
    file.write_bytes(b"not a task")
    assert not list(params.check())
    before = extractor.version(params)
    with pytest.raises(BrokenTaskFile):
        extractor.open_extractor(params)
    file.write_bytes(b"another")
    assert len({before, extractor.version(params), extractor.version(extractor.Params())}) == 3


MODELS = {
    name: (runtime.FOLDER / f"{name}.tflite").read_bytes() for name in ("face_landmarks_detector", "face_blendshapes")
}


def task_file(path: Path, models: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in models.items():
            bundle.writestr(f"{name}.tflite", content)
    return path


def marked(path: Path, flag: int, method: int) -> Path:
    """The zip with these bits in the headers of its first file: 1 says that it is encrypted; methods are of compression."""
    data = bytearray(path.read_bytes())
    central = data.index(b"PK\1\2")
    for at in (6, central + 8):
        data[at] |= flag
        data[at + 2] = method
    path.write_bytes(data)
    return path


def test_a_task_file_with_the_packaged_models_measures_the_same(tmp_path: Path) -> None:
    points = smile()[None]
    own = Blendshapes(task_file(tmp_path / "own.task", MODELS))
    np.testing.assert_array_equal(own(points), action_units.packaged_shapes()(points))


def test_task_files_that_cannot_be_used_are_refused_before_anything_is_measured(tmp_path: Path) -> None:
    hand = (runtime.FOLDER / "hand_landmark_full.tflite").read_bytes()
    files = [
        task_file(tmp_path / "lacks", {name: MODELS[name] for name in ("face_landmarks_detector",)}),
        task_file(tmp_path / "other_shapes", MODELS | {"face_landmarks_detector": hand}),
        task_file(tmp_path / "other_names", MODELS | {"face_blendshapes": hand}),
        task_file(tmp_path / "cut", MODELS | {"face_blendshapes": MODELS["face_blendshapes"][:9999]}),
        task_file(tmp_path / "bomb", MODELS | {"face_landmarks_detector": bytes(runtime._MAX_BYTES + 1)}),
        marked(task_file(tmp_path / "encrypted", MODELS), 1, zipfile.ZIP_DEFLATED),
        marked(task_file(tmp_path / "compressed", MODELS), 0, 99),
    ]
    for file in files:
        with pytest.raises(BrokenTaskFile):
            extractor.open_extractor(extractor.Params(task=str(file)))
