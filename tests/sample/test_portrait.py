"""The sample's faces: recipes, acting over time, and whether an independent face mesh sees what was planted."""

import numpy as np
import pytest

from bemerc.sample.cases import LABELS
from bemerc.sample.recipes import BODY_NAMES, MICRO_UNITS, RECIPES, UNIT_NAMES, Performance, perform

cv2 = pytest.importorskip("cv2")
pytest.importorskip("skimage")

from bemerc.extraction.networks import BodyPose  # noqa: E402
from bemerc.sample.looks import TRAIT_NAMES, Look, looks  # noqa: E402
from bemerc.sample.portrait import Sitter  # noqa: E402
from fits.photographs import Finder  # noqa: E402
from tests.slow import beyond  # noqa: E402

STILL = dict.fromkeys(BODY_NAMES, 0.0)
CALM = dict.fromkeys(UNIT_NAMES, 0.0)
PLAIN = Look(dict.fromkeys(TRAIT_NAMES, 0.0), mirror=False)


def act(emotion: str, seed: int, *, micro: bool = False, envelope: np.ndarray | None = None) -> Performance:
    quiet = np.zeros(40, np.float32) if envelope is None else envelope
    return perform(emotion, 1.0, quiet, 25.0, micro, np.random.default_rng(seed))


@pytest.mark.parametrize("emotion", LABELS)
def test_every_emotion_has_recipes_that_differ(emotion: str) -> None:
    recipes = RECIPES[emotion]
    assert len(recipes) >= 2
    assert len({recipe.name for recipe in recipes}) == len(recipes)
    for recipe in recipes:
        assert set(recipe.units) <= set(UNIT_NAMES)
        assert set(recipe.body) | {swing.channel for swing in recipe.swings} <= set(BODY_NAMES)


@pytest.mark.parametrize("emotion", LABELS)
def test_an_expression_rises_and_falls(emotion: str) -> None:
    for seed in range(4):
        played = act(emotion, seed)
        held = [UNIT_NAMES.index(name) for name, value in _recipe(emotion, played).units.items() if value > 0.3]
        units = played.units[:, held]
        assert np.all(units[0] < 0.1)
        assert np.all(units[-1] < 0.35)
        assert np.all(units.max(0) > 0.25)


def _recipe(emotion: str, played: Performance) -> object:
    return next(recipe for recipe in RECIPES[emotion] if recipe.name == played.recipe)


def test_the_mouth_talks_whatever_the_face_shows() -> None:
    envelope = (0.5 + 0.5 * np.sin(np.arange(40))).astype(np.float32)
    for emotion in LABELS:
        silent, talking = act(emotion, 3), act(emotion, 3, envelope=envelope)
        more = (talking.units - silent.units)[:, UNIT_NAMES.index("AU25")]
        free = talking.units[:, UNIT_NAMES.index("AU25")] < 1.29
        assert np.corrcoef(more[free], envelope[free])[0, 1] > 0.99
        assert np.array_equal(silent.body, talking.body)


def test_micro_expressions_last_two_to_six_frames_and_know_no_emotion() -> None:
    units = set()
    for seed in range(60):
        plain, planted = act("joy", seed), act("joy", seed, micro=True)
        (event,) = [e for e in planted.events if e["kind"] == "micro_expression"]
        assert not [e for e in plain.events if e["kind"] == "micro_expression"]
        assert 2 <= event["offset"] - event["onset"] + 1 <= 6
        assert event["onset"] <= event["apex"] <= event["offset"] < len(planted.units)
        added = planted.units - plain.units
        assert set(np.flatnonzero(added.any(1))) <= set(range(event["onset"], event["offset"] + 1))
        units.add(event["unit"])
    assert units == set(MICRO_UNITS)


def test_a_frame_depends_on_nothing_drawn_before_it() -> None:
    sitter = Sitter(PLAIN, 160, 160)
    first = sitter.draw(CALM, STILL)
    sitter.draw({**CALM, "AU26": 1.0, "AU45": 1.0}, {**STILL, "lean": 0.1, "yaw": 12.0})
    assert np.array_equal(first, sitter.draw(CALM, STILL))
    assert first.shape == (160, 160, 3)
    assert first.dtype == np.uint8


def test_a_mirrored_speaker_turns_to_the_side_that_was_asked_for() -> None:
    traits = dict(PLAIN.traits)
    body, swapped = {**STILL, "yaw": 12.0, "sway": 0.3}, {**STILL, "yaw": -12.0, "sway": -0.3}
    straight = Sitter(Look(traits, mirror=False), 160, 160).draw(CALM, swapped)
    mirrored = Sitter(Look(traits, mirror=True), 160, 160).draw(CALM, body)
    assert np.array_equal(straight[:, ::-1], mirrored)


