"""What is measured and said live is what is measured and said offline of the same file."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bemerc import api
from bemerc.behavior.tokens import file
from bemerc.cache import open_cache
from bemerc.core.errors import BemercError, MediaError
from bemerc.corpus.readers.recording import Cue
from bemerc.corpus.transcribe import webvtt
from bemerc.extraction.face import action_units
from bemerc.extraction.face.head_pose import GAZE_COLUMNS, POSE_COLUMNS
from bemerc.extraction.networks import BodyPose
from bemerc.extraction.params import VideoParams
from bemerc.extraction.store import Result
from bemerc.language.inputs import prompts
from bemerc.language.train import merc
from bemerc.live import conversation, events
from bemerc.live.camera import RgbFrame
from bemerc.live.onlooker import Onlooker
from bemerc.live.turns import Turn
from bemerc.pipeline import live
from bemerc.pipeline.project import Project
from tests import toy_language as language
from tests.cli.test_bad_input import portrait
from tests.live.talk import SPOKEN_S, Instant, make

MEASURED = live.Setup(Project())
QUICK = replace(language.TINY, steps=4, drills=2)


class Played:
    """A file, played without waiting: events, and the turns that were measured."""

    def __init__(self, clip: Path, setup: live.Setup = MEASURED) -> None:
        self.events: list[dict[str, Any]] = []
        self.turns: dict[str, Turn] = {}
        kept = conversation.Conversation._measure

        def measured(of: conversation.Conversation, ended: Any) -> Turn:
            turn = kept(of, ended)
            self.turns[turn.utterance.id] = turn
            return turn

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(conversation.Conversation, "_measure", measured)
            self.figures = live.play_file(setup, clip, self.events.append, every_frame=True, clock=Instant())

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == kind]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("live") / "talk.mkv")


@pytest.fixture(scope="module")
def played(clip: Path) -> Played:
    return Played(clip)


@pytest.fixture(scope="module")
def offline(clip: Path, played: Played) -> Path:
    """The same file with the utterances of live as its subtitles, measured by extract into features/ beside it."""
    folder = clip.parent / "offline"
    folder.mkdir()
    (folder / clip.name).symlink_to(clip)
    cues = [Cue(event["start_s"], event["end_s"], "hello") for event in played.of("utterance")]
    (folder / "talk.vtt").write_text(webvtt(cues, "live"), encoding="utf-8")
    api.extract(folder / clip.name, folder / "features", workers=1)
    return folder / clip.name


@pytest.fixture(scope="module")
def model(offline: Path) -> Path:
    """A model that has learned next to nothing from these two utterances, and says different things of them."""
    measured = api.extract(offline, offline.parent / "features", workers=1)
    joy, anger = (
        replace(u, label=label, split="train")
        for u, label in zip(measured.manifest.utterances, ("joy", "anger"), strict=True)
    )
    another = replace(joy, id="another", dialogue="another", index=0, split="dev")
    manifest = replace(measured.manifest, utterances=(another, joy, anger), labels=("joy", "anger"))
    base = offline.parent
    file.run(manifest, measured.caches, base / "tokens.h5", file.Params(k=2))
    shape = language.build(base / "backbone", manifest, QUICK)
    training = replace(language.TRAINING, epochs=1)
    with file.open_tokens(base / "tokens.h5") as tokens:
        merc.run("TVB", manifest, tokens, None, None, prompts.Params(), shape, training, base / "model")
    return base / "model"


def test_utterances_end_by_silence_and_are_described(played: Played) -> None:
    utterances = played.of("utterance")
    assert [event["id"] for event in utterances] == ["talk/0000", "talk/0001"]
    for event, (start, end) in zip(utterances, SPOKEN_S, strict=True):
        assert event["start_s"] < start < end < event["end_s"]
        assert set(event["description"]) >= {"facial_expression", "voice"}
    assert played.figures["dropped"] == 0
    assert played.figures["frames"] == len(played.of("frame")) == 44
    assert [event["utterance"] for event in played.of("begin")] == [0, 1]
    json.dumps(played.events, allow_nan=False)


def test_the_rows_are_byte_for_byte_those_of_extract(offline: Path, played: Played) -> None:
    for modality in ("face", "pose", "audio"):
        with open_cache(offline.parent / "features" / f"{modality}.h5") as cache:
            assert set(cache.ids) == set(played.turns)
            for id_, turn in played.turns.items():
                result = turn.outcomes[modality]
                assert isinstance(result, Result)
                assert result.features.values.tobytes() == cache[id_].values.tobytes(), (modality, id_)
                assert result.features.timestamps_s.tobytes() == cache[id_].timestamps_s.tobytes()
                assert result.duration_s == pytest.approx(cache.duration_s(id_), abs=1e-9)
                assert modality != "face" or np.isfinite(result.features.values).all()


def test_the_labels_are_those_of_predict(offline: Path, model: Path) -> None:
    live_ones = Played(offline, replace(MEASURED, model=model)).of("utterance")
    predicted = api.predict(model, offline, offline.parent / "features").predictions
    assert [event["id"] for event in live_ones] == [one.id for one in predicted]
    for event, one in zip(live_ones, predicted, strict=True):
        assert (event["label"], event["text"]) == (one.label, "hello")
        assert event["scores"] == pytest.approx(one.scores, abs=2e-4)
    assert live_ones[0]["scores"] != live_ones[1]["scores"]


def test_a_frame_says_at_once_what_its_row_says_later(played: Played) -> None:
    """But for the units, which stand above the rest so far, and the quality."""
    told = {round(event["time_s"], 3): event for event in played.of("frame")}
    same = []
    for turn in played.turns.values():
        features = turn.outcomes["face"].features  # type: ignore[union-attr]
        for time_s, row in zip(features.timestamps_s + turn.utterance.start_s, features.values, strict=True):
            event = told[round(time_s, 3)]
            if event["utterance"] is not None:
                rest = [i for i, name in enumerate(features.columns) if name in (*POSE_COLUMNS, *GAZE_COLUMNS)]
                same.append(all(event["face"][features.columns[i]] == pytest.approx(row[i], abs=2e-3) for i in rest))
                assert all(0 <= event["face"][name] <= 5.5 for name in action_units.COLUMNS)
    assert len(same) > 10
    # While an utterance catches up, a tracker of the whole conversation tells in its place.
    assert np.mean(same) > 0.6


def test_everybody_has_rows_where_everybody_is_kept() -> None:
    params = VideoParams()
    onlooker = Onlooker(replace(params, face=replace(params.face, keep="all")))
    wide = np.concatenate([portrait()] * 2, axis=1)
    for time_s in (0.0, 0.1, 0.2):
        observed = onlooker.look(RgbFrame(wide, time_s), None)
        units, others = onlooker.units(observed), onlooker.others(observed)
    assert others is not None
    assert len(observed.faces) == 1 + len(others) == 2
    assert abs(units["face_x"] - others[0]["face_x"]) == pytest.approx(0.5, abs=0.02)
    event = events.frame(observed, units, 0, 0.0, others)
    assert event["others"][0].keys() == event["face"].keys()
    assert Onlooker(params).others(observed) is None


def test_of_a_close_up_no_shoulders_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pose model guesses them below the picture, and calls them visible."""
    guessed = np.ones((33, 4), np.float32)
    guessed[:, :2] = 0.5
    guessed[[11, 12], 1] = 1.2
    monkeypatch.setattr(BodyPose, "__call__", lambda self, rgb, timestamp_s: guessed)
    keypoints = Onlooker(VideoParams()).look(RgbFrame(portrait(), 0.0), None).keypoints
    assert keypoints is not None
    assert np.flatnonzero(keypoints[:, 3] == 0).tolist() == [11, 12]


