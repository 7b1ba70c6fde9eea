"""Tokens: short bursts survive, absence is masks, nobody's future is looked at, the file is exact and quick."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from bemerc.behavior.tokens import file as tokens
from bemerc.behavior.tokens import pooling
from bemerc.behavior.tokens.calibration import earlier_turns
from bemerc.cache import Features, Head, Rows, open_cache, write_cache
from bemerc.core.errors import CacheError, CorpusError, DiskError
from bemerc.corpus.manifest import Manifest, Modality, Utterance
from tests.errors import raises

FACE = ("AU04_r", "AU12_r", "AU45_r", "pose_yaw_deg", "gaze_x_deg", "face_x", "quality")
POSE = ("lean_deg", "left_hand_height", "movement", *pooling.SHOULDERS)
AUDIO = ("pitch_hz", "voicing", "energy_db", "spectral_flatness", *(f"logmel_{b:02d}" for b in range(40)))
COLUMNS: dict[Modality, tuple[str, ...]] = {"face": FACE, "pose": POSE, "audio": AUDIO}
RATE_HZ: dict[Modality, float] = {"face": 25.0, "pose": 8.0, "audio": 100.0}
SPLITS = ("train", "train", "dev", "test")
PARAMS = tokens.Params()
Change = Callable[[str, Modality, NDArray[np.float32]], NDArray[np.float32] | None]


def unchanged(_id: str, _modality: Modality, values: NDArray[np.float32]) -> NDArray[np.float32]:
    return values


def manifest(turns: int = 6, speakers: tuple[str, ...] = ("Ann", "Žofie")) -> Manifest:
    """Four dialogues in three splits, two speakers in turn."""
    utterances = tuple(
        Utterance(f"t/{split}/dia{d}_utt{t}", f"t/{d}", t, speakers[t % len(speakers)], "", None, split, None)  # type: ignore[arg-type]
        for d, split in enumerate(SPLITS)
        for t in range(turns)
    )
    return Manifest(tuple(sorted(utterances, key=lambda u: u.id)), ("neutral",), ("t",), Path())


def frames(modality: Modality, seed: int, duration_s: float = 1.6) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(round(duration_s * RATE_HZ[modality]), len(COLUMNS[modality])))
    if modality == "pose":
        values[:, 3:] = np.abs(values[:, 3:]) * 0.05 + (0.6, 0.4, 0.9, 0.3, 0.4, 0.9)
    if modality == "audio":
        values[:, :3] = values[:, :3] * (20, 0, 3) + (150, 0.9, -20)
    return values.astype(np.float32)


def caches(
    folder: Path, world: Manifest, change: Change = unchanged, duration_s: float = 1.6
) -> dict[Modality, Path | None]:
    """Random frame caches of the whole world; ``change`` alters one utterance's values, None = it failed."""
    folder.mkdir(parents=True, exist_ok=True)
    paths: dict[Modality, Path | None] = {}
    for modality, columns in COLUMNS.items():
        made = {u.id: change(u.id, modality, frames(modality, i, duration_s)) for i, u in enumerate(world.utterances)}
        clips = [
            (key, Features(values, np.arange(len(values)) / RATE_HZ[modality], columns), duration_s, None)
            for key, values in made.items()
            if values is not None
        ]
        path = folder / f"{modality}.h5"
        failures = {key: "broken" for key, values in made.items() if values is None}
        rate = RATE_HZ[modality]
        write_cache(path, Head(modality, columns, rate, "synthetic 1", {}), Rows(clips, failures))
        paths[modality] = path
    return paths


def made(folder: Path, world: Manifest, change: Change = unchanged, params: tokens.Params = PARAMS) -> tokens.TokenFile:
    paths = caches(folder, world, change)
    tokens.run(world, paths, folder / "tokens.h5", params)
    return tokens.open_tokens(folder / "tokens.h5")


def same(a: Mapping[Modality, tokens.BehaviorTokens], b: Mapping[Modality, tokens.BehaviorTokens]) -> bool:
    assert a.keys() == b.keys()
    return all(np.array_equal(a[m].values, b[m].values) and np.array_equal(a[m].mask, b[m].mask) for m in a)


# ------------------------------------------------------------------------------------------------------------ pooling


def pooled(
    values: NDArray[np.float32], columns: tuple[str, ...], rate_hz: float, k: int = 8
) -> dict[str, NDArray[np.float64]]:
    segments = pooling.pool(values, np.arange(len(values)) / rate_hz, columns, len(values) / rate_hz, k)
    return {p.name: segments[:, i] for i, p in enumerate(pooling.plan(columns))}


