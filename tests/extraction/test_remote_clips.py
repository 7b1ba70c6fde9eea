"""Clips of an object store: the same bytes as of a folder, whatever the store does meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bemerc.core import objects
from bemerc.core.errors import BemercError, CorpusError
from bemerc.core.objects import ObjectError, Url
from bemerc.extraction import remote_store, scratch
from bemerc.extraction.hash_cache import FileHashCache
from bemerc.extraction.jobs import ExtractorSpec, Job, extractor_spec, jobs_from_manifest
from bemerc.extraction.leases import Leases
from bemerc.extraction.outcome import Outcome
from bemerc.extraction.remote_clips import RemoteHashing, identities
from bemerc.extraction.run import run
from bemerc.extraction.shared_hashing import hash_shared
from bemerc.extraction.store import Store
from bemerc.pipeline import clips, remote_folder
from tests import faulty_store, mean_color
from tests.clips import write_clip
from tests.errors import raises
from tests.faulty_store import BUCKET, FaultyStore

pytest.importorskip("moto")
pytest.importorskip("s3fs")
pytestmark = pytest.mark.filterwarnings("default")

SOURCE = Url(f"s3://{BUCKET}/talks")


def face(**options: object) -> ExtractorSpec:
    return extractor_spec("face", "tests.mean_color", mean_color.Params(**options))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips and one with subtitles, which is a recording of its own: it is longer than a turn."""
    made = tmp_path_factory.mktemp("here") / "talks"
    for i in range(2):
        write_clip(made / "dia0" / f"ütt{i}.mp4", 0.4 + 0.2 * i, color=(40 * i, 80, 120))
    write_clip(made / "long.mp4", 31.0, size=(32, 32))
    (made / "long.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nANN: Hello.\n", encoding="utf-8")
    (made / "notes.txt").write_text("no clip")
    return made


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[FaultyStore]:
    with faulty_store.served() as store:
        for path in folder.rglob("*"):
            if path.is_file():
                objects.upload(SOURCE / path.relative_to(folder).as_posix(), str(path))
        yield store


@pytest.fixture
def store(server: FaultyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyStore]:
    monkeypatch.setenv("BEMERC_SCRATCH", str(tmp_path / "scratch"))
    server.requests.clear()
    yield server
    server.faults = lambda method, path: ""


def extract(jobs: list[Job], out: Path, **limits: float) -> Outcome:
    return run(jobs, (face(),), out, out / "store", 1, **limits)  # type: ignore[arg-type]


def copies(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "scratch").iterdir() if path.is_file()]


def test_the_same_utterances_and_bytes_as_of_the_folder(store: FaultyStore, folder: Path, tmp_path: Path) -> None:
    manifest, reading = remote_folder.read(SOURCE)
    here, _, reading_here = clips.read_clips(folder, None, tmp_path)
    facts = [(u.id, u.dialogue, u.index, u.text, u.speaker, u.start_s) for u in manifest.utterances]
    assert facts == [(u.id, u.dialogue, u.index, u.text, u.speaker, u.start_s) for u in here.utterances]
    assert len(reading.findings) == len(reading_here.findings) == 1
    extract(jobs_from_manifest(here), tmp_path / "local")
    before = len(store.requests)
    outcome = extract(jobs_from_manifest(manifest), tmp_path / "remote")
    assert (outcome.measured, outcome.complete) == (3, 3)
    assert (tmp_path / "remote" / "face.h5").read_bytes() == (tmp_path / "local" / "face.h5").read_bytes()
    gets = [path for method, path in store.requests[before:] if method == "GET"]
    assert len(gets) == len(set(gets)) == 2  # the long one was fetched when the folder was read
    before = len(store.requests)
    assert extract(jobs_from_manifest(manifest), tmp_path / "remote").cached == 3
    assert not [path for method, path in store.requests[before:] if method == "GET"]


