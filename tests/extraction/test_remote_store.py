"""The extraction store and the caches in an object store: finished once, for every machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bemerc.cache import Features, PackedLandmarks
from bemerc.core import objects
from bemerc.core.errors import MachineError
from bemerc.core.objects import ObjectError, Url
from bemerc.extraction import remote_store
from bemerc.extraction.errors import DamagedError
from bemerc.extraction.failures import Failure
from bemerc.extraction.remote_store import RemoteStore
from bemerc.extraction.store import Result
from bemerc.pipeline import remote_out
from tests import faulty_store
from tests.faulty_store import BUCKET, FaultyStore

pytest.importorskip("moto")
pytest.importorskip("s3fs")
pytestmark = pytest.mark.filterwarnings("default")

KEY, OTHER = "ab" + 38 * "0", "cd" + 38 * "1"
COLUMNS = ("x", "y")


@pytest.fixture(scope="module")
def server() -> Iterator[FaultyStore]:
    with faulty_store.served() as store:
        yield store


@pytest.fixture
def url(server: FaultyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Url]:
    monkeypatch.setattr(objects, "_FIRST_PAUSE_S", 0.001)
    server.requests.clear()
    yield Url(f"s3://{BUCKET}/{tmp_path.name}")
    server.faults = lambda method, path: ""


def result(value: float = 1.0, landmarks: bool = False) -> Result:
    points = PackedLandmarks(np.zeros((3, 2, 3), np.int16), np.ones((3, 2), np.float32)) if landmarks else None
    return Result(Features(np.full((3, 2), value, np.float32), np.arange(3.0), COLUMNS), 3.0, points)


def machine(folder: Path, url: Url) -> RemoteStore:
    """A store of another machine, before the same object store."""
    remote_store.stand_before(folder, url)
    store = remote_store.store_at(folder)
    assert isinstance(store, RemoteStore)
    return store


def finish(store: RemoteStore, key: str, what: Result | Failure) -> None:
    store.put("face", key, what)
    store.publish("face", key)


def test_what_one_machine_has_finished_no_other_measures(url: Url, tmp_path: Path) -> None:
    one, two = machine(tmp_path / "one", url), machine(tmp_path / "two", url)
    finish(one, KEY, result())
    finish(one, OTHER, Failure("It is broken."))
    one.flush()
    assert two.state("face", KEY) is Result
    assert two.state("face", OTHER) is Failure
    assert two.result("face", KEY, COLUMNS).features.values[0, 0] == 1.0
    assert two.failure("face", OTHER).reason == "It is broken."
    assert not list((tmp_path / "two").glob("face/*/*"))  # read, and not kept
    assert two.state("face", "ef" + 38 * "0") is None
    two.drop_failures("face", OTHER)
    assert machine(tmp_path / "three", url).state("face", OTHER) is None


def test_a_finished_clip_is_never_replaced(url: Url, tmp_path: Path) -> None:
    one, two = machine(tmp_path / "one", url), machine(tmp_path / "two", url)
    finish(one, KEY, result(1.0))
    one.flush()
    finish(two, KEY, result(2.0))
    two.flush()
    assert machine(tmp_path / "three", url).result("face", KEY, COLUMNS).features.values[0, 0] == 1.0


def test_what_could_not_be_uploaded_is_uploaded_by_the_next_run(url: Url, server: FaultyStore, tmp_path: Path) -> None:
    one = machine(tmp_path / "one", url)
    server.faults = lambda method, path: "503" if method == "PUT" else ""
    finish(one, KEY, result())
    with pytest.raises(ObjectError) as caught:
        one.flush()
    assert isinstance(caught.value, MachineError)
    server.faults = lambda method, path: ""
    again = machine(tmp_path / "one", url)
    again.sweep()
    again.flush()
    assert machine(tmp_path / "two", url).state("face", KEY) is Result


def test_a_damaged_object_is_removed_and_measured_anew(url: Url, tmp_path: Path) -> None:
    objects.put(url / f"face/ab/{KEY}.npz", b"no archive")
    store = machine(tmp_path / "one", url)
    assert store.state("face", KEY) is Result
    with pytest.raises(DamagedError):
        store.result("face", KEY, COLUMNS)
    assert store.state("face", KEY) is None
    assert objects.listed(url / "face") == {}


def test_landmarks_are_removed_there_too(url: Url, tmp_path: Path) -> None:
    one, two = machine(tmp_path / "one", url), machine(tmp_path / "two", url)
    finish(one, KEY, result(landmarks=True))
    one.flush()
    two.set_landmarks(False)
    assert two.drop_landmarks("face") == 1
    assert list(objects.listed(url / "face")) == [f"ab/{KEY}.bare.npz"]
    assert not one.keeps_landmarks
    two.set_landmarks(True)
    assert one.keeps_landmarks


def test_hashes_of_clips_are_shared(url: Url, tmp_path: Path) -> None:
    one = machine(tmp_path / "one", url)
    line = '["0123", 5, 0, 7, "' + 64 * "a" + '"]\n'
    (tmp_path / "one" / "contents.jsonl").write_text(line)
    one.flush()
    machine(tmp_path / "two", url)
    assert (tmp_path / "two" / "contents.jsonl").read_text() == line
    assert len(objects.listed(url / "hashes")) == 1


def test_caches_are_uploaded_when_they_change(
    url: Url, server: FaultyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEMERC_SCRATCH", str(tmp_path / "scratch"))
    folder = remote_out.folder_of(url)
    (folder / "face.h5").write_bytes(b"a cache")
    assert remote_out.publish(folder, url) == [url / "face.h5"]
    server.requests.clear()
    assert remote_out.folder_of(url) == folder
    remote_out.publish(folder, url)
    assert not [method for method, _ in server.requests if method == "PUT"]
    objects.put(url / "face.h5", b"another's", replace=True)
    assert (remote_out.folder_of(url) / "face.h5").read_bytes() == b"another's"


def test_parts_that_another_machine_removed_are_not_uploaded_again(
    url: Url, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEMERC_SCRATCH", str(tmp_path / "scratch"))
    folder = remote_out.folder_of(url)
    former, current, unfinished = (f"face-0001-{i:08x}.h5" for i in range(3))
    for name in (former, current):
        (folder / name).write_bytes(b"a part")
    remote_out.publish(folder, url)
    objects.remove(url / former)  # as another machine's publish does
    (folder / unfinished).write_bytes(b"of a seal that was interrupted")
    remote_out.folder_of(url)
    assert {file.name for file in folder.glob("*.h5")} == {current, unfinished}
    remote_out.publish(folder, url)
    assert {*objects.listed(url)} == {current, unfinished}
