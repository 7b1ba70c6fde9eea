"""``bemerc extract`` and ``describe`` on single clips and folders: what is printed, utterances.csv, settings of the command line."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from bemerc.cache import open_cache
from bemerc.core.config import load, open_document
from bemerc.core.errors import ConfigError
from bemerc.extraction.params import VideoParams
from tests.cli.test_bad_input import film, portrait
from tests.cli.test_cli import ROOT, bemerc
from tests.clips import write_clip

CUES = "1\n00:00:00,100 --> 00:00:00,900\nANN: =1+1, hello\n\n2\n00:00:01,000 --> 00:00:01,800\nBEN: Fine\n"


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with clips/talk.mp4, its subtitles and another clip; the first is extracted alone, the answer is JSON in extract.json."""
    base = tmp_path_factory.mktemp("talk")
    write_clip(base / "clips" / "talk.mp4", 2.0)
    (base / "clips" / "talk.srt").write_text(CUES, encoding="utf-8")
    write_clip(base / "clips" / "other.mp4", 0.3)
    answer = bemerc("extract", "clips/talk.mp4", "--json", "--workers", "1", cwd=base)
    assert answer.returncode == 0, answer.stderr
    (base / "extract.json").write_text(answer.stdout, encoding="utf-8")
    return base


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_a_single_clip_is_extracted_with_its_words(talk: Path) -> None:
    result = json.loads((talk / "extract.json").read_text(encoding="utf-8"))
    assert result["utterances"] == "features/talk/utterances.csv"
    assert [outcome["utterances"] for outcome in result["measured"]] == [2, 2]
    with open_cache(talk / "features" / "talk" / "face.h5") as cache:
        assert cache.ids == ("talk/0000", "talk/0001")
    one, two = rows(talk / "features" / "talk" / "utterances.csv")
    assert (one["speaker"], one["start_s"], one["end_s"], one["turn"]) == ("ANN", "0.100", "0.900", "0")
    assert (one["text"], two["text"]) == ("'=1+1, hello", "Fine")
    assert (one["quality"], one["uncertain"]) == ("0.000", "no")


def test_descriptions_have_names_and_seconds(talk: Path) -> None:
    answer = bemerc("describe", "clips/talk.mp4", cwd=talk)
    assert answer.returncode == 0, answer.stderr
    assert 'talk/0001  00:01.0 BEN "Fine"\n  No face was visible.' in answer.stdout
    assert all("No face" in row["sentences"] for row in rows(talk / "features" / "talk" / "utterances.csv"))
    answer = bemerc("describe", "clips/talk.mp4", "--json", cwd=talk)
    one, _ = json.loads(answer.stdout)["utterances"]
    assert (one["speaker"], one["start_s"], one["events"]) == ("ANN", 0.1, [])
    assert one["description"]["facial_expression"] == "No face was visible."


def test_what_is_brief_is_printed_with_its_second(tmp_path: Path) -> None:
    events = [
        {"kind": "micro-expression", "apex_s": 0.5, "units": {"AU04": 1.2, "AU99": 1.0}},
        {"kind": "blink", "apex_s": 0.75, "units": {"AU45": 2.0}},
        {"kind": "eyes shut", "onset_s": 1.0, "apex_s": 1.5, "offset_s": 2.25, "units": {"AU45": 2.0}},
    ]
    from bemerc.cli.clips import _brief

    assert _brief(events, 10.0) == [
        "Micro-expression at 10.50 s: brows lowered, AU99.",
        "Blinks at 10.75 s.",
        "Eyes shut or lowered from 11.00 to 12.25 s.",
    ]


def test_a_clip_is_named_once(talk: Path) -> None:
    for arguments in ((), ("clips", "--video-dir", "clips")):
        answer = bemerc("extract", *arguments, cwd=talk)
        assert answer.returncode == 2
        assert answer.stdout == ""


def test_what_a_cache_holds_fits_on_a_screen(talk: Path) -> None:
    answer = bemerc("cache", "info", "features/talk", cwd=talk)
    assert answer.returncode == 0, answer.stderr
    lines = answer.stdout.splitlines()
    assert len(lines) < 24
    assert max(map(len, lines)) <= 80
    assert lines[0] == "features/talk/face.h5: face of 2 utterances, 1.6 s"
    assert "AU12_r" in bemerc("cache", "info", "features/talk", "--columns", cwd=talk).stdout
    (face, _, _) = json.loads(bemerc("cache", "info", "features/talk", "--json", cwd=talk).stdout)
    assert face["columns"]["AU12_r"]["nan_share"] == 1
    assert face["columns"]["AU12_r"]["mean"] is None


def test_an_utterance_is_there_for_programs(talk: Path) -> None:
    answer = bemerc("inspect", "features/talk/audio.h5", "talk/0000", "--json", cwd=talk)
    result = json.loads(answer.stdout)
    assert len(result["values"]) == len(result["timestamps_s"]) > 50
    assert len(result["values"][0]) == len(result["columns"])
    assert bemerc("inspect", "features/talk/audio.h5", "nobody", "--json", cwd=talk).returncode == 1


