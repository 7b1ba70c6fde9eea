"""How clips were measured is kept beside their caches, and kept to by the commands that come later."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bemerc.core import config
from bemerc.core.config import open_document
from bemerc.core.errors import ConfigError
from bemerc.extraction.params import AudioParams, VideoParams
from bemerc.pipeline import clip_settings
from tests.errors import raises


@pytest.fixture
def features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    settings = ("extract_video.face.policy=left", "extract_audio.track=2", "extract_video.part_clips=7")
    clip_settings.remember(tmp_path / "features", open_document(None, settings), "whisper")
    return tmp_path / "features"


def test_what_is_named_now_comes_first(features: Path) -> None:
    given = open_document(None, ("extract_video.face.policy=largest", "predict.batch=3"))
    params, asr = clip_settings.as_before(features, given, None)
    video = config.load(params, "extract_video", VideoParams)
    assert (video.face.policy, video.part_clips, asr) == ("largest", 7, "whisper")
    assert config.load(params, "extract_audio", AudioParams).track == 2
    assert config.read_section(params, "predict") == {"batch": 3}
    assert clip_settings.as_before(features, given, "another")[1] == "another"


def test_a_params_file_that_says_otherwise_is_told_so(
    features: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "params.yaml"
    file.write_text("extract_video: {part_clips: null, max_failed_share: 0.1, face: {policy: speaking}}\n")
    params, _ = clip_settings.as_before(features, open_document(file), None)
    assert config.load(params, "extract_video", VideoParams).face.policy == "left"
    (message,) = [record.getMessage() for record in caplog.records]
    for kept in ("extract_video.part_clips=7", "extract_video.face.policy=left", str(file)):
        assert kept in message
    assert "max_failed_share" not in message


def test_where_nothing_was_kept_all_is_as_named_now(tmp_path: Path) -> None:
    given = open_document(None)
    assert clip_settings.as_before(tmp_path, given, "whisper") == (given, "whisper")


def test_what_a_release_did_not_know_has_its_default(features: Path) -> None:
    file = features / "settings.json"
    held = json.loads(file.read_text())
    del held["extract_audio"]["track"]
    file.write_text(json.dumps(held))
    (features / "transcripts").mkdir()
    (features.parent / "a.mp4").touch()
    assert [u.id for u in clip_settings.read_clips(features.parent, features).utterances] == ["a"]
    params, _ = clip_settings.as_before(features, open_document(None), None)
    assert config.load(params, "extract_audio", AudioParams).track == "auto"


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"editor.fontSize": 12}', '{"extract_video": 1, "extract_audio": {}, "asr": null}']
)
def test_what_is_damaged_or_somebody_elses_is_refused_and_stays(
    features: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    """Without it everything would be measured anew, of another face."""
    file = features / "settings.json"
    file.write_text(text)
    with raises(ConfigError, path=file):
        clip_settings.as_before(features, open_document(None), None)
    with raises(ConfigError, path=file):
        clip_settings.remember(features, open_document(None), None)
    assert file.read_text() == text
    (features.parent / "a.mp4").touch()
    assert [u.id for u in clip_settings.read_clips(features.parent, features).utterances] == ["a"]
    assert "settings.json" in caplog.text


def test_settings_of_another_release_are_refused_until_extract_writes_them_anew(features: Path) -> None:
    file = features / "settings.json"
    held = json.loads(file.read_text())
    held["extract_video"]["no_such_key"] = 1
    file.write_text(json.dumps(held))
    with pytest.raises(ConfigError, match=r"no_such_key: unknown key(.|\n)*bemerc extract"):
        clip_settings.as_before(features, open_document(None), None)
    clip_settings.remember(features, open_document(None), None)
    assert clip_settings.as_before(features, open_document(None), None)[1] is None


def test_a_file_that_has_gone_is_named_and_another_may_take_its_place(tmp_path: Path) -> None:
    for name in ("old.onnx", "new.onnx"):
        (tmp_path / name).touch()
    network = ("extract_video.face.policy=network", f"extract_video.face.network={tmp_path / 'old.onnx'}")
    clip_settings.remember(tmp_path, open_document(None, network), None)
    (tmp_path / "old.onnx").unlink()
    with pytest.raises(ConfigError, match=r"old\.onnx(.|\n)*bemerc extract"):
        clip_settings.as_before(tmp_path, open_document(None), None)
    given = open_document(None, (f"extract_video.face.network={tmp_path / 'new.onnx'}",))
    params, _ = clip_settings.as_before(tmp_path, given, None)
    face = config.load(params, "extract_video", VideoParams).face
    assert (face.policy, face.network) == ("network", str(tmp_path / "new.onnx"))