def test_two_frames_stand_out_in_peak_and_speed_where_the_mean_hardly_moves() -> None:
    quiet = np.full((400, 1), 0.3, np.float32)
    burst = quiet.copy()
    burst[210:212] = 2.3
    token = pooled(burst, ("AU12_r",), 25.0)
    assert token["AU12_r.peak"][4] == pytest.approx(2.0)
    assert token["AU12_r.speed"][4] == pytest.approx(50.0)
    assert token["AU12_r.mean"][4] < 0.1
    others = np.arange(8) != 4
    assert np.abs(token["AU12_r.peak"][others]).max() < 1e-6
    assert np.allclose(token["AU12_r.base"], 0.3)


def test_a_face_that_differs_by_a_constant_differs_in_base_alone() -> None:
    values = np.abs(np.random.default_rng(3).normal(size=(50, 1))).astype(np.float32)
    one, other = pooled(values, ("AU04_r",), 25.0), pooled(values + np.float32(1.5), ("AU04_r",), 25.0)
    assert np.allclose(other["AU04_r.base"] - one["AU04_r.base"], 1.5)
    for kind in ("mean", "peak", "speed"):
        assert np.allclose(one[f"AU04_r.{kind}"], other[f"AU04_r.{kind}"], atol=1e-5)


def test_segments_are_parts_of_the_clips_time_not_of_its_frames() -> None:
    stamps = np.array([0.0, 0.1, 0.2, 0.3, 0.9])
    segments = pooling.pool(np.arange(5, dtype=np.float32)[:, None], stamps, ("pose_yaw_deg",), 1.0, 2)
    assert segments[:, 0].tolist() == [1.5, 4.0]


def test_a_segment_without_a_valid_frame_is_nan_throughout() -> None:
    values = np.ones((40, 2), np.float32)
    values[10:20] = np.nan
    segments = pooling.pool(values, np.arange(40) / 25.0, ("AU04_r", "AU12_r"), 1.6, 4)
    assert np.isnan(segments).all(axis=1).tolist() == [False, True, False, False]
    speed = [p.name for p in pooling.plan(("AU04_r", "AU12_r"))].index("AU04_r.speed")
    assert segments[2, speed] == 0, "a gap is no movement"


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_any_number_of_frames_pools(count: int) -> None:
    for modality, columns in COLUMNS.items():
        values = frames(modality, 1)[:count]
        segments = pooling.pool(values, np.arange(count) / RATE_HZ[modality], columns, 0.006, 8)
        assert segments.shape == (8, len(pooling.plan(columns)))
        assert np.isnan(segments).all() == (count == 0)


def test_infinite_values_count_as_not_measured() -> None:
    values = np.array([[1.0], [np.inf], [1.0], [-np.inf]], np.float32)
    assert pooled(values, ("lean_deg",), 8.0, k=1)["lean_deg.level"][0] == 1.0


def test_a_hidden_hand_has_its_share_of_measured_frames() -> None:
    values = np.full((16, 2), 0.5, np.float32)
    values[:8, 1] = np.nan
    token = pooled(values, ("lean_deg", "left_hand_height"), 8.0, k=2)
    assert token["left_hand_height.seen"].tolist() == [0.0, 1.0]
    assert np.isnan(token["left_hand_height.level"]).tolist() == [True, False]


def test_columns_of_an_encoder_are_pooled_and_raw_positions_are_not() -> None:
    assert [p.name for p in pooling.plan(("wavlm_base_0000", "wavlm_base_0001"))] == [
        "wavlm_base_0000.level",
        "wavlm_base_0001.level",
    ]
    assert not pooling.plan(("face_x", "face_y", "quality", "nose_x", "nose_visibility"))


def test_the_voice_is_measured_over_speech_and_not_over_silence() -> None:
    loud = frames("audio", 5, 1.0)
    silence = np.tile(np.float32([np.nan, 0.0, -90.0, 1.0, *[-90.0] * 40]), (100, 1))
    padded = np.vstack([silence, loud, silence])
    alone, within = pooled(loud, AUDIO, 100.0), pooled(padded, AUDIO, 100.0)
    for measure in ("volume_db", "pitch_st", "pitch_variation_st"):
        name = f"voice_{measure}.clip"
        assert within[name][0] == pytest.approx(alone[name][0], rel=0.02)


