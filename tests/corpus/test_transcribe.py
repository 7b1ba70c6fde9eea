"""Recordings without subtitles get their words from a Whisper: once, beside nobody's files, and never out of silence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from transformers import LlamaConfig

from bemerc.core.config import Document
from bemerc.corpus import transcribe
from bemerc.corpus.manifest import read_manifest
from bemerc.corpus.readers import recording
from bemerc.pipeline import clip_descriptions, clip_settings
from bemerc.pipeline.clips import extract
from tests.clips import write_clip
from tests.errors import raises
from tests.whispers import ENDS_S, SAID, tiny_whisper

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_whisper(tmp_path_factory.mktemp("models") / "whisper"))


def test_a_short_clip_is_one_turn_with_its_words_and_a_long_one_a_dialogue(whisper: str, tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    short, long = write_clip(clips / "a.mp4", 2.0), write_clip(clips / "b.wav", 40.0, picture=False)
    transcripts = transcribe.run(recording.without_cues(clips), whisper, tmp_path / "out")
    assert set(transcripts.files) == {short, long}
    assert not transcripts.without
    turns = recording.read_dir(clips, transcripts=transcripts.files).utterances
    assert [(u.id, u.text, u.start_s, u.end_s) for u in turns] == [
        ("a", SAID.strip(), None, None),
        ("b/0000", SAID.strip(), 0.0, ENDS_S),
        ("b/0001", SAID.strip(), 30.0, 30.0 + ENDS_S),
    ]


def test_a_recording_is_transcribed_once(whisper: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = write_clip(tmp_path / "a.mp4", 1.0)
    first = transcribe.run([clip], whisper, tmp_path / "out")
    monkeypatch.setattr(transcribe, "whisper", lambda *_: pytest.fail("the model was loaded again"))
    assert transcribe.run([clip], whisper, tmp_path / "out") == first
    write_clip(clip, 1.5)
    with pytest.raises(pytest.fail.Exception):
        transcribe.run([clip], whisper, tmp_path / "out")


def test_what_is_made_of_clips_later_has_their_transcripts(whisper: str, tmp_path: Path) -> None:
    clips, out, params = tmp_path / "clips", tmp_path / "out", Document({}, "the defaults")
    write_clip(clips / "a.mp4", 1.5)
    extract(clips, out, params, only="audio", workers=1, asr=whisper)
    described = clip_descriptions.run(clips, out, params, workers=1)
    assert [u.text for u in described.measured.manifest.utterances] == [SAID.strip()]
    for source in (clips, clips / "a.mp4"):
        assert [u.text for u in clip_settings.read_clips(source, out).utterances] == [SAID.strip()]
    given = clip_descriptions.run(clips, tmp_path / "elsewhere", params, caches=out)
    assert [u.text for u in given.measured.manifest.utterances] == [SAID.strip()]


def test_silence_no_track_and_a_broken_file_cost_themselves_alone(whisper: str, tmp_path: Path) -> None:
    spoken = write_clip(tmp_path / "spoken.mp4", 1.0)
    silent = write_clip(tmp_path / "silent.wav", 1.0, tone_hz=0.0, picture=False)
    mute = write_clip(tmp_path / "mute.mp4", 1.0, tone_hz=None)
    broken = tmp_path / "broken.mp4"
    broken.write_text("no clip")
    gone = tmp_path / "gone.mp4"
    transcripts = transcribe.run([spoken, silent, mute, broken, gone], whisper, tmp_path / "out")
    assert set(transcripts.files) == {spoken}
    assert "No speech" in transcripts.without[silent]
    assert "sound track" in transcripts.without[mute]
    assert "cannot be opened" in transcripts.without[broken]
    assert "cannot be read" in transcripts.without[gone]


def test_subtitles_of_ones_own_are_left_alone(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", 1.0)
    write_clip(tmp_path / "b.mp4", 1.0)
    (tmp_path / "a.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nMine.\n")
    assert recording.without_cues(tmp_path) == [tmp_path / "b.mp4"]


def test_a_transcript_survives_the_way_through_its_file(tmp_path: Path) -> None:
    cues = [
        recording.Cue(0.0, 1.25, "5 < 6 && <b>not bold</b>"),
        recording.Cue(3599.9996, 3601.0, "ANN: ümlaut\n\nline"),
    ]
    file = tmp_path / "a.vtt"
    file.write_text(transcribe.webvtt(cues, "some/whisper"), encoding="utf-8")
    cues, _ = recording.read_cues(file, speakers=False)
    assert [(c.start_s, c.end_s, c.text) for c in cues] == [
        (0.0, 1.25, "5 < 6 && <b>not bold</b>"),
        (3600.0, 3601.0, "ANN: ümlaut line"),
    ]
    assert "some/whisper" in file.read_text(encoding="utf-8")


@pytest.mark.parametrize(("level", "audible"), [(0.0, False), (0.0005, False), (0.01, True)])
def test_audible(level: float, audible: bool) -> None:
    noise = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    assert transcribe.is_audible(level * noise) is audible
    assert not transcribe.is_audible(np.zeros(0, np.float32))


def test_a_model_that_is_not_there_or_no_whisper_is_a_sentence(tmp_path: Path) -> None:
    with raises(transcribe.TranscribeError, path=str(tmp_path / "nowhere")):
        transcribe.whisper(str(tmp_path / "nowhere"))
    LlamaConfig().save_pretrained(tmp_path / "llama")
    with raises(transcribe.TranscribeError, path=str(tmp_path / "llama"), name="llama"):
        transcribe.whisper(str(tmp_path / "llama"))


@pytest.mark.slow
def test_prepare_transcribes_recordings(whisper: str, tmp_path: Path) -> None:
    write_clip(tmp_path / "data" / "recording" / "train" / "talk.mp4", 1.5)
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["prepare"]["corpora"] = ["recording"]
    params["prepare"]["recording"]["asr"] = whisper
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    answer = subprocess.run(
        [sys.executable, "-m", "bemerc", "prepare"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    (turn,) = read_manifest(tmp_path / "data" / "manifest.jsonl").utterances
    assert (turn.text, turn.split, turn.start_s, turn.end_s) == (SAID.strip(), "train", 0.0, ENDS_S)
    assert list((tmp_path / "data" / "transcripts").glob("talk.*.vtt"))
