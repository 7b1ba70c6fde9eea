"""The page's socket, spoken to as the page does: who may connect, what it is told, what it may not send."""

from __future__ import annotations

import contextlib
import json
import re
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest

from bemerc.live.browser import FRAME, SOUND, decoded
from bemerc.pipeline import live
from bemerc.pipeline.project import Project
from tests.cli.test_bad_input import portrait
from tests.live.talk import SPOKEN_S, voice

client = pytest.importorskip("websockets.sync.client", reason='websockets is not installed: pip install "bemerc[live]"')
exceptions = pytest.importorskip("websockets.exceptions")


class Served:
    """The page, its addresses, and what the command was told."""

    def __init__(self, address: str, events: list[dict[str, Any]]) -> None:
        self.address, self.events = address, events
        with urllib.request.urlopen(address) as answer:
            self.page = answer.read().decode()
        self.socket = re.search(r"ws://[^\"' ;]+", self.page.partition('id="index"')[2])[0]  # type: ignore[index]
        self.origin = re.match(r"http://[^/]+", address)[0]  # type: ignore[index]

    def connect(self, **how: Any) -> Any:
        return client.connect(how.pop("uri", self.socket), **({"origin": self.origin, "proxy": None} | how))


@pytest.fixture
def served() -> Iterator[Served]:
    events: list[dict[str, Any]] = []
    with live.page(live.Setup(Project()), events.append) as address:
        yield Served(address, events)


def frame(number: int, time_s: float, picture: np.ndarray) -> bytes:
    height, width = picture.shape[:2]
    head = np.zeros(1, "<u4, <u4, <f8, <f8, <u2, <u2, <u4")
    head[0] = (FRAME, number, time_s, 0.0, width, height, 2 * (number == 2))
    return head.tobytes() + jpeg(picture)


def jpeg(rgb: np.ndarray) -> bytes:
    return bytes(cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 95])[1])


def sound(start_s: float, samples: np.ndarray) -> bytes:
    return SOUND.to_bytes(4, "little") + bytes(4) + np.float64(start_s).tobytes() + samples.astype("<f4").tobytes()


def test_a_conversation_by_the_socket(served: Served) -> None:
    said, face = voice(), portrait()
    received: list[dict[str, Any]] = []

    def until(socket: Any, kind: str) -> dict[str, Any]:
        while received[-1:] == [] or received[-1]["event"] != kind:
            received.append(json.loads(socket.recv(60)))
        return received.pop()

    with served.connect() as socket:
        socket.send(json.dumps({"type": "start", "sound": True}))
        for number in range(1, 9):
            time_s = number / 5
            heard = [round((time_s - 0.2) * 16_000), round(time_s * 16_000)]
            socket.send(sound(time_s - 0.2, said[slice(*heard)]))
            socket.send(frame(number, time_s, face))
            until(socket, "next")
            look = until(socket, "look")
            assert (look["number"], look["main"], len(look["faces"])) == (number, 0, 1)
            left, top, right, bottom = (edge / 16384 for edge in look["faces"][0]["box"])
            assert 0.2 < left < right < 0.9
            assert 0.1 < top < bottom < 0.9
        socket.send(json.dumps({"type": "shown", "number": 8, "latency_ms": 40}))
        socket.send(json.dumps({"type": "cue", "text": "good day"}))
        turn = until(socket, "utterance")
        assert (turn["id"], turn["text"], turn["label"]) == ("live/0000", "good day", None)
        assert turn["start_s"] == pytest.approx(SPOKEN_S[0][0] - 0.2, abs=0.05)
        assert turn["end_s"] == pytest.approx(1.6, abs=0.01)
        socket.send(json.dumps({"type": "stop"}))
        summary = until(socket, "summary")
    assert (summary["frames"], summary["dropped"], summary["overlay_ms"]["p50"]) == (8, 2, 40)
    assert {event["event"] for event in served.events} == {"frame", "voice", "begin", "utterance", "summary"}


def test_a_picture_keeps_its_colours_and_is_of_the_size_it_says() -> None:
    red = np.full((20, 30, 3), (250, 40, 10), np.uint8)
    assert np.abs(decoded(jpeg(red), 30, 20).astype(int) - red).max() <= 3  # type: ignore[union-attr]
    assert decoded(jpeg(red), 20, 30) is None
    assert decoded(jpeg(red), 30_000, 20_000) is None
    assert decoded(b"", 30, 20) is None
    assert decoded(b"no picture", 30, 20) is None


def test_nobody_else_may_connect(served: Served) -> None:
    for how in ({"origin": "http://evil.example"}, {"origin": None}, {"uri": served.socket[:-1] + "!"}):
        with pytest.raises(exceptions.InvalidStatus):
            served.connect(**how)
    assert served.events == []


@pytest.mark.parametrize(
    "message",
    [b"\x09" * 40, frame(1, 0.1, portrait())[:50], "no json", "[]", "[" * 100_000, frame(1, 1e9, portrait())],
    ids=["no kind", "cut", "no json", "no message", "nested", "another clock"],
)
def test_what_no_page_sends_ends_the_conversation_with_a_sentence(served: Served, message: str | bytes) -> None:
    with served.connect() as socket:
        socket.send(json.dumps({"type": "start", "sound": False}))
        socket.send(message)
        told = [json.loads(one) for one in socket]
    assert told[-1]["event"] == "error"
    assert "\n" not in told[-1]["text"]


def test_figures_of_no_use_end_nothing(served: Served) -> None:
    with served.connect() as socket:
        socket.send(json.dumps({"type": "start", "sound": False}))
        for latency_ms in (10**400, float("nan"), -1):
            socket.send(json.dumps({"type": "shown", "latency_ms": latency_ms}))
        socket.send(json.dumps({"type": "stop"}))
        summary = [json.loads(one) for one in socket][-1]
    assert (summary["event"], summary["overlay_ms"]) == ("summary", None)


def test_the_page_may_connect_to_its_socket_alone(served: Served) -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', served.page)[1]  # type: ignore[index]
    assert f"connect-src {served.socket};" in policy
    assert "default-src 'none'" in policy
    with urllib.request.urlopen(served.address + "worklet.js") as answer:
        assert answer.headers["Content-Type"] == "text/javascript"


def test_a_page_that_says_nothing_keeps_nobody_out(served: Served) -> None:
    with served.connect(), served.connect() as second:
        second.send(json.dumps({"type": "start", "sound": False}))
        second.send(json.dumps({"type": "stop"}))
        assert [json.loads(one)["event"] for one in second][-1] == "summary"
    with served.connect() as first, served.connect() as second:
        for socket in (first, second):
            socket.send(json.dumps({"type": "start", "sound": False}))
        assert "Another page" in refusal(first, second)


def refusal(*sockets: Any) -> str:
    """The refusal of the page that came second, whichever of these that is."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for socket in sockets:
            with contextlib.suppress(TimeoutError):
                message = json.loads(socket.recv(0.1))
                if "text" in message:
                    return str(message["text"])
    raise AssertionError("nobody was refused")
