"""The page of a conversation that goes on, in Chromium with a camera and a microphone that play a file."""

from __future__ import annotations

import base64
import io
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bemerc.extraction.face.detection import FaceTracker
from bemerc.media.frame_view import ArrayFrame
from bemerc.pipeline import live
from bemerc.pipeline.project import Project
from bemerc.view.positions import MESH
from tests.clips import ffmpeg
from tests.live.talk import make
from tests.view.test_page import CHROMIUM

pytestmark = pytest.mark.live
WAIT_S = 300.0  # on a machine that does a lot besides


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