def test_speakers_look_different_when_nothing_moves() -> None:
    faces = looks(12, seed=1)
    assert sum(face.mirror for face in faces) == 6
    grey = [cv2.cvtColor(Sitter(face, 160, 160).draw(CALM, STILL), cv2.COLOR_RGB2GRAY).astype(float) for face in faces]
    for i, a in enumerate(grey):
        for b in grey[:i]:
            assert np.abs((a - a.mean()) / a.std() - (b - b.mean()) / b.std()).mean() > 0.02
    assert looks(12, seed=1) == faces != looks(12, seed=2)


@pytest.mark.parametrize("name", UNIT_NAMES)
def test_a_unit_moves_the_face_and_nothing_else(name: str) -> None:
    sitter = Sitter(PLAIN, 320, 320)
    change = np.abs(sitter.draw({**CALM, name: 1.0}, STILL).astype(int) - sitter.draw(CALM, STILL)).max(2)
    rows, columns = np.nonzero(change > 25)
    assert len(rows) > 20, "nothing to see"
    assert 45 < rows.min() < rows.max() < 215
    assert 100 < columns.min() < columns.max() < 250


# ---- read back by the face mesh, with distances of this test's own ------------------------------------------------------


@pytest.fixture(scope="module")
def mesh() -> Finder:
    return Finder()


def points(mesh: Finder, frame: np.ndarray) -> np.ndarray:
    landmarks = mesh(frame)
    assert landmarks is not None, "no face detected"
    return np.asarray(landmarks[:, :2])


def heights(p: np.ndarray) -> dict[str, float]:
    """A few distances in eye-to-eye widths, up positive."""
    width = np.linalg.norm((p[263] + p[362] - p[33] - p[133]) / 2)
    eyes = (p[33] + p[133] + p[263] + p[362])[1] / 4

    def up(*indices: int) -> float:
        return float((eyes - p[list(indices), 1].mean()) / width)

    return {
        "corners": up(61, 291), "inner_brow": up(55, 285), "outer_brow": up(46, 276), "chin": up(152),
        "lids": up(159, 386) - up(145, 374), "lips": up(13) - up(14), "nose": up(129, 358),
        "mouth_width": float((p[291] - p[61])[0] / width),
    }  # fmt: skip


SEEN = {
    "AU01": ("inner_brow", 1), "AU02": ("outer_brow", 1), "AU04": ("inner_brow", -1), "AU05": ("lids", 1),
    "AU07": ("lids", -1), "AU09": ("nose", 1), "AU12": ("corners", 1), "AU15": ("corners", -1), "AU17": ("chin", 1),
    "AU20": ("mouth_width", 1), "AU25": ("lips", 1), "AU26": ("chin", -1), "AU45": ("lids", -1),
}  # fmt: skip


@pytest.mark.parametrize("name", beyond(["AU01", "AU12", "AU45"], SEEN))
def test_a_face_mesh_reads_the_unit_back(mesh: Finder, name: str) -> None:
    measure, sign = SEEN[name]
    truth, read = [], []
    for look in looks(8, seed=3)[:2]:
        sitter = Sitter(look, 320, 320)
        mesh.reset()
        clip = [0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]
        values = [heights(points(mesh, sitter.draw({**CALM, name: a}, STILL)))[measure] for a in clip][1:]
        truth += clip[1:]
        read += [value - values[0] for value in values]
    assert sign * np.corrcoef(truth, read)[0, 1] > 0.85


def test_pose_measures_shoulders_and_how_they_move() -> None:
    sitters = [Sitter(look, 320, 320) for look in looks(8, seed=3)[:3]]

    def body(sitter: Sitter, **channels: float) -> np.ndarray:
        points = BodyPose(0.5, 0.5)(sitter.draw(CALM, {**STILL, **channels}), 0.0)
        assert points is not None
        left, right, nose = points[[11, 12, 0]]
        assert min(left[3], right[3]) > 0.8
        width = abs(left[0] - right[0])
        return np.array([width, ((left[1] + right[1]) / 2 - nose[1]) / width, nose[1]])

    for sitter in sitters:
        width, neck, nose = body(sitter)
        assert body(sitter, lean=0.1)[0] > width * 1.04
        assert body(sitter, slump=1.0)[2] > nose + 0.03
        assert body(sitter, shrug=1.0)[1] < neck
