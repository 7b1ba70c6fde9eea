"""Objects by URL against a real S3 server with faults: what is tried again, what is given up, and what is never printed."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest

from bemerc.core import objects
from bemerc.core.errors import BemercError, MachineError
from bemerc.core.objects import ObjectError, Url
from tests import faulty_store
from tests.errors import raises
from tests.faulty_store import BUCKET, SECRET, FaultyStore

pytest.importorskip("moto")
pytest.importorskip("s3fs")
pytestmark = pytest.mark.filterwarnings("default")  # of the server and its client

HERE = Url(f"s3://{BUCKET}/folder")


@pytest.fixture(scope="module")
def server() -> Iterator[FaultyStore]:
    with faulty_store.served() as store:
        yield store


@pytest.fixture
def store(server: FaultyStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyStore]:
    monkeypatch.setattr(objects, "_FIRST_PAUSE_S", 0.001)
    server.requests.clear()
    yield server
    server.faults = lambda method, path: ""


def now_and_then(fault: str, times: int, what: str) -> object:
    """A fault of the first so many requests of a method."""
    left = [times]

    def decide(method: str, path: str) -> str:
        if method != what or not left[0]:
            return ""
        left[0] -= 1
        return fault

    return decide


def fetched(url: Url, size: int) -> bytes:
    file = io.BytesIO()
    objects.fetch(url, size, file)
    return file.getvalue()


def test_put_if_absent_read_list_remove(store: FaultyStore) -> None:
    one = HERE / "a/one.txt"
    assert objects.info(one) is None
    assert objects.read(one) is None
    assert objects.put(one, b"first")
    assert not objects.put(one, b"other")
    assert objects.read(one) == fetched(one, 5) == b"first"
    there = objects.listed(HERE)
    assert list(there) == ["a/one.txt"]
    assert there["a/one.txt"] == objects.info(one)
    assert objects.put(one, b"third", replace=True)
    assert objects.info(one) != there["a/one.txt"]
    objects.remove(one)
    objects.remove(one)
    assert objects.listed(HERE) == {}


@pytest.mark.parametrize("fault", ["503", "truncated"])
def test_a_fault_that_passes_is_not_noticed(store: FaultyStore, fault: str) -> None:
    url, data = HERE / "passing", bytes(range(256)) * 4000
    objects.put(url, data, replace=True)
    store.faults = now_and_then(fault, 3, "GET")  # type: ignore[assignment]
    assert fetched(url, len(data)) == data
    store.faults = now_and_then("503", 3, "PUT")  # type: ignore[assignment]
    assert objects.put(url, b"new", replace=True)


def test_a_fault_that_stays_is_the_machines_after_a_few_tries(store: FaultyStore) -> None:
    url = HERE / "staying"
    objects.put(url, b"data", replace=True)
    store.requests.clear()
    store.faults = lambda method, path: "503" if method == "GET" else ""
    with pytest.raises(ObjectError) as caught:
        fetched(url, 4)
    assert isinstance(caught.value, MachineError)
    assert caught.value.path == url.text
    assert len(store.requests) == objects._TRIES


def test_a_slow_answer_counts_as_a_fault(store: FaultyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    url, beats = HERE / "slow", [0]
    objects.put(url, b"data", replace=True)
    monkeypatch.setattr(objects, "_CHUNK_S", 0.1)
    store.slow_s = 1.5
    store.faults = now_and_then("slow", 1, "GET")  # type: ignore[assignment]

    def beat() -> None:
        beats[0] += 1

    file = io.BytesIO()
    objects.fetch(url, 4, file, beat)
    assert file.getvalue() == b"data"
    assert beats[0] >= 1


def test_a_clip_larger_than_a_piece_comes_whole(store: FaultyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "_CHUNK_BYTES", 1000)
    url, data = HERE / "large", bytes(range(256)) * 10
    objects.put(url, data, replace=True)
    store.faults = now_and_then("truncated", 2, "GET")  # type: ignore[assignment]
    assert fetched(url, len(data)) == data


def test_no_message_holds_a_credential(store: FaultyStore) -> None:
    url = HERE / "secret"
    store.faults = lambda method, path: "denied"
    store.requests.clear()
    with pytest.raises(ObjectError) as caught:
        objects.read(url)
    assert SECRET not in str(caught.value)
    assert len(store.requests) == 1  # asking again would not help
    error = OSError(f"https://user:{SECRET}@host/x?X-Amz-Signature=abc123&AWSAccessKeyId=AKIA123 {SECRET}")
    text = objects.without_secrets(error)
    assert not [word for word in (SECRET, "abc123", "AKIA123", "user:") if word in text]


@pytest.mark.parametrize("text", ["s3://key:secret@bucket/x", "s3://"])
def test_a_url_that_cannot_be_is_a_sentence(text: str) -> None:
    with pytest.raises(BemercError) as caught:
        Url.parse(text)
    assert "secret" not in str(caught.value)


def test_what_is_a_url() -> None:
    assert objects.is_url("s3://bucket/clips")
    assert not objects.is_url("file:///clips")
    assert not objects.is_url("clips")
    with raises(BemercError, name="nothing-of-the-kind"):
        objects.info(Url("nothing-of-the-kind://bucket/x"))


def test_memory_is_an_object_store_too() -> None:
    url = Url("memory://bucket/a")
    assert objects.put(url, b"1")
    assert not objects.put(url, b"2")
    assert list(objects.listed(Url("memory://bucket"))) == ["a"]
    assert fetched(url, 1) == b"1"
    objects.remove(url)