def test_flags_and_settings_stand_in_place_of_the_params_file(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    film(tmp_path / "clips" / "a.mp4", [portrait()] * 3)
    (tmp_path / "params.yaml").write_text("extract_video: {pose: {rate_hz: 4.0}}\n", encoding="utf-8")
    flags = (
        "--hands",
        "--policy",
        "largest",
        "--faces",
        "1",
        "--set",
        "extract_video.face.landmarks=false",
        "--only",
        "video",
    )
    answer = bemerc("extract", "clips", "--workers", "1", *flags, cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert not (tmp_path / "features" / "audio.h5").exists()
    with open_cache(tmp_path / "features" / "pose.h5") as pose:
        assert (pose.rate, pose.params["hands"]) == (4.0, True)
    with open_cache(tmp_path / "features" / "face.h5") as face:
        assert (face.params["policy"], face.params["faces"], face.params["landmarks"]) == ("largest", 1, False)
    # What is made of the clips later is made of these measurements, and a params file that says otherwise is named.
    (tmp_path / "params.yaml").write_text("extract_video: {pose: {rate_hz: 5.0}}\n", encoding="utf-8")
    answer = bemerc("describe", "clips", "--set", "extract_video.face.policy=left", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert "features was measured with extract_video.pose.rate_hz=4.0, and that is kept to" in answer.stderr
    with open_cache(tmp_path / "features" / "pose.h5") as pose:
        assert (pose.rate, pose.params["hands"]) == (4.0, True)
    with open_cache(tmp_path / "features" / "face.h5") as face:
        assert (face.params["policy"], face.params["faces"], face.params["landmarks"]) == ("left", 1, False)


def test_a_setting_that_the_command_does_not_read_is_a_warning(talk: Path) -> None:
    settings = ("--set", "tokens.k=4", "--set", "describe.items=2")
    answer = bemerc("describe", "--caches", "features/talk", *settings, cwd=talk)
    assert answer.returncode == 0
    assert [line for line in answer.stderr.splitlines() if "--set" in line] == [
        "--set: this command does not read the section tokens."
    ]
    assert "--set" not in bemerc("describe", "--caches", "features/talk", cwd=talk).stderr


@pytest.mark.parametrize("setting", ["tokens.k", "k=4", "tokns.k=4", "tokens.=4", "tokens.k={"])
def test_a_setting_of_no_use_is_an_error(setting: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        open_document(None, [setting])


def test_a_setting_replaces_one_value_and_leaves_its_neighbours(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text("extract_video: {pose: {rate_hz: 4.0}, max_failed_share: 0.5}\n", encoding="utf-8")
    document = open_document(file, ["extract_video.pose.hands=true", "extract_video.face.policy=left"])
    params = load(document, "extract_video", VideoParams)
    assert (params.pose.rate_hz, params.pose.hands, params.face.policy, params.max_failed_share) == (
        4.0,
        True,
        "left",
        0.5,
    )
    with pytest.raises(ConfigError, match=r"p\.yaml: extract_video\.pose\.hand: unknown key"):
        load(open_document(file, ["extract_video.pose.hand=true"]), "extract_video", VideoParams)


def test_the_programs_own_words_go_to_stderr_as_one_asks(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", 0.2)
    usual = bemerc("extract", "a.mp4", "--only", "audio", cwd=tmp_path)
    quiet = bemerc("extract", "a.mp4", "--only", "audio", "-q", cwd=tmp_path)
    assert "Measuring audio" in usual.stderr
    assert quiet.stderr == ""
    more = bemerc("extract", "a.mp4", "--only", "audio", "-vv", "--set", "extract_audio.track=1", cwd=tmp_path).stderr
    assert "Params: the defaults, extract_audio.track=1" in more
    assert "audio.h5 is written" in more
    assert "Done in" in more
    assert "features" in quiet.stdout
    error = bemerc("extract", "nowhere", "-vv", cwd=tmp_path)
    assert (error.returncode, "Traceback" in error.stderr) == (1, True)


def test_bemerc_alone_shows_the_way() -> None:
    answer = bemerc()
    assert (answer.returncode, len(answer.stdout.splitlines())) == (0, 5)
    assert max(map(len, answer.stdout.splitlines())) <= 80


def test_options_of_the_last_release_are_read(talk: Path) -> None:
    answer = bemerc("describe", "--caches", "features/talk", "--student", "nowhere", cwd=talk)
    assert "--student is called --align now" in answer.stderr
    assert answer.returncode == 1


def test_names_are_completed() -> None:
    words = {
        "COMP_WORDS": "bemerc extr",
        "COMP_CWORD": "1",
        "_BEMERC_COMPLETE": "complete_bash",
        "PATH": "",
        "PYTHONPATH": str(ROOT),
    }
    program = "from bemerc.cli.main import main; main()"
    answer = subprocess.run([sys.executable, "-c", program], env=words, capture_output=True, text=True, check=False)
    assert "extract" in answer.stdout.split()
