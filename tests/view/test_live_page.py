"""The page of a conversation that goes on, in Chromium with a camera and a microphone that play a file."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bemerc.extraction.face.detection import FaceTracker
from bemerc.media.frame_view import ArrayFrame
from bemerc.pipeline import live
from bemerc.pipeline.project import Project
from bemerc.view import page_file
from bemerc.view.positions import MESH
from tests.clips import ffmpeg
from tests.live.talk import make
from tests.view.test_page import CHROMIUM

WAIT_S = 300.0  # on a machine that does a lot besides


@pytest.mark.live
def test_the_overlay_stands_on_the_frame_that_was_measured(tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install playwright")
    pytest.importorskip("websockets", reason='websockets is not installed: pip install "bemerc[live]"')
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    clip = make(tmp_path / "talk.mkv")
    ffmpeg("-i", clip, "-an", "-pix_fmt", "yuv420p", tmp_path / "talk.y4m")
    ffmpeg("-i", clip, "-vn", "-ar", "48000", tmp_path / "talk.wav")
    arguments = [
        "--no-sandbox",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={tmp_path / 'talk.y4m'}",
        f"--use-file-for-fake-audio-capture={tmp_path / 'talk.wav'}",
    ]
    events: list[dict[str, Any]] = []
    with (
        live.page(live.Setup(Project()), events.append) as address,
        sync_api.sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        page = browser.new_context(permissions=["camera", "microphone"]).new_page()
        looks, requests, complaints = {}, [], []

        def received(message: str | bytes) -> None:
            if (event := json.loads(message))["event"] == "look":
                looks[event["number"]] = event

        page.on("websocket", lambda socket: (requests.append(socket.url), socket.on("framereceived", received)))
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text))
        page.goto(address)
        page.click("#mesh")  # the picture alone, so that it can be measured again
        page.click("#start")
        end_s = time.monotonic() + WAIT_S
        while page.locator("#transcript li").count() < 1 or len(looks) < 3:
            assert time.monotonic() < end_s, (len(looks), [e["event"] for e in events[-20:]], complaints)
            page.wait_for_timeout(200)
        code = "() => { const c = document.getElementById('overlay'); return [c.dataset.number, c.toDataURL('image/png')]; }"
        number, picture = page.evaluate(code)
        page.wait_for_timeout(200)
        page.click("#start")
        while not any(event["event"] == "summary" for event in events):
            assert time.monotonic() < end_s
            page.wait_for_timeout(200)
        browser.close()
    assert_same_place(looks[int(number)], picture)
    assert not complaints
    assert all(url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:")) for url in requests)
    (summary,) = (event for event in events if event["event"] == "summary")
    assert summary["overlay_ms"] is not None


STAND_INS = """
window.sockets = []; window.messages = []; window.asked = []; window.streams = [];
class Socket extends EventTarget {
  static OPEN = 1;
  constructor() { super(); this.readyState = 0; window.sockets.push(this); }
  open() { this.readyState = 1; this.dispatchEvent(new Event("open")); }
  close() { this.readyState = 3; this.dispatchEvent(new Event("close")); }
  send(message) { window.messages.push(typeof message === "string" ? message : [...new Uint16Array(message.buffer, 24, 2)]); }
  say(event) { this.dispatchEvent(new MessageEvent("message", { data: JSON.stringify(event) })); }
}
window.WebSocket = Socket;
const camera = document.createElement("canvas");
[camera.width, camera.height] = [3840, 2160];
const drawing = camera.getContext("2d");
setInterval(() => { drawing.fillStyle = `hsl(${performance.now() % 360} 50% 50%)`; drawing.fillRect(0, 0, 3840, 2160); }, 50);
navigator.mediaDevices.getUserMedia = async (wanted) => {
  window.asked.push(Object.keys(wanted));
  if (wanted.audio) throw new DOMException("Permission denied", "NotAllowedError");
  window.streams.push(camera.captureStream(20));
  return window.streams.at(-1);
};
"""


@contextlib.contextmanager
def page_of_stand_ins(folder: Path, further: str = "") -> Iterator[Any]:
    """The live page with a socket, a camera and what ``further`` puts in place of the browser's own. No error may come of it."""
    complaints: list[str] = []
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install playwright")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    index = {"model": None, "labels": [], "rate_hz": 16_000, "lines": [], "bones": []}
    page_file.write_live(folder / "live.html", "live", index, "ws://127.0.0.1:9/x")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_context(bypass_csp=True).new_page()  # for Playwright's own scripts
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.add_init_script(f"if (!navigator.mediaDevices) navigator.mediaDevices = {{}};{STAND_INS}{further}")
        page.goto((folder / "live.html").as_uri())
        yield page
        browser.close()
    assert not complaints


