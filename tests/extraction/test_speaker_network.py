"""A user's network for the target face: what it is given, what comes of its scores, and files that are none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, external_data_helper, helper, numpy_helper
from scipy.signal import medfilt

from bemerc.cache import open_cache
from bemerc.core.errors import MachineError
from bemerc.core.hashing import sha256
from bemerc.extraction.audio.mfcc import mfcc
from bemerc.extraction.face import extractor
from bemerc.extraction.face.detection import TrackedFace
from bemerc.extraction.face.speaker_crops import FaceBox, Stretch, face_region
from bemerc.extraction.face.speaker_network import SpeakerNetwork
from bemerc.extraction.face.speaker_scores import SpeakerScores, cepstra_of
from bemerc.extraction.jobs import Job, extractor_spec
from bemerc.extraction.networks.onnx_model import BrokenModelFile, has_external_data, open_session
from bemerc.extraction.run import run
from bemerc.media.frame_view import ArrayFrame
from bemerc.sample.clip import write_clip
from tests.extraction.test_detection import person
from tests.extraction.test_target_face import select, speech, stamps, track, wave
from tests.speaker_networks import AUDIO, CROPS, brightness, loud_motion, model_of, write

Array = NDArray[np.float64]
RATE_HZ = 16_000
THEIRS = (
    (
        18.3093841,
        29.2431970,
        6.2435110,
        -16.2186823,
        -26.7858966,
        -21.7755819,
        -7.8330834,
        1.4452394,
        1.6718327,
        -4.0930911,
        -7.1245658,
        -5.9253971,
        -2.8390124,
    ),
    (
        19.3236944,
        23.5958789,
        -8.3980979,
        -32.1165622,
        -32.5150686,
        -14.8597010,
        2.7544104,
        5.1158924,
        -3.4240588,
        -11.0163262,
        -8.7382883,
        -1.1720801,
        4.3026178,
    ),
    (
        19.9584993,
        18.6400884,
        -25.4566047,
        -44.0799952,
        -21.7068279,
        11.5744199,
        21.7573268,
        7.6323413,
        -4.3091214,
        -2.2372218,
        4.5762775,
        2.2531606,
        -4.9438626,
    ),
    (
        20.4266056,
        10.5895375,
        -36.7591880,
        -38.1576472,
        4.6255682,
        30.3073219,
        12.8874142,
        -12.3120242,
        -11.8427608,
        -0.9576030,
        -0.4689003,
        -5.4900975,
        -1.9085427,
    ),
    (
        20.2283609,
        0.6504967,
        -32.0409906,
        -29.9789281,
        14.3754661,
        29.7497385,
        3.3074862,
        -20.1524380,
        -9.2706522,
        7.5709089,
        4.8578704,
        -6.7585273,
        -5.8154035,
    ),
    (
        19.4789436,
        -5.3064015,
        -30.4780642,
        -19.5689265,
        19.9677134,
        22.6250081,
        -6.2965209,
        -19.1371114,
        -0.4731832,
        10.9366962,
        -0.9484624,
        -11.8188016,
        -2.3890285,
    ),
)


def landmarks(x: float, y: float, half: float) -> NDArray[np.float32]:
    points = np.zeros((478, 3), np.float32)
    points[:, :2] = np.random.default_rng(1).uniform(-half / 2, half / 2, (478, 2)) + np.array([x, y])
    points[:4, :2] = (x - half, y), (x + half, y), (x, y - half), (x, y + half)
    return points


# --- What the network is given


def test_cepstra_are_those_of_python_speech_features() -> None:
    """Of 1,200 samples: numbers that python_speech_features 0.6 gave, mfcc(samples, 16000)."""
    at = np.arange(1200)
    samples = np.rint(6000 * np.sin(at**2 / 3000) + 900 * np.sin(at / 3)).astype(np.int16).astype(np.float64)
    samples[900:] = 0
    theirs = np.array(THEIRS)
    np.testing.assert_allclose(mfcc(samples), theirs, atol=1e-6)


def published_crops(frames: list[NDArray[np.uint8]], boxes: Array) -> NDArray[np.uint8]:
    """What the published code does with x, y and half side per frame, written down step by step."""
    x, y, s = (medfilt(column, 13) for column in boxes.T)
    crops = []
    for i, frame in enumerate(frames):
        pad = int(s[i] * (1 + 2 * 0.40))
        padded = np.pad(frame, ((pad, pad), (pad, pad), (0, 0)), "constant", constant_values=110)
        mid_y, mid_x = y[i] + pad, x[i] + pad
        face = padded[int(mid_y - s[i]) : int(mid_y + s[i] * 1.8), int(mid_x - s[i] * 1.4) : int(mid_x + s[i] * 1.4)]
        grey = cv2.cvtColor(cv2.resize(face, (224, 224)), cv2.COLOR_RGB2GRAY)
        crops.append(grey[56:168, 56:168])
    return np.stack(crops)


def test_crops_are_the_published_ones_at_the_picture_s_edge_too() -> None:
    rng = np.random.default_rng(2)
    noise = cv2.GaussianBlur(rng.normal(0, 1, (240, 320, 3)), (0, 0), 5)
    frames = [np.roll((120 + 900 * noise).clip(0, 255).astype(np.uint8), 2 * i, axis=1) for i in range(20)]
    faces = [
        landmarks(40 + 1.5 * i + rng.normal(0, 1), 170 + rng.normal(0, 1), 52 + rng.normal(0, 1.5)) for i in range(20)
    ]
    boxes = np.array([(box.x, box.y, box.half) for box in map(FaceBox.around, faces)])
    stretch = Stretch(0.0)
    for i, (frame, face) in enumerate(zip(frames, faces, strict=True)):
        stretch.add(i, i / 25, face_region(ArrayFrame(frame), face))
    stretch.end()
    crops, theirs = stretch.take(20), published_crops(frames, boxes)
    assert crops.shape == (20, 112, 112)
    assert np.abs(crops.astype(int) - theirs.astype(int)).max() <= 2, "grey before or after resizing: rounding"


@pytest.mark.parametrize(
    ("times_s", "slots"),
    [
        (np.arange(6) / 25, [0, 1, 2, 3, 4, 5]),
        (np.arange(8) / 50, [0, 0, 1, 2, 2, 2, 3, 4]),
        (np.arange(4) / 12.5, [0, 2, 4, 6]),
        (np.array([0, 0.04, 0.2, 0.24]), [0, 1, 5, 6]),
    ],
)
def test_frames_at_any_rate_become_25_crops_a_second(times_s: Array, slots: list[int]) -> None:
    stretch = Stretch(float(times_s[0]))
    for row, time_s in enumerate(times_s):
        frame = np.full((64, 64, 3), 10 * row, np.uint8)
        stretch.add(row, float(time_s), face_region(ArrayFrame(frame), landmarks(32, 32, 10)))
    stretch.end()
    assert (stretch.rows, stretch.slots) == (list(range(len(times_s))), slots)
    shown = [crop[56, 56] for crop in stretch.crops]
    assert len(shown) == slots[-1] + 1
    latest = {slot: 10 * row for row, slot in enumerate(slots)}  # of several frames in one slot the last
    assert all(shown[slot] == grey for slot, grey in latest.items())
    assert set(shown) <= set(latest.values()), "a slot without a frame shows the one before"


def test_sound_in_windows_is_the_sound_in_one() -> None:
    audio = np.random.default_rng(0).normal(0, 0.1, 3 * RATE_HZ).astype(np.float32)
    whole = cepstra_of(audio, 0.3, 0, 60, padded=True)
    parts = [cepstra_of(audio, 0.3, first, 20, padded=False) for first in (0, 20, 40)]
    assert whole is not None
    np.testing.assert_allclose(np.concatenate([part for part in parts if part is not None]), whole, atol=1e-9)
    assert cepstra_of(audio, 2.5, 0, 20, padded=False) is None
    assert cepstra_of(audio, 2.5, 0, 20, padded=True) is not None


# --- Its scores on the clip's frames


def scored(
    network: Path, times_s: Array, visible: NDArray[np.bool_], audio: NDArray[np.float32] | None
) -> tuple[dict[int, Array], int]:
    """A face that gets brighter, where it is seen; and the most crops that were ever kept."""
    scores = SpeakerScores(SpeakerNetwork(network), lambda: audio, lambda: None)
    most = 0
    for row, time_s in enumerate(times_s):
        frame = np.full((64, 64, 3), row % 256, np.uint8)
        faces = [TrackedFace(3, landmarks(32, 32, 16), 1.0, frame[:0, :0, 0], frame[:0, :0])] if visible[row] else []
        scores.add(row, float(time_s), ArrayFrame(frame), faces)
        most = max(most, sum(len(one.stretch.crops) for one in scores._active.values()))
    return scores.finish(), most


def test_every_frame_gets_the_score_of_its_time_and_few_crops_are_kept(tmp_path: Path) -> None:
    network = write(tmp_path / "bright.onnx", brightness(0.0))
    times_s = np.arange(700) / 30
    visible = np.ones(700, np.bool_)
    visible[300:306], visible[400:460] = False, False  # a short gap, and one that begins a new stretch
    scores, most = scored(network, times_s, visible, np.ones(24 * RATE_HZ, np.float32))
    assert most <= 210
    rows = np.flatnonzero(visible)
    assert len(scores[3]) == len(rows)
    inner = np.array([(row % 256) not in range(250, 256) and (row % 256) not in range(6) for row in rows])
    at_edge = (np.abs(rows[:, None] - np.array([0, 303, 399, 460, 699])) < 12).any(axis=1)
    np.testing.assert_allclose(scores[3][inner & ~at_edge], (rows % 256)[inner & ~at_edge], atol=2.5)


def test_sound_that_comes_at_the_end_gives_the_same_scores(tmp_path: Path) -> None:
    """As in a live conversation, whose utterances have their sound when they are over; a face is lost on the way."""
    network, sound = SpeakerNetwork(write(tmp_path / "bright.onnx", brightness(0.0))), np.ones(9 * RATE_HZ, np.float32)
    answers: list[dict[int, Array]] = []
    for at_once in (True, False):
        sounds = [sound] if at_once else []
        scores = SpeakerScores(network, lambda sounds=sounds: sounds[0] if sounds else None, lambda: None)
        for row in range(200):
            frame = np.full((64, 64, 3), row, np.uint8)
            face = TrackedFace(row // 120, landmarks(32, 32, 16), 1.0, frame[:0, :0, 0], frame[:0, :0])
            scores.add(row, row / 25, ArrayFrame(frame), [] if 60 <= row < 80 else [face])
        sounds[:] = [sound]
        answers.append(scores.finish())
    assert [len(answers[1][number]) for number in (0, 1)] == [100, 80]
    for number in (0, 1):
        assert np.isfinite(answers[1][number]).all()
        np.testing.assert_allclose(answers[1][number], answers[0][number], atol=1e-3)


def test_without_sound_no_score_and_no_heap_of_crops(tmp_path: Path) -> None:
    network = write(tmp_path / "bright.onnx", brightness())
    scores, most = scored(network, np.arange(800) / 25, np.ones(800, np.bool_), None)
    assert np.isnan(scores[3]).all()
    assert len(scores[3]) == 800
    assert most <= 751


def test_a_face_that_is_there_too_short_for_its_median_box_gets_no_score(tmp_path: Path) -> None:
    network = write(tmp_path / "bright.onnx", brightness())
    visible = np.zeros(100, np.bool_)
    visible[:9], visible[30:40], visible[60:66] = True, True, True  # three stretches
    scores, _ = scored(network, np.arange(100) / 25, visible, np.ones(5 * RATE_HZ, np.float32))
    assert np.isfinite(scores[3]).tolist() == 9 * [False] + 10 * [True] + 6 * [False]


def test_a_network_that_returns_no_numbers_is_a_fault_of_the_machine(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["crops"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("Log", ["mean"], ["score"]),
    ]
    network = SpeakerNetwork(write(tmp_path / "log.onnx", model_of(nodes, {})))
    with pytest.raises(MachineError):
        network.log_odds(np.zeros((20, 13)), np.zeros((5, 112, 112), np.uint8))


def test_a_run_that_fails_on_a_clip_is_a_fault_of_the_machine_too(tmp_path: Path) -> None:
    """It runs on the seven frames on which networks are tried."""
    nodes = [
        helper.make_node("ReduceMean", ["crops"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("Reshape", ["mean", "seven"], ["score"], name="\x1b[2J" + 1000 * "x"),
    ]
    network = SpeakerNetwork(write(tmp_path / "seven.onnx", model_of(nodes, {"seven": [1, 7]})))
    with pytest.raises(MachineError) as caught:
        network.log_odds(np.zeros((20, 13)), np.zeros((5, 112, 112), np.uint8))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500 + len(str(tmp_path))


# --- The choice


def test_the_network_s_scores_decide_and_are_doubted_like_ours() -> None:
    rows, voice = range(100), wave(speech(4, 1), 4)
    tracks = [track(0, rows, 0.2), track(1, rows, 0.7)]
    for odds, chosen, uncertain in (((3.0, -3.0), 0, False), ((-3.0, 3.0), 1, False), ((0.5, 0.4), 0, True)):
        log_odds = {number: np.full(100, value) for number, value in enumerate(odds)}
        choice = select(tracks, stamps(rows), "network", voice, 0.7, log_odds=log_odds)
        assert (choice.by, choice.spans[0].track, choice.uncertain) == ("network", chosen, uncertain)
    even = np.exp([0.5, 0.4, 0.0])
    assert choice.score == pytest.approx(even[0] / even.sum()), "as likely as that it speaks and nobody else does"


def test_a_lone_listener_is_doubted_and_a_shot_of_listeners_is_nobody_s() -> None:
    rows, voice = range(100), wave(speech(4, 1), 4)
    alone = select([track(0, rows, 0.5)], stamps(rows), "network", voice, 0.7, log_odds={0: np.full(100, -2.0)})
    assert (alone.by, alone.uncertain, len(alone.spans)) == ("alone", True, 1)
    assert alone.score == pytest.approx(1 / (1 + np.exp(2)))
    tracks = [track(0, range(50), 0.2), track(1, range(50, 100), 0.7, shot=1)]
    log_odds = {0: np.full(50, 3.0), 1: np.full(50, -1e9)}
    choice = select(tracks, stamps(rows), "network", voice, 0.7, log_odds=log_odds)
    assert [span.track for span in choice.spans] == [0]


def test_pauses_hardly_count_and_frames_without_a_score_not_at_all() -> None:
    rows = range(100)
    loud = np.concatenate([np.zeros(200), np.ones(300)])
    odds = np.concatenate([np.full(50, -4.0), np.full(50, 4.0)])
    odds[60:70] = np.nan
    choice = select([track(0, rows, 0.5)], stamps(rows), "network", wave(loud, 5), 0.7, log_odds={0: odds})
    assert choice.score > 0.95
    nothing = select([track(0, rows, 0.5)], stamps(rows), "network", wave(loud, 5), 0.7, log_odds={0: odds * np.nan})
    assert nothing.score == 1, "as without sound"


def test_who_has_no_score_is_chosen_last_and_nobody_s_scores_leave_it_to_size() -> None:
    rows, voice = range(100), wave(speech(4, 1), 4)
    tracks = [track(0, rows, 0.2, area=0.02), track(1, rows, 0.7, area=0.09)]
    nothing = np.full(100, np.nan)
    for odds in (-3.0, -1e9):
        choice = select(tracks, stamps(rows), "network", voice, 0.7, log_odds={0: np.full(100, odds), 1: nothing})
        assert (choice.by, choice.spans[0].track) == ("network", 0)
    choice = select(tracks, stamps(rows), "network", voice, 0.7, log_odds={0: nothing, 1: nothing})
    assert (choice.by, choice.spans[0].track) == ("largest", 1)


@pytest.mark.parametrize("waveform", [None, np.zeros(64_000, np.float32)])
def test_without_sound_the_largest_is_measured_and_the_choice_says_so(waveform: NDArray[np.float32] | None) -> None:
    rows = range(100)
    tracks = [track(0, rows, 0.2, area=0.02), track(1, rows, 0.7, area=0.09)]
    log_odds = {number: np.full(100, np.nan) for number in (0, 1)}
    choice = select(tracks, stamps(rows), "network", waveform, 0.7, log_odds=log_odds)
    assert (choice.policy, choice.by, choice.spans[0].track) == ("network", "largest", 1)


def test_caches_name_the_network_by_its_content_and_are_as_before_without_one(tmp_path: Path) -> None:
    default = extractor.Params()
    assert "network" not in default.recorded()
    assert replace(default, network="nowhere.onnx").recorded() == default.recorded()
    one, other, same = (tmp_path / name for name in ("one.onnx", "other.onnx", "same.onnx"))
    for path, content in ((one, b"a"), (other, b"b"), (same, b"a")):
        path.write_bytes(content)
    recorded = [replace(default, policy="network", network=str(path)).recorded() for path in (one, other, same)]
    assert recorded[0] == recorded[2] != recorded[1]
    assert recorded[0]["network"] == f"sha256:{sha256(one)}"


@pytest.mark.parametrize("network", [None, "no_such_file.onnx", "", "."])
def test_a_policy_without_its_network_is_a_fault_of_the_params(network: str | None) -> None:
    assert len(list(extractor.Params(policy="network", network=network).check())) == 1
    assert not list(extractor.Params(network=network).check())


@pytest.mark.slow
def test_the_choice_of_an_extraction_follows_the_network(tmp_path: Path) -> None:
    """Two faces whose mouths move in turn, one in sound and one in silence."""
    count, half = 60, 30
    drawn = [{level: person(who, 240, level) for level in (0.0, 1.0)} for who in (0, 1)]
    moves = [[i % 4 < 2 and (i < half) == (who == 0) for i in range(count)] for who in (0, 1)]
    frames = [np.concatenate([drawn[who][float(moves[who][i])] for who in (0, 1)], axis=1) for i in range(count)]
    time_s = np.arange(count * RATE_HZ // 25) / RATE_HZ
    jobs = []
    for who, loud in ((0, time_s < half / 25), (1, time_s >= half / 25)):
        sound = (9000 * loud * np.sin(2 * np.pi * 500 * time_s)).astype(np.int16)
        jobs.append(Job(str(who), tmp_path / f"{who}.mp4"))
        write_clip(tmp_path / f"{who}.mp4", frames, sound, size=(480, 240), fps=25, rate_hz=RATE_HZ)
    network = write(tmp_path / "speaker.onnx", loud_motion())
    params = extractor.Params(policy="network", network=str(network))
    run(jobs, (extractor_spec("face", extractor.__name__, params),), tmp_path / "out", tmp_path / "store", 1)
    with open_cache(tmp_path / "out" / "face.h5") as cache:
        middles = [float(np.nanmean(cache[id_].column("face_x"))) for id_ in ("0", "1")]
        assert middles[0] < 0.5 < middles[1]
        assert {choice.by for choice in cache.choices.values()} == {"network"}
        assert cache.params["network"] == f"sha256:{sha256(network)}"


# --- Files that are no such network


def with_external_data(model: ModelProto, nested: bool) -> ModelProto:
    """Its constant, or one inside of a node, lies in another file."""
    tensor = model.graph.initializer[0]
    if nested:
        inner = numpy_helper.from_array(np.zeros(3, np.float32), "inner")
        external_data_helper.set_external_data(inner, "/etc/passwd")
        inner.ClearField("raw_data")
        model.graph.node.append(helper.make_node("Constant", [], ["unused"], value=inner))
    else:
        external_data_helper.set_external_data(tensor, "../secret.bin")
        tensor.ClearField("raw_data")
    return model


@pytest.mark.parametrize("nested", [False, True])
def test_a_model_that_would_read_other_files_is_refused(tmp_path: Path, nested: bool) -> None:
    good = brightness().SerializeToString()
    assert not has_external_data(good)
    (tmp_path / "secret.bin").write_bytes(bytes(64))
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "external.onnx"
    path.write_bytes(with_external_data(brightness(), nested).SerializeToString())
    with pytest.raises(BrokenModelFile, match="other files"):
        open_session(path)


def varint(number: int) -> bytes:
    groups = [number >> shift & 0x7F for shift in range(0, max(number.bit_length(), 1), 7)]
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])


def in_graph(tensor: bytes) -> bytes:
    """A model, and in its graph one constant more, given as bytes."""
    graph = varint(5 << 3 | 2) + varint(len(tensor)) + tensor
    return brightness().SerializeToString() + varint(7 << 3 | 2) + varint(len(graph)) + graph


LOCATION, PLACE = 14 << 3, 13 << 3 | 2  # tags of data_location and external_data
ELSEWHERE = b"\x12\x0a\x08location\x12\x06secret"


def test_bytes_that_readers_take_for_other_fields_are_refused(tmp_path: Path) -> None:
    """Some cut a tag to 32 bits."""
    assert has_external_data(in_graph(varint(LOCATION) + b"\x01"))
    assert has_external_data(in_graph(varint(PLACE) + ELSEWHERE))
    for high in (1 << 32, 1 << 63):
        for tensor in (varint(high | LOCATION) + b"\x01", varint(high | PLACE) + ELSEWHERE):
            with pytest.raises(ValueError, match="32 bits"):
                has_external_data(in_graph(tensor))
    padded = bytes([LOCATION | 0x80, *5 * [0x80], 0, 1])  # of more bytes than 32 bits have
    for tensor in (padded, varint(8) + varint(1 << 64), varint(10) + varint(1 << 32)):
        with pytest.raises(ValueError, match="bits"):
            has_external_data(in_graph(tensor))
    path = tmp_path / "cut.onnx"
    path.write_bytes(in_graph(varint(1 << 32 | LOCATION) + b"\x01"))
    with pytest.raises(BrokenModelFile, match="32 bits"):
        open_session(path)


def test_files_that_are_no_model_get_one_sentence(tmp_path: Path) -> None:
    good, path = brightness().SerializeToString(), tmp_path / "bad.onnx"
    rng = np.random.default_rng(0)
    contents = [b"", b"nonsense", good[: len(good) // 2], bytes(4) + b"ORTM" + bytes(100), rng.bytes(4000)]
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(BrokenModelFile):
            SpeakerNetwork(path)
    with pytest.raises(BrokenModelFile):
        SpeakerNetwork(tmp_path)


def mean_score(**shapes: tuple[str | int, ...]) -> ModelProto:
    nodes = [helper.make_node("ReduceMean", ["crops"], ["score"], axes=[2, 3], keepdims=0)]
    return model_of(nodes, {}, **shapes)  # type: ignore[arg-type]


def test_models_of_another_form_say_what_is_wrong(tmp_path: Path) -> None:
    embedding = [
        helper.make_node("ReduceMean", ["crops"], ["wide"], axes=[3], keepdims=0),
        helper.make_node("Squeeze", ["wide", "zero"], ["score"]),
    ]
    pair = [
        helper.make_node("ReduceMean", ["crops"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "two"], ["column"]),
        helper.make_node("Concat", ["column", "column"], ["both"], axis=2),
        helper.make_node("Softmax", ["both"], ["score"], axis=2),
    ]
    wrong = {
        "fixed": mean_score(crops=(1, 25, 112, 112)),
        "size": mean_score(crops=(1, "frames", 96, 96)),
        "cepstra": mean_score(audio=(1, "rows", 80)),
        "rank": mean_score(audio=("rows", 13)),
        "embedding": model_of(embedding, {"zero": [0]}),
        "probabilities": model_of(pair, {"two": [2]}),
        "two outputs": model_of(embedding, {"zero": [0]}, outputs=("score", "wide")),
    }
    integers = mean_score()
    integers.graph.input[1].type.tensor_type.elem_type = TensorProto.INT64
    named = mean_score()
    del named.graph.input[1]
    named.graph.input.extend([helper.make_tensor_value_info("\x1b[2J" + 1000 * "x", TensorProto.FLOAT, (1, 13))])
    for name, model in (wrong | {"integers": integers, "named": named}).items():
        with pytest.raises(BrokenModelFile) as caught:
            SpeakerNetwork(write(tmp_path / "wrong.onnx", model))
        assert "wrong.onnx" in str(caught.value), name
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 500 + len(str(tmp_path))
    assert (CROPS[0], AUDIO[0]) == (1, 1)
    SpeakerNetwork(write(tmp_path / "right.onnx", mean_score()))
    SpeakerNetwork(write(tmp_path / "right.onnx", loud_motion()))


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "million"), [("light", 1.02), ("lr", 0.84)])
def test_the_export_of_either_network_gives_its_scores(tmp_path: Path, kind: str, million: float) -> None:
    torch = pytest.importorskip("torch")
    from fits.speaker_network import Scorer, export, scorer_of

    torch.manual_seed(1)
    first = Scorer(kind)
    assert sum(value.numel() for value in first.parameters()) / 1e6 == pytest.approx(million, abs=0.005)
    weights = {f"module.{name}": value for name, value in first.state_dict().items()} | {
        "lossV.FC.bias": torch.zeros(2)
    }
    scorer = scorer_of(weights)
    export(scorer, tmp_path / "speaker.onnx")
    rng = np.random.default_rng(0)
    cepstra, crops = rng.normal(0, 5, (4 * 17, 13)), rng.integers(0, 256, (17, 112, 112), np.uint8)
    with torch.no_grad():
        logits = scorer(torch.tensor(cepstra[None]).float(), torch.tensor(crops[None]).float())
    expected = torch.log_softmax(logits, dim=1)
    ours = SpeakerNetwork(tmp_path / "speaker.onnx").log_odds(cepstra, crops)
    np.testing.assert_allclose(ours, (expected[:, 1] - expected[:, 0]).numpy(), atol=1e-4)
