"""The face extractor by the user's own OpenFace 2: frames go in as a video file, its table is read back and checked.

It is not given the clip itself, since it times frames by their number, cannot take a segment or a crop, and ends with
exit code 0 when it failed: here timestamps stay ours, and a run counts only with a row for every frame. OpenFace loads
its models for every utterance, which takes seconds: this backend is for those who need OpenFace's numbers.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bemerc.cache import Features
from bemerc.core.errors import BemercError, CacheError, MachineError
from bemerc.core.hashing import sha256
from bemerc.interop import openface_tables

VERSION = "openface-binary/1"
_POSITION_COLUMNS = ("face_x", "face_y", "face_size")
_FLAGS = ("-aus", "-pose", "-gaze", "-2Dfp")
_FOLDER = "bemerc-openface-"
# OpenFace needs some 20 ms per frame and some seconds to load; far beyond that it hangs.
_START_S, _FRAME_S = 120.0, 1.0
_POLL_S = 0.1
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


@dataclass(frozen=True)
class Params:
    """Section ``extract_video.openface`` of params.yaml.

    binary          OpenFace's FeatureExtraction: a path, or a name on the PATH
    min_confidence  frames below it count as frames without a face
    """

    binary: str = "FeatureExtraction"
    min_confidence: float = openface_tables.CONFIDENT

    def recorded(self) -> dict[str, Any]:
        """The params for store keys and caches; the binary's hash is in ``version``."""
        return {"min_confidence": self.min_confidence}

    def check(self) -> Iterator[str]:
        """What is wrong with these values, a sentence each."""
        if not 0 <= self.min_confidence <= 1:
            yield f"min_confidence: {self.min_confidence} must lie between 0 and 1."


def version(params: Params) -> str:
    """VERSION and the hash of the binary. BemercError where there is none."""
    return f"{VERSION}+{sha256(Path(_binary(params)))[:16]}"


def _binary(params: Params) -> str:
    path = shutil.which(params.binary)
    if path is None:
        raise BemercError(
            f"There is no program '{params.binary}'. Name OpenFace's FeatureExtraction in extract_video.openface.binary."
        )
    return path


def columns(params: Params) -> tuple[str, ...]:
    """The names of the face columns, in order: OpenFace's as ours, and where the face is."""
    del params
    return (*(ours for _, ours, _ in openface_tables.NAMES), *_POSITION_COLUMNS)


def open_extractor(params: Params) -> OpenFace:
    """Look for the binary, so that a wrong path shows before the first clip. BemercError where there is none."""
    binary = _binary(params)
    _sweep()
    return OpenFace(params, binary)