def test_a_pause_that_goes_on_costs_no_frame(clip: Path, played: Played) -> None:
    for turn in played.turns.values():
        times_s = turn.outcomes["face"].features.timestamps_s  # type: ignore[union-attr]
        assert np.diff(times_s) == pytest.approx(0.1, abs=1e-3)
        assert times_s[0] < 0.1


def test_without_sound_all_is_one_utterance(tmp_path: Path) -> None:
    played = Played(make(tmp_path / "mute.mkv", False, 1.0))
    (event,) = played.of("utterance")
    assert (event["start_s"], event["end_s"], event["label"]) == (0.0, 1.0, None)
    assert not played.of("voice")


def test_what_is_missing_is_one_sentence(tmp_path: Path) -> None:
    for setup, path in (
        (MEASURED, tmp_path / "none.mp4"),
        (replace(MEASURED, model=tmp_path), make(tmp_path / "a.mkv", seconds=0.2)),
    ):
        with pytest.raises(BemercError) as caught:
            live.play_file(setup, path, lambda event: None, clock=Instant())
        assert "\n" not in str(caught.value)


def test_what_no_video_is_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "words.mp4").write_text("no video")
    for path in (tmp_path / "words.mp4", tmp_path):
        with pytest.raises(MediaError, match=re.escape(str(path))):
            live.play_file(MEASURED, path, lambda event: None, clock=Instant())


def test_events_come_in_order(played: Played) -> None:
    times = [event["time_s"] for event in played.of("frame")]
    assert all(a < b for a, b in itertools.pairwise(times))
    assert played.events[-1]["event"] == "summary"