def test_a_store_that_fails_is_no_verdict_on_a_clip(store: FaultyStore, tmp_path: Path) -> None:
    manifest, _ = remote_folder.read(SOURCE)
    jobs = jobs_from_manifest(manifest)
    extract(jobs[:1], tmp_path / "out")
    for copy in copies(tmp_path):
        copy.unlink()
    store.faults = lambda method, path: "denied" if path.endswith("1.mp4") else ""
    outcome = extract(jobs, tmp_path / "out", max_failed_share=0.9)
    assert list(outcome.retryable) == [jobs[1].id]
    assert outcome.failures == {}
    store.faults = lambda method, path: ""
    assert extract(jobs, tmp_path / "out").complete == 3


def test_a_clip_is_fetched_for_its_hash_by_one_process(
    store: FaultyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = [job.path for job in jobs_from_manifest(remote_folder.read(SOURCE)[0]) if isinstance(job.path, Url)]
    results, counted = Store(tmp_path / "store"), list[int]()
    late = FileHashCache(results.folder)
    with Leases(results.folder) as one, Leases(results.folder) as other:
        hashing = RemoteHashing(FileHashCache(results.folder), identities(urls))
        hashes = hash_shared(urls, hashing, one, len(urls), counted.append)
        monkeypatch.setenv("BEMERC_SCRATCH", str(tmp_path / "elsewhere"))
        store.requests.clear()
        assert hash_shared(urls, RemoteHashing(late, identities(urls)), other, len(urls), counted.append) == hashes
    assert not [path for method, path in store.requests if method == "GET"]
    assert sum(counted) == 2 * len(urls)


def test_a_result_that_cannot_be_uploaded_stops_the_run(store: FaultyStore, tmp_path: Path) -> None:
    finished = Url(f"s3://{BUCKET}/{tmp_path.name}")
    jobs = jobs_from_manifest(remote_folder.read(SOURCE)[0])[:1]
    remote_store.stand_before(tmp_path / "out" / "store", finished)
    store.faults = lambda method, path: "denied" if method == "PUT" and "/face/" in path else ""
    with pytest.raises(ObjectError):
        extract(jobs, tmp_path / "out")
    assert [name.partition("/")[0] for name in objects.listed(finished)] == ["hashes"]
    store.faults = lambda method, path: ""
    assert extract(jobs, tmp_path / "out").cached == 1
    assert sorted(name.partition("/")[0] for name in objects.listed(finished)) == ["face", "hashes"]


@pytest.mark.slow
def test_a_clip_that_is_replaced_is_measured_anew(store: FaultyStore, tmp_path: Path) -> None:
    url = Url(f"s3://{BUCKET}/changing/a.mp4")
    for green in (10, 200):
        objects.upload(url, str(write_clip(tmp_path / "a.mp4", color=(10, green, 10))))
        manifest, _ = remote_folder.read(url)
        assert extract(jobs_from_manifest(manifest), tmp_path / "out").measured == 1


def test_scratch_space_has_a_bound(tmp_path: Path) -> None:
    urls = [Url(f"memory://scratch/{i}.mp4") for i in range(4)]
    for url in urls:
        objects.put(url, bytes(1000), replace=True)
    space = scratch.Scratch(tmp_path, 2500)
    infos = [objects.info(url) for url in urls]
    with space.copy(urls[0], infos[0]) as used:  # type: ignore[arg-type]
        for url, info in zip(urls[1:], infos[1:], strict=True):
            with space.copy(url, info) as path:  # type: ignore[arg-type]
                assert path.read_bytes() == bytes(1000)
            os.utime(path, (1, 1))
        assert used.is_file()  # in use, it is not removed
        assert len(list(tmp_path.iterdir())) == 2


def test_what_cannot_be_is_a_sentence(store: FaultyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CorpusError):
        remote_folder.read(Url(f"s3://{BUCKET}/nothing"))
    with pytest.raises(BemercError):
        clips.extract(Url("memory://bucket/clips"), None, "")  # type: ignore[arg-type]
    monkeypatch.setenv("BEMERC_SCRATCH_GB", "lots")
    with raises(BemercError, name="BEMERC_SCRATCH_GB"):
        scratch.of_this_machine()
