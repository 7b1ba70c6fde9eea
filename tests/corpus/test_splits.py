"""Nothing of dev and test reaches train: poison both, and train's tokens, descriptions and statistics stay as they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bemerc.behavior.describe import phrases, rules
from bemerc.behavior.describe import run as describer
from bemerc.behavior.describe.description import read_descriptions
from bemerc.behavior.tokens import file as tokens
from bemerc.cache import Features, Head, Rows, write_cache
from bemerc.corpus.manifest import MODALITIES, SPLITS, Manifest, Modality, Utterance

UNITS = tuple(item.column for item in phrases.UNITS)
COLUMNS: dict[Modality, tuple[str, ...]] = {
    "face": (
        *UNITS,
        "AU45_r",
        "pose_pitch_deg",
        "pose_yaw_deg",
        "pose_roll_deg",
        "gaze_x_deg",
        "gaze_y_deg",
        "quality",
    ),
    "pose": ("lean_deg", "sway_deg", "shoulder_tilt_deg", "slump", "left_hand_height", "right_hand_height", "movement"),
    "audio": ("pitch_hz", "voicing", "energy_db"),
}
RATE_HZ: dict[Modality, float] = {"face": 25.0, "pose": 8.0, "audio": 100.0}


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """Four dialogues of three turns in each split; the speakers are the same everywhere, so they could leak."""
    utterances = [
        Utterance(f"{split}/{d}/{i}", f"{split}/{d}", i, "AB"[i % 2], "Hi", "joy", split, "x.mp4")
        for split in SPLITS
        for d in range(4)
        for i in range(3)
    ]
    return Manifest(tuple(sorted(utterances, key=lambda u: u.id)), ("joy",), ("made",), tmp_path)


def caches(folder: Path, manifest: Manifest, poisoned: bool) -> dict[Modality, Path | None]:
    """Caches in which train is the same whatever ``poisoned`` says; dev and test are then larger, shifted and faster."""
    folder.mkdir()
    paths: dict[Modality, Path | None] = {}
    for modality in MODALITIES:
        clips = []
        for number, u in enumerate(manifest.utterances):
            random = np.random.default_rng([number, len(modality)])
            count = round(1.5 * RATE_HZ[modality])
            values = np.abs(random.normal(1.0, 1.0, (count, len(COLUMNS[modality])))).astype(np.float32)
            if modality == "audio":
                values += np.float32([150.0, 0.0, -30.0])
            if poisoned and u.split != "train":
                values = 7 * values[::-1] + 3
            stamps = np.arange(count) / RATE_HZ[modality]
            clips.append((u.id, Features(values, stamps, COLUMNS[modality]), 1.5, None))
        path = folder / f"{modality}.h5"
        write_cache(
            path,
            Head(modality, COLUMNS[modality], "clip" if modality == "face" else RATE_HZ[modality], "made", {}),
            Rows(clips),
        )
        paths[modality] = path
    return paths


def results(
    folder: Path, manifest: Manifest, poisoned: bool
) -> tuple[dict[str, bytes], dict[str, object], object, object]:
    """Tokens and descriptions by id, and the two kinds of statistics that they were made with."""
    paths = caches(folder, manifest, poisoned)
    calibration = tokens.run(manifest, paths, folder / "tokens.h5", tokens.Params())
    usual = describer.run(manifest, paths, folder / "descriptions.jsonl", rules.Params())
    with tokens.open_tokens(folder / "tokens.h5") as file:
        made = {
            id_: b"".join(t.values.tobytes() + t.mask.tobytes() for _, t in sorted(file[id_].items()))
            for id_ in file.ids
        }
    return made, dict(read_descriptions(folder / "descriptions.jsonl")), calibration.to_json(), usual


def test_poisoned_dev_and_test_leave_train_alone(tmp_path: Path, manifest: Manifest) -> None:
    clean = results(tmp_path / "clean", manifest, poisoned=False)
    poisoned = results(tmp_path / "poisoned", manifest, poisoned=True)
    train = [u.id for u in manifest.by_split("train")]
    others = [u.id for u in manifest.utterances if u.split != "train"]
    assert [clean[0][i] for i in train] == [poisoned[0][i] for i in train]
    assert [clean[1][i] for i in train] == [poisoned[1][i] for i in train]
    assert clean[2] == poisoned[2]
    assert clean[3] == poisoned[3]
    assert all(clean[0][i] != poisoned[0][i] for i in others)
    assert any(clean[1][i] != poisoned[1][i] for i in others)
