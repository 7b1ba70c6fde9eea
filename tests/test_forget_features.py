"""``bemerc forget --features``: a person goes from a folder that was made of clips, and everybody else stays in it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from bemerc.behavior.describe.description import SLOTS
from bemerc.cache import Features, Head, Rows, clips_per_part, id_of_other, open_cache, parts_of, state_of, write_cache
from bemerc.cli.main import app
from bemerc.core.errors import BemercError
from bemerc.pipeline import forget_features
from tests.clips import write_clip

VTT = """WEBVTT

00:00.000 --> 00:00.700
<v Ann>One.

00:00.800 --> 00:01.500
<v Ben>Two.
"""


def bemerc(*arguments: str, code: int = 0) -> Result:
    answer = CliRunner().invoke(app, [*arguments], catch_exceptions=False)
    assert answer.exit_code == code, answer.output
    return answer


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips, and their sound measured: a talk of two people, and two clips of nobody who is named."""
    folder = tmp_path_factory.mktemp("folder")
    write_clip(folder / "clips" / "talk.mp4", 1.6)
    (folder / "clips" / "talk.vtt").write_text(VTT)
    for name in ("a.mp4", "b.mp4"):
        write_clip(folder / "clips" / name, 0.5 + (name == "b.mp4") / 10)
    arguments = ("--only", "audio", "--workers", "1", "--part-clips", "2")
    bemerc("extract", str(folder / "clips"), "--out", str(folder / "features"), *arguments)
    lines = [{"id": id_} | dict.fromkeys(SLOTS, "") for id_ in ("a", "talk/0000", "talk/0001")]
    (folder / "features" / "descriptions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "features" / "page.html").write_text('{"id": "talk/0000"}')
    return folder


@pytest.fixture
def work(measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(measured, tmp_path / "work", copy_function=shutil.copy2)
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def test_a_speaker_goes_and_the_others_stay(work: Path) -> None:
    def files() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in Path("features").rglob("*") if path.is_file()}

    before = files()
    with open_cache("features/audio.h5") as cache:
        rows = {id_: cache[id_].values for id_ in cache}
    assert "--yes" in bemerc("forget", "Ann", "--features", "features").output
    assert files() == before
    done = json.loads(bemerc("forget", "Ann", "--features", "features", "--yes", "--json").stdout)
    assert (done["utterances"], done["results"], done["rows"]) == (["talk/0000"], 1, {"features/audio.h5": 1})
    assert done["removed"] == ["features/page.html"]
    with open_cache("features/audio.h5") as cache:
        assert list(cache) == ["a", "b", "talk/0001"]
        assert all((cache[id_].values == rows[id_]).all() for id_ in cache)
    assert state_of(Path("features/audio.h5")).kind == "sound"
    assert clips_per_part(Path("features/audio.h5")) == 2
    assert len([*Path("features").glob("audio-*.h5")]) == 2, "the former part is gone"
    assert not any(b"Ann" in content or b"talk/0000" in content for content in files().values())
    bemerc("forget", "Ann", "--features", "features", code=1)
    bemerc("cache", "validate", "features")
    Path("clips/talk.vtt").unlink()
    Path("clips/talk.mp4").unlink()
    again = bemerc("extract", "clips", "--only", "audio", "--json")
    assert json.loads(again.stdout)["measured"][0]["measured"] == 0, "nobody else is measured again"
    assert len(parts_of(Path("features/audio.h5"))) == 1


@pytest.mark.parametrize(
    ("whom", "ids"),
    [
        ("talk.mp4", ("talk/0000", "talk/0001")),
        ("talk", ("talk/0000", "talk/0001")),
        ("talk/0001", ("talk/0001",)),
        ("b.mp4", ("b",)),
    ],
)
def test_a_clip_and_an_utterance(work: Path, whom: str, ids: tuple[str, ...]) -> None:
    assert forget_features.run(Path("features"), whom, really=True).utterances == ids
    with open_cache("features/audio.h5") as cache:
        assert {*cache, *ids} == {"a", "b", "talk/0000", "talk/0001"}
        assert len(cache) == 4 - len(ids)


def test_features_of_single_clips_share_a_store(work: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        bemerc("extract", f"clips/{name}", "--only", "audio", "--workers", "1")
    shutil.rmtree("features", ignore_errors=True)
    for name in ("a.mp4", "b.mp4"):
        bemerc("extract", f"clips/{name}", "--only", "audio", "--workers", "1")
    done = forget_features.run(Path("features/a"), "a", really=True)
    assert (done.results, len([*Path("features/store/audio").rglob("*.npz")])) == (1, 1)
    assert forget_features.run(Path("features"), "b.mp4", really=True).results == 1


def test_somebody_who_only_listens(tmp_path: Path) -> None:
    def rows(*ids: str) -> list[tuple[str, Features, float, None]]:
        return [(id_, Features(np.ones((1, 1), np.float32), np.zeros(1), ("x",)), 1.0, None) for id_ in ids]

    others = Rows(rows(id_of_other("a", "Ben"), id_of_other("a", "Zoe"), id_of_other("b", "Zoe")))
    write_cache(tmp_path / "pose.h5", Head("pose", ("x",), 10.0, "x/1", {}), Rows(rows("a", "b")), others=others)  # fmt: skip
    (tmp_path / "descriptions.jsonl").write_text('{"id": "a"}\n{"id": "a#listener"}\n')
    forget_features.run(tmp_path, "Zoe", really=True)
    with open_cache(tmp_path / "pose.h5") as cache:
        assert cache.others is not None
        assert (list(cache), list(cache.others)) == (["a", "b"], ["a#Ben"])
    assert (tmp_path / "descriptions.jsonl").read_text() == '{"id": "a"}\n'
    forget_features.run(tmp_path, "a", really=True)
    with open_cache(tmp_path / "pose.h5") as cache:
        assert cache.others is not None
        assert (list(cache), list(cache.others)) == (["b"], [])


def test_what_is_no_folder_of_features(work: Path) -> None:
    for folder, whom in (("clips", "Ann"), ("features", "Eve")):
        with pytest.raises(BemercError):
            forget_features.run(Path(folder), whom, really=True)
    assert "--features" in bemerc("forget", "Ann", code=1).output
