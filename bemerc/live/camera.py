"""A camera and a microphone of this machine: frames by OpenCV, sound by sounddevice, where it is installed."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bemerc.core.errors import MachineError
from bemerc.live.inbox import End, Inbox, Picture, Sound
from bemerc.media.pitch import SAMPLE_RATE_HZ

_BLOCK = SAMPLE_RATE_HZ // 50
NO_SOUNDDEVICE = (
    'The microphone needs the library sounddevice: pip install "bemerc[live]". Or run with --no-microphone.'
)


@dataclass(frozen=True)
class RgbFrame:
    """A picture (H, W, 3) uint8 with its time: what media.video.Frame is of a file."""

    picture: NDArray[np.uint8]
    timestamp_s: float

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.picture.shape[1], self.picture.shape[0]

    def rgb(self, crop: None = None) -> NDArray[np.uint8]:
        """All of it; ``crop`` is for files."""
        return self.picture

    def part(self, box: tuple[int, int, int, int]) -> None:
        """Nothing: the picture is there already, and ``rgb`` costs nothing."""

    def pixels(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> None:
        """Nothing, likewise."""


@contextlib.contextmanager
def opened(number: int) -> Iterator[Any]:
    """The camera ``number``. MachineError where there is none, or it gives no picture."""
    import cv2

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    camera = cv2.VideoCapture(number)
    try:
        camera.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        if not camera.isOpened() or not camera.read()[0]:
            raise MachineError(
                f"Camera {number} gives no picture. See that it is plugged in, that no other program has it and that this "
                "one may use it; another one is --camera 1. Or use the browser's: --serve."
            )
        yield camera
    finally:
        camera.release()


@contextlib.contextmanager
def listening(inbox: Inbox, start_s: float) -> Iterator[None]:
    """Within it, sound of the microphone goes into ``inbox``. MachineError without sounddevice or a microphone."""
    try:
        import sounddevice
    except (ImportError, OSError) as error:  # OSError: PortAudio is missing
        raise MachineError(f"{NO_SOUNDDEVICE} ({error})") from None

    def came(samples: NDArray[np.float32], *_: object) -> None:
        begin_s = time.monotonic() - start_s - len(samples) / SAMPLE_RATE_HZ
        inbox.put(Sound(samples[:, 0].copy(), max(0.0, begin_s)))

    how: dict[str, Any] = {"samplerate": SAMPLE_RATE_HZ, "channels": 1, "dtype": "float32", "blocksize": _BLOCK}
    try:
        stream = sounddevice.InputStream(callback=came, **how)
        stream.start()
    except sounddevice.PortAudioError as error:
        raise MachineError(f"There is no microphone to be used ({error}). Or run with --no-microphone.") from None
    try:
        yield
    finally:
        stream.close()


def record(camera: Any, inbox: Inbox, start_s: float, stopped: threading.Event) -> None:
    """Frames of an open camera into ``inbox``, until ``stopped`` or the camera gives no more."""
    number = 0
    while not stopped.is_set() and not inbox.closed:
        whole, picture = camera.read()
        now_s = time.monotonic()
        if not whole:
            inbox.put(End(now_s - start_s, MachineError("The camera has stopped to give pictures. Was it unplugged?")))
            return
        inbox.put(Picture(RgbFrame(np.ascontiguousarray(picture[:, :, ::-1]), now_s - start_s), now_s, number))
        number += 1
    inbox.put(End(time.monotonic() - start_s))
