"""``bemerc forget`` where clips, store and caches lie in an object store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bemerc.cache import open_cache
from bemerc.cli.main import app
from bemerc.core import objects
from bemerc.core.hashing import sha256
from bemerc.core.objects import Url
from bemerc.corpus.manifest import Utterance, read_manifest, write_manifest
from bemerc.extraction import scratch
from bemerc.pipeline import clips, forget_remote
from bemerc.pipeline.project import Project
from tests import faulty_store
from tests.clips import write_clip
from tests.faulty_store import BUCKET

pytest.importorskip("moto")
pytest.importorskip("s3fs")
pytestmark = pytest.mark.filterwarnings("default")

SPEAKERS = {"a_0": "Ada", "a_1": "Bo", "b_0": "Ada", "b_1": "Cy"}
CLIPS, OUT = Url(f"s3://{BUCKET}/forgotten"), Url(f"s3://{BUCKET}/made-of-forgotten")


@pytest.fixture
def hashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """A corpus of an object store whose sound is measured into it, seen from tmp_path; id -> its clip's hash."""
    monkeypatch.setenv("BEMERC_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.chdir(tmp_path)
    with faulty_store.served():
        digests, utterances = {}, []
        for i, (id_, speaker) in enumerate(SPEAKERS.items()):
            url, path = CLIPS / f"{id_}.mp4", write_clip(tmp_path / "made" / f"{id_}.mp4", 0.4 + i / 10)
            objects.upload(url, str(path))
            digests[id_] = sha256(path)
            dialogue, index = id_.split("_")
            utterances.append(Utterance(id_, dialogue, int(index), speaker, "Hello.", "joy", "train", url.text))
        write_manifest(Path("data/manifest.jsonl"), utterances, ("joy",), ("folder",))
        clips.extract(Path("data/manifest.jsonl"), OUT, Project().params, only="audio", workers=1)
        objects.put(OUT / "utterances.csv", "".join(f"{id_},Hello.\r\n" for id_ in SPEAKERS).encode())
        objects.put(OUT / "plots/a_0.png", b"of somebody")
        yield digests


def forget(*options: str, whom: str = "Ada", where: str = "--out") -> str:
    answer = CliRunner().invoke(app, ["forget", whom, where, OUT.text, *options], catch_exceptions=False)
    assert answer.exit_code == 0
    return answer.stdout


def test_nothing_of_a_person_is_left_in_an_object_store(hashes: dict[str, str]) -> None:
    before = objects.listed(OUT)
    assert len([name for name in before if name.startswith("store/audio/")]) == 4
    looked = json.loads(forget("--json"))
    assert objects.listed(OUT) == before
    assert (looked["utterances"], looked["results"]) == (["a_0", "b_0"], 2)

    done = json.loads(forget("--json", "--yes"))
    assert done | {"done": False} == looked
    there = objects.listed(OUT)
    assert "audio.h5" not in there
    assert len([name for name in there if name.startswith("store/audio/")]) == 2
    assert objects.read(OUT / "utterances.csv") == b"a_1,Hello.\r\nb_1,Hello.\r\n"
    known = b"".join(objects.read(OUT / name) or b"" for name in there if name.startswith("store/hashes/"))
    assert [hashes[id_].encode() in known for id_ in SPEAKERS] == [False, True, False, True]
    assert scratch.of_this_machine().copies() == []
    left = " ".join(done["left"])
    assert all(word in left for word in (f"{CLIPS}/a_0.mp4", "plots/a_0.png", "versions", "BEMERC_SCRATCH"))

    assert [u.id for u in read_manifest(Path("data/manifest.jsonl")).utterances] == ["a_1", "b_1"]
    for id_ in ("a_0", "b_0"):
        objects.remove(CLIPS / f"{id_}.mp4")
    again = clips.extract(Path("data/manifest.jsonl"), OUT, Project().params, only="audio", workers=1)
    assert [outcome.measured for outcome in again.outcomes] == [0]
    assert "audio.h5" in objects.listed(OUT)

    # And without a manifest, by the caches alone.
    done = json.loads(forget("--json", "--yes", whom="b_1", where="--features"))
    assert (done["utterances"], done["results"]) == (["b_1"], 1)
    objects_left = [name for name in objects.listed(OUT) if name.startswith("store/audio/")]
    assert len(objects_left) == 1
    with open_cache(forget_remote.folder_of(OUT) / "audio.h5") as cache:
        assert list(cache) == ["a_1"]
    assert objects.read(OUT / "utterances.csv") == b"a_1,Hello.\r\n"
