"""The browser's camera and microphone: a page on this machine, and the socket by which it sends and is answered.

Page and socket listen on 127.0.0.1 and answer whoever knows the token, from no other site's page. The page sends its newest
frame when the one before was measured, so that none waits here; it keeps what it sent, and draws on that.
"""

from __future__ import annotations

import contextlib
import json
import logging
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import cv2
import numpy as np
from numpy.typing import NDArray

from bemerc.cache import VISIBLE
from bemerc.core.errors import BemercError, MachineError
from bemerc.corpus.manifest import LONGEST_TEXT
from bemerc.extraction.pose.body import KEYPOINTS
from bemerc.live.camera import RgbFrame
from bemerc.live.conversation import Conversation, Listener
from bemerc.live.figures import Figures
from bemerc.live.inbox import Cue, End, Inbox, Picture, Sound
from bemerc.live.onlooker import Observed
from bemerc.media.pitch import SAMPLE_RATE_HZ
from bemerc.view import page_file, serve
from bemerc.view.arrays import POSITION_STEPS
from bemerc.view.lines import BONES, LINES
from bemerc.view.positions import JOINTS, MESH

log = logging.getLogger(__name__)
NO_WEBSOCKETS = 'The page needs the library websockets: pip install "bemerc[live]".'
FRAME, SOUND, FRAME_HEAD, SOUND_HEAD = 1, 2, 32, 16
_MOST_PIXELS, _MOST_SAMPLES = 1920 * 1080, SAMPLE_RATE_HZ
_AHEAD_S = 60.0  # a page's clock that is further ahead is none: the sound would be filled up to there
_FIRST_S = 30.0  # a page that says nothing for so long is let go
_RELOAD_S = 2.0  # a page that is loaded again waits for the one before to be done
_OLDEST_S = 600.0  # the same for how long ago something was
_MOST_BYTES = 4 * _MOST_PIXELS + FRAME_HEAD
_HEAD = np.dtype("<u4, <u4, <f8, <f8, <u2, <u2, <u4")
_JOINTS = [KEYPOINTS.index(name) for name in JOINTS]

# A conversation for a page with sound or without, ready to run.
Begin = Callable[[bool, Listener], contextlib.AbstractContextManager[Conversation]]


@dataclass(frozen=True)
class About:
    """What the page says of the model: its name and labels; None without one."""

    model: str | None
    labels: Sequence[str]


class BadMessage(BemercError):
    """The page sent what no page of ours sends."""


@contextlib.contextmanager
def opened(about: About, begin: Begin) -> Iterator[str]:
    """Within it the page is served; its address. Every Start in it is a conversation.

    MachineError where the library of the socket is missing.
    """
    try:
        from websockets.sync.server import serve as serve_sockets
    except ImportError:
        raise MachineError(NO_WEBSOCKETS) from None
    token, busy = serve.new_token(), threading.Lock()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        page = Path(folder) / "live.html"
        files = {"": page, "worklet.js": page_file.asset_path("worklet.js")}
        pages, address = stack.enter_context(serve.server(files, token))
        parts = urlsplit(address)
        origins: list[Any] = [f"{parts.scheme}://{host}:{parts.port}" for host in (serve.HOST, "localhost")]

        def refuse(connection: Any, request: Any) -> Any:
            if request.path == f"/{token}":
                return None
            return connection.respond(HTTPStatus.NOT_FOUND, "")

        def talk(connection: Any) -> None:
            _Talk(connection, begin, busy).run()

        how: dict[str, Any] = {
            "origins": origins,
            "process_request": refuse,
            "max_size": _MOST_BYTES,
            "compression": None,
        }
        sockets = stack.enter_context(serve_sockets(talk, serve.HOST, 0, **how))
        port = sockets.socket.getsockname()[1]
        page_file.write_live(page, "bemerc live", _index(about), f"ws://{serve.HOST}:{port}/{token}")
        for running in (pages, sockets):
            threading.Thread(target=running.serve_forever, daemon=True).start()
            stack.callback(running.shutdown)
        yield address


def _index(about: About) -> dict[str, Any]:
    return {
        "model": about.model,
        "labels": list(about.labels),
        "rate_hz": SAMPLE_RATE_HZ,
        "lines": [[MESH.index(point) for point in line] for line in LINES],
        "bones": [[JOINTS.index(name) for name in bone] for bone in BONES],
    }