# -------------------------------------------------------------------------------------------------------- calibration


def test_absence_is_masks_and_never_a_number(tmp_path: Path) -> None:
    world = manifest()
    failed, dark, half = world.utterances[0].id, world.utterances[1].id, world.utterances[2].id

    def change(key: str, modality: Modality, values: NDArray[np.float32]) -> NDArray[np.float32] | None:
        if key == failed:
            return None
        if key == dark:
            return np.full_like(values, np.nan)
        if key == half:
            values[: (len(values) + 1) // 2] = np.nan
        return values

    with made(tmp_path, world, change) as file:
        for modality in file.widths:
            for key in (failed, dark):
                assert not file[key][modality].mask.any()
                assert not file[key][modality].values.any()
            assert file[half][modality].mask.tolist() == [False] * 4 + [True] * 4
            assert not file[half][modality].values[:4].any()
            assert file[half][modality].values[4:].any(axis=1).all()


def test_train_does_not_know_of_dev_and_test(tmp_path: Path) -> None:
    world = manifest()

    def poison(key: str, _modality: Modality, values: NDArray[np.float32]) -> NDArray[np.float32]:
        return values if "/train/" in key else values * 7 + 3

    with made(tmp_path / "a", world) as clean, made(tmp_path / "b", world, poison) as poisoned:
        assert clean.calibration == poisoned.calibration
        for u in world.utterances:
            assert same(clean[u.id], poisoned[u.id]) == (u.split == "train")


def test_a_turn_does_not_know_of_later_turns_nor_of_other_dialogues_and_speakers(tmp_path: Path) -> None:
    world = manifest()
    poisoned_turn = "t/test/dia3_utt2"  # Ann's, whose turns are 0, 2, 4

    def poison(key: str, _modality: Modality, values: NDArray[np.float32]) -> NDArray[np.float32]:
        return values * 3 + 1 if key == poisoned_turn else values

    with made(tmp_path / "a", world) as clean, made(tmp_path / "b", world, poison) as poisoned:
        changed = {u.id for u in world.utterances if not same(clean[u.id], poisoned[u.id])}
    assert changed == {poisoned_turn, "t/test/dia3_utt4"}


def test_causal_is_the_formula(tmp_path: Path) -> None:
    world = manifest()
    params = tokens.Params(prior=2.0)
    paths = caches(tmp_path, world)
    with open_cache(paths["face"] or Path(), "face") as cache:
        raw = tokens.pool(world, {"face": cache}, params)["face"].astype(np.float64)
    row = {u.id: i for i, u in enumerate(world.utterances)}
    calibration = tokens.run(world, {"face": paths["face"]}, tmp_path / "t.h5", params)
    train = np.array([u.split == "train" for u in world.utterances])
    mean = raw[train].mean(axis=1).mean(axis=0)
    assert np.allclose(calibration.modalities["face"].mean, mean)
    earlier = [raw[row[f"t/dev/dia2_utt{t}"]].mean(axis=0) for t in (1, 3)]
    centre = (sum(earlier) + 2.0 * mean) / (2 + 2.0)
    expected = (raw[row["t/dev/dia2_utt5"]] - centre) / np.array(calibration.modalities["face"].deviation)
    with tokens.open_tokens(tmp_path / "t.h5") as file:
        assert np.allclose(file["t/dev/dia2_utt5"]["face"].values, np.clip(expected, -6, 6), atol=1e-4)


def test_global_has_no_memory_and_none_leaves_the_measurement(tmp_path: Path) -> None:
    world = manifest()
    with made(tmp_path / "g", world, params=tokens.Params(calibration="global")) as file:
        train = np.concatenate([file[u.id]["face"].values for u in world.by_split("train")])
    assert np.abs(train.mean(axis=0)).max() < 0.05
    assert np.abs(train.std(axis=0) - 1).max() < 0.1
    with made(tmp_path / "n", world, params=tokens.Params(calibration="none")) as file:
        column = file.columns["pose"].index("lean_deg.level")
        first = frames("pose", 0)[:, 0]
        level = file[world.utterances[0].id]["pose"].values[:, column]
        assert level[0] == pytest.approx(first[:2].mean(), abs=1e-4)


def test_a_speaker_without_a_name_has_no_earlier_turns() -> None:
    assert not any(earlier_turns(manifest(speakers=("",))).values())
    named = earlier_turns(manifest(speakers=("Ann",)))
    assert [u.index for u in named["t/dev/dia2_utt3"]] == [0, 1, 2]


def test_values_stay_within_a_sane_range(tmp_path: Path) -> None:
    def explode(key: str, _modality: Modality, values: NDArray[np.float32]) -> NDArray[np.float32]:
        return values * 1e6 if "/test/" in key else values

    world = manifest()
    with made(tmp_path, world, explode) as file:
        values = np.concatenate([t.values.ravel() for u in world.utterances for t in file[u.id].values()])
    assert np.isfinite(values).all()
    assert np.abs(values).max() == 6.0


def test_a_column_that_never_moved_in_train_tells_nothing(tmp_path: Path) -> None:
    def still(key: str, modality: Modality, values: NDArray[np.float32]) -> NDArray[np.float32]:
        if modality == "face" and "/test/" not in key:
            values[:, 0] = 0.7
        return values

    world = manifest()
    with made(tmp_path, world, still) as file:
        still_columns = [i for i, name in enumerate(file.columns["face"]) if name.startswith("AU04_r")]
        for u in world.utterances:
            assert not file[u.id]["face"].values[:, still_columns].any()


# ---------------------------------------------------------------------------------------------- new clips, other caches


def test_a_calibration_from_a_model_folder_makes_the_same_tokens_of_unlabelled_clips(tmp_path: Path) -> None:
    world = manifest()
    with made(tmp_path / "a", world) as file:
        text = file.calibration.to_json()
        alone = replace(world, utterances=world.by_split("test"))
        calibration = tokens.Calibration.from_json(text)
        assert calibration == file.calibration
        paths = caches(tmp_path / "b", world)
        tokens.run(alone, paths, tmp_path / "b" / "tokens.h5", PARAMS, calibration)
        with tokens.open_tokens(tmp_path / "b" / "tokens.h5") as new:
            assert new.ids == tuple(u.id for u in alone.utterances)
            assert all(same(file[key], new[key]) for key in new.ids)


def test_a_modality_without_a_cache(tmp_path: Path) -> None:
    world = manifest()
    paths = caches(tmp_path, world)
    calibration = tokens.run(world, paths, tmp_path / "all.h5", PARAMS)
    tokens.run(world, {**paths, "pose": None}, tmp_path / "known.h5", PARAMS, calibration)
    with tokens.open_tokens(tmp_path / "known.h5") as file:
        assert set(file.widths) == {"face", "pose", "audio"}
        assert not any(file[key]["pose"].mask.any() for key in file.ids)
        assert all(file[key]["face"].mask.any() for key in file.ids)
    tokens.run(world, {**paths, "pose": None}, tmp_path / "unknown.h5", PARAMS)
    with tokens.open_tokens(tmp_path / "unknown.h5") as file:
        assert set(file[file.ids[0]]) == {"face", "audio"}


def test_nothing_to_calibrate_on_is_a_sentence(tmp_path: Path) -> None:
    world = manifest()
    alone = replace(world, utterances=world.by_split("test"))
    with pytest.raises(CorpusError, match="no train utterances"):
        tokens.run(alone, caches(tmp_path, world), tmp_path / "tokens.h5", PARAMS)


def test_other_columns_than_the_calibrations_are_refused(tmp_path: Path) -> None:
    world = manifest()
    paths = caches(tmp_path, world)
    calibration = tokens.run(world, paths, tmp_path / "tokens.h5", PARAMS)
    face = calibration.modalities["face"]
    lacking = replace(face, columns=face.columns[:-1], mean=face.mean[:-1], deviation=face.deviation[:-1])
    other = tokens.Calibration({**calibration.modalities, "face": lacking})
    with pytest.raises(CacheError, match=r"face: .* differ in gaze_x_deg\.speed"):
        tokens.run(world, paths, tmp_path / "other.h5", PARAMS, other)
    assert not (tmp_path / "other.h5").exists()


@pytest.mark.parametrize(
    "text", ["", "[]", '{"face": 3}', '{"face": {"extractor": "x", "columns": ["a"], "mean": [], "deviation": []}}']
)
def test_a_text_that_is_no_calibration_is_refused(text: str) -> None:
    with pytest.raises(CacheError, match="not a token calibration"):
        tokens.Calibration.from_json(text)


# ---------------------------------------------------------------------------------------------------------- token file


def test_the_same_tokens_have_the_same_bytes(tmp_path: Path) -> None:
    world = manifest()
    for name in ("a", "b"):
        made(tmp_path / name, world).close()
    assert (tmp_path / "a" / "tokens.h5").read_bytes() == (tmp_path / "b" / "tokens.h5").read_bytes()


def test_plain_h5py_reads_the_file(tmp_path: Path) -> None:
    world = manifest()
    with made(tmp_path, world) as file, h5py.File(tmp_path / "tokens.h5") as plain:
        assert [i.decode() for i in plain["ids"]] == list(file.ids)
        for row, key in enumerate(file.ids):
            assert np.array_equal(plain["face/values"][row], file[key]["face"].values)
            assert np.array_equal(plain["face/mask"][row], file[key]["face"].mask)
        assert plain["face/values"].shape[1:] == (file.k, file.widths["face"])


def test_rows_are_writable_arrays_of_their_own(tmp_path: Path) -> None:
    with made(tmp_path, manifest()) as file:
        key = file.ids[0]
        kept = file[key]["face"].values.copy()
        file[key]["face"].values[:] = 9
        file[key]["face"].mask[:] = False
        assert np.array_equal(file[key]["face"].values, kept)
        assert file[key]["face"].mask.any()


def _first(file: tokens.TokenFile) -> float:
    return float(file[file.ids[0]]["face"].values.sum())


def test_a_token_file_survives_pickling_and_other_processes(tmp_path: Path) -> None:
    with made(tmp_path, manifest()) as file:
        with pickle.loads(pickle.dumps(file)) as copy:
            assert _first(copy) == _first(file)
        with multiprocessing.get_context("spawn").Pool(1) as workers:
            assert workers.apply(_first, (file,)) == _first(file)


def test_an_unknown_id_is_a_key_error(tmp_path: Path) -> None:
    with made(tmp_path, manifest()) as file:
        assert "nobody" not in file
        with pytest.raises(KeyError, match="nobody"):
            file["nobody"]


def test_a_world_without_utterances_writes_and_opens(tmp_path: Path) -> None:
    world = manifest()
    calibration = tokens.run(world, caches(tmp_path, world), tmp_path / "a.h5", PARAMS)
    tokens.run(replace(world, utterances=()), {}, tmp_path / "b.h5", PARAMS, calibration)
    with tokens.open_tokens(tmp_path / "b.h5") as file:
        assert len(file) == 0


def test_a_file_that_cannot_be_written_is_a_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where a folder is wanted")
    world = manifest()
    with pytest.raises(DiskError):
        tokens.run(world, caches(tmp_path, world), tmp_path / "taken" / "tokens.h5", PARAMS)
    (tmp_path / "tokens.h5").mkdir()
    with pytest.raises(DiskError):
        tokens.run(world, caches(tmp_path, world), tmp_path / "tokens.h5", PARAMS)
    assert not list(tmp_path.glob(".*partial"))


def spoil(path: Path, how: str) -> None:
    if how == "missing":
        path.unlink()
    elif how == "text":
        path.write_text("not HDF5")
    elif how == "short":
        path.write_bytes(path.read_bytes()[:-2000])
    else:
        with h5py.File(path, "r+") as file:
            if how == "version":
                file.attrs["schema_version"] = 99
            elif how == "schema":
                file.attrs["schema"] = "something"
            elif how == "shape":
                del file["face/mask"]
                file["face/mask"] = np.zeros((3, 8), bool)
            elif how == "link":
                del file["face/values"]
                file["face/values"] = h5py.ExternalLink("elsewhere.h5", "/values")
            elif how == "packed":
                values = file["face/values"][()]
                del file["face/values"]
                file.create_dataset("face/values", data=values, compression="gzip")


@pytest.mark.parametrize("how", ["missing", "text", "short", "version", "schema", "shape", "link", "packed"])
def test_a_spoilt_file_is_refused_with_its_name(tmp_path: Path, how: str) -> None:
    made(tmp_path, manifest()).close()
    spoil(tmp_path / "tokens.h5", how)
    with raises(CacheError, path=tmp_path / "tokens.h5"):
        tokens.open_tokens(tmp_path / "tokens.h5")


@pytest.mark.parametrize(("params", "fault"), [(tokens.Params(k=0), "k: "), (tokens.Params(prior=-1.0), "prior: ")])
def test_params_are_checked(params: tokens.Params, fault: str) -> None:
    assert params.check()[0].startswith(fault)
