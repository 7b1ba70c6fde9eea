"""The command line as a user meets it: help at once, an example for every command, a sentence for every fault."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import re
import shlex
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from bemerc import api
from bemerc.cli import clips as cli_clips
from bemerc.cli.main import app
from bemerc.core.errors import BemercError
from bemerc.extraction.face import target_face
from tests.clips import write_clip

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = [
    ["init"],
    ["sample"],
    ["prepare"],
    ["extract"],
    ["describe"],
    ["inspect"],
    ["tokens"],
    ["backbone"],
    ["train"],
    ["crossfit"],
    ["predict"],
    ["evaluate"],
    ["compare"],
    ["card"],
    ["export"],
    ["doctor"],
    ["corpus", "check"],
    ["corpus", "survey"],
    ["model", "get"],
    ["cache", "info"],
    ["cache", "validate"],
    ["cache", "export"],
    ["cache", "import"],
    ["cache", "recompute"],
]


def bemerc(*arguments: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """What the console script answers, run in this process: one of its own would import torch anew for every sentence."""
    command = list(map(str, arguments))
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        warnings.catch_warnings(),
    ):
        patch.chdir(cwd)
        patch.setenv("COLUMNS", "100")
        warnings.simplefilter("default")
        try:
            app(command, prog_name="bemerc")
            code: Any = 0
        except SystemExit as ended:
            code = ended.code
    return subprocess.CompletedProcess(command, int(code or 0), out.getvalue(), err.getvalue())


def test_help_lists_every_command_along_the_way_of_the_data() -> None:
    answer = bemerc("--help").stdout
    listed = re.findall(r"^  ([a-z]+)  ", answer.split("Commands:")[1], re.M)
    assert listed[:4] == ["init", "sample", "corpus", "prepare"]
    assert {command[0] for command in COMMANDS} <= set(listed)
    assert "Exit codes" in answer
    assert bemerc("--version").stdout == bemerc("-V").stdout
    assert bemerc("-V").stdout.startswith("bemerc 0.")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_has_an_example_that_names_options_that_exist(command: list[str]) -> None:
    answer = bemerc(*command, "--help")
    assert answer.returncode == 0
    example = re.search(r"Example: (bemerc .+)", answer.stdout)
    assert example is not None
    for option in re.findall(r"--[a-z-]+", example[1]):
        assert f"{option} " in answer.stdout.replace(example[0], "") or f"{option}\n" in answer.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["extract", "--video-dir", "nowhere"], "no such folder"),
        (["predict", "--video-dir", "nowhere", "--model", "nowhere"], "no model folder"),
        (["inspect", "nothing.h5"], "no frame cache here"),
        (["evaluate", "--show", "--out", "nowhere"], "no metrics here yet"),
        (["evaluate"], "sample's truth is not here"),
        (["extract", "notes"], "no such folder"),
        (["prepare"], "the sample is not there yet"),
        (["train", "--stage", "2"], "no manifest here"),
        (["corpus", "check", "meld", "--params", "none.yaml"], "no such params file"),
        (["view", "nothing.h5"], "no frame cache here"),
        (["view", ".", "--manifest", "."], "no frame cache in this folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_a_user_can_cause_is_a_sentence(tmp_path: Path, arguments: list[str], says: str) -> None:
    answer = bemerc(*arguments, cwd=tmp_path)
    assert answer.returncode == 1
    assert says in answer.stderr
    assert "Traceback" not in answer.stderr


def test_an_unknown_params_key_is_an_error_with_the_right_ones(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    write_clip(tmp_path / "clips" / "a.mp4")
    (tmp_path / "p.yaml").write_text("extract_video: {pose: {rate: 4.0}}\nextract_audio: {}\n", encoding="utf-8")
    answer = bemerc("extract", "--video-dir", "clips", "--params", "p.yaml", cwd=tmp_path)
    assert answer.returncode == 1
    assert "pose.rate: unknown key; did you mean 'rate_hz'?" in answer.stderr


def test_a_folder_with_broken_clips_is_measured_all_the_same(tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    write_clip(clips / "größe.mp4")
    (clips / "empty.mp4").write_bytes(b"")
    (clips / "text.mp4").write_text("this is no video", encoding="utf-8")
    (clips / "._text.mp4").write_bytes(b"shadow")
    answer = bemerc("extract", "--video-dir", clips, "--out", tmp_path / "out", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert "empty: " in answer.stdout
    assert "text: " in answer.stdout
    assert "._text.mp4: left out. macOS left this shadow file." in answer.stdout
    assert all((tmp_path / "out" / f"{m}.h5").is_file() for m in ("face", "pose", "audio"))
    shown = next(line for line in answer.stdout.splitlines() if line.startswith("A picture of one: "))
    assert shlex.split(shown)[4:] == [
        "bemerc",
        "inspect",
        str(tmp_path / "out" / "face.h5"),
        "größe",
        "--video-dir",
        str(clips),
    ]
    listed = bemerc("inspect", tmp_path / "out" / "face.h5", cwd=tmp_path)
    assert "face of 3 utterances" in listed.stdout
    lost = bemerc("inspect", tmp_path / "out" / "face.h5", "text", cwd=tmp_path)
    assert lost.returncode == 1
    assert "Of 'text' there is nothing to draw. Face: The clip cannot be opened" in lost.stderr
    assert not list(tmp_path.glob("*.png"))


@pytest.mark.slow
def test_what_failed_and_what_was_not_measured_this_time_are_told_apart(tmp_path: Path) -> None:
    """A clip that failed is tried again only with --retry-failed; one that the disk did not give, each time."""
    clips = tmp_path / "clips"
    write_clip(clips / "a.mp4", 0.2)
    (clips / "text.mp4").write_text("this is no video", encoding="utf-8")
    busy = write_clip(clips / "busy.mp4", 0.3)
    extract = ("extract", "--video-dir", "clips", "--out", "out")
    real = Path.open

    def failing(path: Path, *rest: Any, **options: Any) -> Any:
        if path.name == "busy.mp4":
            raise OSError(errno.EIO, "Input/output error")
        return real(path, *rest, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "open", failing)
        first = bemerc(*extract, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "text: The clip cannot be opened (Invalid data found when processing input). [failed]" in first.stdout
    assert "busy: The clip cannot be read (Input/output error). [to retry]" in first.stdout
    assert "1 complete, 1 failed, 1 to retry." in first.stdout
    assert "--retry-failed" in first.stdout
    assert busy.is_file()
    for verdict in (tmp_path / "out" / "store").glob("*/*/*.json"):
        verdict.write_text('{"reason": "It was a full moon.", "absent": false}', encoding="utf-8")
    again = bemerc(*extract, "--retry-failed", cwd=tmp_path)
    assert "text: The clip cannot be opened (Invalid data found when processing input). [failed]" in again.stdout
    assert "2 complete, 1 failed." in again.stdout


def test_an_unset_variable_is_not_the_folder_that_one_is_in(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", 0.2)
    for arguments in (("--video-dir", ""), ("--video-dir", ".", "--out", "")):
        answer = bemerc("extract", *arguments, cwd=tmp_path)
        assert (answer.returncode, answer.stdout) == (2, "")
    with pytest.raises(BemercError):
        api.extract("", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_what_extract_did_is_there_for_programs(tmp_path: Path) -> None:
    write_clip(tmp_path / "clips" / "a.mp4", 0.2, tone_hz=None)
    (tmp_path / "clips" / "text.mp4").write_text("this is no video")
    (tmp_path / "clips" / "._a.mp4").write_text("shadow")
    answer = bemerc("extract", "--video-dir", "clips", "--json", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    result = json.loads(answer.stdout)
    video, audio = result["measured"]
    assert (video["utterances"], video["complete"], list(video["failures"]), video["retryable"]) == (2, 1, ["text"], {})
    assert (audio["complete"], list(audio["absent"]), list(audio["failures"])) == (0, ["a"], ["text"])
    assert len(result["left_out"]) == 1


def test_names_reach_the_terminal_as_text(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    write_clip(tmp_path / "clips" / "a.mp4", 0.2)
    (tmp_path / "clips" / "x\x1b]0;title\x07\x1b[2J.mp4").write_text("this is no video")
    answer = bemerc("extract", "--video-dir", "clips", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert "\x1b" not in answer.stdout + answer.stderr
    assert r"x\x1b]0;title\x07" in answer.stdout
    assert "\x1b" not in (tmp_path / "features" / "store" / "failed-face-pose.txt").read_text()


def test_windows_is_a_sentence(tmp_path: Path) -> None:
    program = "from types import SimpleNamespace; from bemerc.cli import main; main.sys = SimpleNamespace(platform='win32'); main.main()"
    write_clip(tmp_path / "a.mp4", 0.2)
    command = [sys.executable, "-c", program, "extract", "--video-dir", str(tmp_path)]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert "Linux and macOS" in answer.stderr
    assert "Traceback" not in answer.stderr


def choices_of(command: Callable[..., Any], option: str) -> set[str]:
    """What an option's annotation lets one choose from: the strings of its Literal."""
    return set(choice_strings(command.__annotations__[option].__origin__))


def choice_strings(annotation: Any) -> Iterator[str]:
    for part in get_args(annotation):
        yield from [part] if isinstance(part, str) else choice_strings(part)


def test_choices_that_are_written_out_for_a_quick_help_are_those_of_the_package() -> None:
    assert choices_of(cli_clips.extract, "policy") == set(get_args(target_face.Policy))