class _Talk:
    """One page's connection: messages in, events out."""

    def __init__(self, connection: Any, begin: Begin, busy: threading.Lock) -> None:
        self._connection, self._begin, self._busy = connection, begin, busy
        self._inbox, self._latest_s = Inbox(), 0.0
        self._start_s = time.monotonic()
        self._figures = Figures()

    def run(self) -> None:
        """Until the page goes, or what is measured fails."""
        try:
            sound = self._first_message()
        except BemercError as error:
            self._fail(error)
            return
        if sound is None:
            return
        if not self._busy.acquire(timeout=_RELOAD_S):
            self._tell({"event": "error", "text": "Another page is recording. Stop it there first."})
            return
        try:
            self._converse(sound)
        except BemercError as error:
            self._fail(error)
        finally:
            self._busy.release()

    def _fail(self, error: BemercError) -> None:
        log.warning("%s", error)
        self._tell({"event": "error", "text": str(error)})

    def _first_message(self) -> bool | None:
        """Whether the page has sound; None where it goes, or says nothing for a while."""
        from websockets.exceptions import ConnectionClosed

        try:
            return bool(_parsed(self._connection.recv(timeout=_FIRST_S)).get("sound"))
        except (ConnectionClosed, TimeoutError):
            return None

    def _converse(self, sound: bool) -> None:
        listener = Listener(self._tell, self._look, lambda: self._tell({"event": "next"}), shows_itself=True)
        with self._begin(sound, listener) as conversation:
            self._figures = conversation.figures
            receiving = threading.Thread(target=self._receive, name="receiving", daemon=True)
            receiving.start()
            try:
                conversation.run(self._inbox)
            except BemercError as error:  # sent before the connection is closed, which ends the other thread
                self._fail(error)
            finally:
                self._connection.close()
                receiving.join()

    def _receive(self) -> None:
        """Messages of the page into the inbox, until it stops or goes."""
        from websockets.exceptions import ConnectionClosed

        error: Exception | None = None
        try:
            for message in self._connection:
                if isinstance(message, bytes):
                    self._inbox.put(self._recorded(message))
                elif not self._take_message(_parsed(message)):
                    break
        except ConnectionClosed:  # a page that was killed
            pass
        except Exception as fault:  # raised again by the thread that measures, which would else wait for ever
            error = fault
        self._inbox.put(End(self._latest_s, error))

    def _recorded(self, message: bytes) -> Picture | Sound:
        kind = int.from_bytes(message[:4], "little")
        if kind == SOUND and SOUND_HEAD < len(message) <= SOUND_HEAD + 4 * _MOST_SAMPLES and len(message) % 4 == 0:
            start_s = float(np.frombuffer(message, "<f8", 1, 8)[0])
            samples = np.clip(np.nan_to_num(np.frombuffer(message, "<f4", -1, SOUND_HEAD)), -1, 1)
            return Sound(samples.astype(np.float32), start_s if 0 <= start_s < self._latest_s + _AHEAD_S else None)
        if kind != FRAME or len(message) < FRAME_HEAD:
            raise BadMessage("The page sent something that is neither picture nor sound. Load it again.")
        _, number, time_s, age_s, width, height, dropped = np.frombuffer(message, _HEAD, 1)[0].item()
        latest_s = time.monotonic() - self._start_s + _AHEAD_S
        rgb = decoded(message[FRAME_HEAD:], width, height) if time_s < latest_s else None
        if rgb is None:
            raise BadMessage("The page sent a picture that is none. Load it again.")
        self._figures.dropped += dropped
        self._latest_s = max(time_s, self._latest_s + 1e-3)
        captured_s = time.monotonic() - (age_s if 0 < age_s < _OLDEST_S else 0.0)
        return Picture(RgbFrame(rgb, self._latest_s), captured_s, number)

    def _take_message(self, message: dict[str, Any]) -> bool:
        """Take in what the page says; whether it goes on."""
        if message.get("type") == "cue":
            self._inbox.put(Cue(str(message.get("text", "")).strip()[:LONGEST_TEXT]))
        elif message.get("type") == "shown":
            latency_ms = message.get("latency_ms")
            if isinstance(latency_ms, int | float) and 0 <= latency_ms < 1000 * _OLDEST_S:
                self._figures.overlay_s.append(latency_ms / 1000)
        return message.get("type") != "stop"

    def _look(self, observed: Observed, number: int) -> None:
        self._tell({"event": "look", "number": number, **_positions(observed)})

    def _tell(self, event: dict[str, Any]) -> None:
        from websockets.exceptions import ConnectionClosed

        with contextlib.suppress(ConnectionClosed):  # the page has gone, which the receiving thread sees too
            self._connection.send(json.dumps(event, ensure_ascii=False))


def decoded(jpeg: bytes, width: int, height: int) -> NDArray[np.uint8] | None:
    """What a JPEG shows, (height, width, 3) uint8 RGB; None where it is no picture of that size."""
    if not 0 < width * height <= _MOST_PIXELS or not jpeg:
        return None
    bgr = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if bgr is None or bgr.shape[:2] != (height, width):
        return None
    return cast(NDArray[np.uint8], cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))


def _parsed(message: str | bytes) -> dict[str, Any]:
    try:
        value = json.loads(message)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise BadMessage("The page sent something that is no message of its own. Load it again.")
    return value


def _positions(observed: Observed) -> dict[str, Any]:
    """Boxes and lines of a frame, in steps of its width and height."""
    size = np.array(observed.size, np.float64)
    faces = []
    for face in observed.faces:
        points = face.landmarks[:, :2] / size
        box = [*points.min(axis=0), *points.max(axis=0)]
        faces.append({"box": _steps(np.array(box)), "mesh": _steps(points[list(MESH)].ravel())})
    joints = None
    if observed.keypoints is not None:
        visible = observed.keypoints[_JOINTS, 3:] >= VISIBLE
        joints = _steps(np.where(visible, observed.keypoints[_JOINTS, :2], np.nan).ravel())
    main = next((n for n, face in enumerate(observed.faces) if face is observed.main), None)
    return {"time_s": round(observed.time_s, 3), "faces": faces, "main": main, "joints": joints}


def _steps(fractions: NDArray[np.floating[Any]]) -> list[int | None]:
    return [round(f * POSITION_STEPS) if np.isfinite(f) else None for f in fractions.tolist()]