def test_a_page_without_microphone_that_stops_and_starts_again(tmp_path: Path) -> None:
    with page_of_stand_ins(tmp_path) as page:
        turn = {"event": "utterance", "id": "live/0000", "start_s": 0, "end_s": 1, "speaker": "", "text": "", "label": None, "description": {}}  # fmt: skip
        for number, words in enumerate(("one", "two")):
            page.click("#start")
            page.wait_for_function(f"sockets.length > {number}")
            page.evaluate("sockets.at(-1).open()")
            page.wait_for_function("messages.some(Array.isArray)")
            assert page.inner_text("#frame-note") == "No microphone: an utterance ends when you say so."
            page.evaluate("turn => sockets.at(-1).say(turn)", turn | {"text": words})
            page.click("#start")
            sizes = [one for one in page.evaluate("messages.splice(0)") if isinstance(one, list)]
            assert set(map(tuple, sizes)) == {(1280, 720)}
        assert page.locator("#transcript li").all_inner_texts() == ["0:00.0\none", "0:00.0\ntwo"]
        page.click("#start")  # the program has ended
        page.wait_for_function("sockets.length > 2")
        page.evaluate("sockets.at(-1).close()")
        assert page.inner_text("#frame-note") == "The program has ended the connection."
        running = (
            "streams.flatMap((stream) => stream.getTracks()).filter((track) => track.readyState === 'live').length"
        )
        assert page.evaluate(running) == 0
        assert page.evaluate("asked") == [["video", "audio"], ["video"]] * 3


SILENT = """
const tone = new AudioContext().createMediaStreamDestination().stream.getAudioTracks();
navigator.mediaDevices.getUserMedia = async () => new MediaStream([...camera.captureStream(20).getTracks(), ...tone]);
window.AudioContext = class { state = "suspended"; resume() { return new Promise(() => {}); } close() {} };
"""


def test_a_browser_whose_sound_does_not_start(tmp_path: Path) -> None:
    """As Firefox's, on a machine where nothing can be played."""
    with page_of_stand_ins(tmp_path, SILENT) as page:
        page.click("#start")
        page.wait_for_function("sockets.length")
        page.evaluate("sockets.at(-1).open()")
        page.wait_for_function("messages.some(Array.isArray)")
        assert json.loads(page.evaluate("messages[0]")) == {"type": "start", "sound": False}
        assert "does not start" in page.inner_text("#frame-note")
        assert "when you say so" in page.inner_text("#frame-note")


def assert_same_place(look: dict[str, Any], picture: str) -> None:
    """Measured anew, the face on the canvas lies where the overlay of that frame was drawn, within 3 px."""
    from matplotlib.image import imread

    read = imread(io.BytesIO(base64.b64decode(picture.partition(",")[2])))
    rgb = np.ascontiguousarray(np.rint(read[..., :3] * 255).astype(np.uint8))
    (face,) = FaceTracker(4, 0.5, 0.5)(ArrayFrame(rgb), 0.0)
    size = np.array([rgb.shape[1], rgb.shape[0]])
    drawn = np.array(look["faces"][look["main"]]["mesh"]).reshape(-1, 2) / 16384 * size
    away = np.linalg.norm((drawn - face.landmarks[list(MESH), :2]).mean(axis=0))
    assert away <= 3, away