class OpenFace:
    """``reset()``, then ``frame()`` for each frame of one clip in order, then ``finish()``; and again for the next.

    ``heartbeat`` is called while the binary runs.
    """

    def __init__(self, params: Params, binary: str) -> None:
        self.params, self.binary = params, binary
        self.heartbeat: Callable[[], None] = lambda: None
        self._frames_file: _FrameFile | None = None
        self._timestamps_s: list[float] = []

    def reset(self) -> None:
        """Forget the clip before."""
        if self._frames_file is not None:
            self._frames_file.remove()
        self._frames_file, self._timestamps_s = None, []

    def frame(self, rgb: NDArray[np.uint8], timestamp_s: float) -> None:
        """One frame (H, W, 3) uint8; all frames of a clip have one size."""
        if self._frames_file is None:
            self._frames_file = _FrameFile(rgb.shape[1], rgb.shape[0])
        self._frames_file.add(rgb)
        self._timestamps_s.append(timestamp_s)

    def finish(self) -> Features:
        """The clip's features: one row per frame, NaN where OpenFace detected no face.

        MachineError says how it failed. It is never the clip's fault: the frames were decoded here, and what is left is
        a program without its models, a busy machine, a full disk.
        """
        names, stamps = columns(self.params), np.array(self._timestamps_s, np.float64)
        if self._frames_file is None:
            return Features(np.empty((0, len(names)), np.float32), stamps, names)
        try:
            self._frames_file.close()
            table = self._table(self._frames_file)
            size = self._frames_file.size
        finally:
            self.reset()
        _check_rows(len(table.features.values), len(stamps))
        position = _position(table.boxes, size)
        return Features(np.column_stack([table.features.values, position]).astype(np.float32), stamps, names)

    def close(self) -> None:
        """Remove what is left on the disk."""
        self.reset()

    def _table(self, frames_file: _FrameFile) -> openface_tables.OpenFaceTable:
        output = self._run(frames_file)
        tables = sorted(frames_file.folder.glob("out/*.csv"))
        if not tables:
            raise MachineError(f"OpenFace ended without an error and wrote no table{output}.")
        names = tuple(ours for _, ours, _ in openface_tables.NAMES)
        try:
            return openface_tables.read(tables[0], names, self.params.min_confidence)
        except CacheError as error:
            raise MachineError(f"OpenFace's table cannot be used: {error}") from None

    def _run(self, frames_file: _FrameFile) -> str:
        """Run the binary; its last line of output, as the end of a sentence."""
        log = frames_file.folder / "log.txt"
        command = [self.binary, "-f", str(frames_file.path), "-out_dir", str(frames_file.folder / "out"), *_FLAGS]
        limit_s = _START_S + _FRAME_S * len(self._timestamps_s)
        with log.open("wb") as output_file:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output_file, stderr=output_file, preexec_fn=_die_with_worker()
            )
            code = self._wait(process, limit_s)
        output = _last_output_line(log)
        if code is None:
            raise MachineError(f"OpenFace was stopped: it had not ended after {limit_s:g} s{output}.")
        if code < 0:
            raise MachineError(f"OpenFace crashed ({signal.Signals(-code).name}){output}.")
        if code > 0:
            raise MachineError(f"OpenFace ended with exit code {code}{output}.")
        return output

    def _wait(self, process: subprocess.Popen[bytes], limit_s: float) -> int | None:
        """The exit code, or None when the time is up. Time in which this process itself stood still does not count."""
        waited_s, last = 0.0, time.monotonic()
        while waited_s < limit_s:
            self.heartbeat()
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(_POLL_S)
            now = time.monotonic()
            waited_s, last = waited_s + min(now - last, 10 * _POLL_S), now
        process.kill()
        process.wait()
        return None


def _check_rows(rows: int, frames: int) -> None:
    if rows != frames:
        raise MachineError(f"OpenFace's table has {rows} rows for {frames} frames.")


def _position(boxes: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """(T, 4) left, top, right, bottom in pixels -> (T, 3) middle as fractions of the frame, height over the frame's."""
    left, top, right, bottom = boxes.T
    return np.column_stack([(left + right) / 2 / size[0], (top + bottom) / 2 / size[1], (bottom - top) / size[1]])


def _last_output_line(log: Path) -> str:
    lines = log.read_bytes()[-2000:].decode(errors="replace").strip().splitlines()
    return f"; its last words: {lines[-1].strip()[:200].rstrip('.')}" if lines else ""


def _die_with_worker() -> Callable[[], Any] | None:
    """On Linux the binary ends when its worker is killed, so that a timeout leaves nothing running."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return lambda: library.prctl(_DIE_WITH_PARENT, signal.SIGKILL)


def _sweep() -> None:
    """Remove the films of workers that were killed: a folder is named by the process that made it."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*"):
        owner = folder.name.removeprefix(_FOLDER).partition("-")[0]
        if owner.isdecimal() and not Path(f"/proc/{owner}").exists() and Path("/proc/self").exists():
            shutil.rmtree(folder, ignore_errors=True)


class _FrameFile:
    """Frames as motion JPEG at the best quality, which every build of OpenCV reads."""

    def __init__(self, width: int, height: int) -> None:
        import av

        self.size = (width, height)
        self.folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER}{os.getpid()}-"))
        self.path = self.folder / "film.avi"
        self._av = av
        self._file = av.open(str(self.path), "w")
        self._stream = self._file.add_stream("mjpeg", rate=25)
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuvj444p"
        self._stream.options = {"qmin": "1", "qmax": "1", "qscale": "1"}
        self._count = 0

    def add(self, rgb: NDArray[np.uint8]) -> None:
        frame = self._av.VideoFrame.from_ndarray(rgb, format="rgb24")
        frame.pts, frame.time_base = self._count, Fraction(1, 25)
        self._count += 1
        self._write(frame)

    def _write(self, frame: Any) -> None:
        try:
            self._file.mux(self._stream.encode(frame))
        except OSError as error:
            raise MachineError(
                f"There is no room for the frames that OpenFace is to see ({error.strerror}). Make room, or set TMPDIR."
            ) from None

    def close(self) -> None:
        self._write(None)
        self._file.close()

    def remove(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
        shutil.rmtree(self.folder, ignore_errors=True)
