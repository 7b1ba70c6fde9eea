"""``bemerc extract --estimate``: a few clips are timed, nothing is kept."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bemerc.cli.main import app
from bemerc.pipeline.clip_estimate import Estimate
from tests.clips import write_clip


def an_estimate() -> Estimate:
    return Estimate(
        clips=100_000,
        utterances=100_000,
        video_s=3.6e6,
        timed=6,
        timed_s=24.0,
        core_s=0.5,
        clock_s=0.9,
        start_s=3.6,
        store_bytes=3e10,
        cache_bytes=2e9,
        files=300_000,
        cores=2,
    )


def test_the_arithmetic() -> None:
    estimate = an_estimate()
    assert math.isclose(estimate.hours(1), 500.001)
    assert math.isclose(estimate.hours(8), 62.501)
    assert math.isclose(estimate.as_json()["hours"]["32"], 15.626)
    words = estimate.in_words()
    for part in ("100000 clips", "1000.00 hours of video", "10.4 days on 2 cores", "30 GB in 300000 files", "2 GB"):
        assert part in words


def test_it_times_clips_and_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for i in range(3):
        write_clip(tmp_path / "clips" / f"{i}.mp4", 1.0 + i / 2)
    (tmp_path / "clips" / "broken.mp4").write_text("no video")
    command = ["extract", "clips", "--estimate", "--only", "audio", "--json"]
    answer = CliRunner().invoke(app, command, catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    said = json.loads(answer.stdout)
    assert (said["clips"], said["utterances"], said["timed"]) == (4, 4, 3)
    assert said["video_s"] == pytest.approx(6.0, abs=0.3)
    assert said["files"] == 4
    assert said["core_s"] > 0
    assert said["store_bytes"] > said["video_s"] * 1000
    assert [path.name for path in tmp_path.iterdir()] == ["clips"]


def test_where_no_clip_can_be_opened(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "broken.mp4").write_text("no video")
    answer = CliRunner().invoke(app, ["extract", str(tmp_path / "clips"), "--estimate"])
    assert answer.exit_code == 1
    assert "nothing can be timed" in answer.output
