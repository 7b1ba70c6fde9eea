"""MediaPipe graphs, driven directly: frames and regions in, packets out, and fast parsing of landmarks."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

RELEASE = "0.10.21"
# The mesh's confidence is computed inside the graph and dropped there; its stream can be observed by name.
PRESENCE = "facelandmarkcpu__face_presence_score"
# Log lines of the C++ side while it starts: Abseil's, and TensorFlow Lite's.
_STARTUP_LOG = re.compile(rb"[IWE]\d{4} |WARNING: |INFO: ")
# Without it a graph hands every node to a thread of its own and waits: a mesh costs a quarter more then.
_SAME_THREAD = 'executor { type: "ApplicationThreadExecutor" }'


@dataclass(frozen=True)
class Rect:
    """A region of a frame: center, width and height in fractions of the frame's width and height, and its rotation
    clockwise, in radians."""

    x: float
    y: float
    width: float
    height: float
    angle: float = 0.0


WHOLE = Rect(0.5, 0.5, 1.0, 1.0)


class Graph:
    """One of the wheel's graphs, by the name of its file or written out, driven through the same objects that
    ``mediapipe.solutions`` uses. ``as_shipped``: on MediaPipe's own threads, for comparisons."""

    def __init__(
        self,
        graph: str,
        *,
        side_inputs: Mapping[str, Any],
        thresholds: Mapping[str, float],
        outputs: Sequence[str],
        as_shipped: bool = False,
    ) -> None:
        with quiet():
            # These register the message types that the graphs' options are written in.
            from google.protobuf import text_format  # type: ignore[import-untyped]
            from mediapipe.framework import calculator_pb2
            from mediapipe.framework.formats import rect_pb2
            from mediapipe.python import packet_creator, packet_getter, solution_base
            from mediapipe.python.solutions import face_detection, face_mesh, hands, pose  # noqa: F401

            config = calculator_pb2.CalculatorGraphConfig()
            if "node" in graph:
                text_format.Parse(graph, config)
            else:
                config.ParseFromString(bundled(f"{graph}.binarypb"))
            if not as_shipped:
                text_format.Merge(_SAME_THREAD, config)
            self._solution: Any = solution_base.SolutionBase(
                graph_config=config,
                side_inputs=side_inputs,
                calculator_params=thresholds,
                outputs=list(outputs),
                stream_type_hints={PRESENCE: solution_base.PacketDataType.FLOAT},
            )
            self._solution._graph.wait_until_idle()  # it opens on threads of its own, and prints from there
        self.getter: Any = packet_getter._packet_getter
        self._create: Any = packet_creator
        self._rect: Any = rect_pb2.NormalizedRect
        self._format: Any = solution_base.image_frame.ImageFormat.SRGB
        self._start()

    def reset(self) -> None:
        with quiet():
            self._solution.reset()
            self._solution._graph.wait_until_idle()
        self._start()

    def _start(self) -> None:
        self._time_us = -1
        self._chatty = True

    def picture(self, rgb: NDArray[np.uint8]) -> Any:
        """A packet with a frame, which must not change meanwhile; any graph takes it, any number of times."""
        shared = rgb.view()
        shared.flags.writeable = False  # what may be written to is copied
        return self._create.create_image_frame(shared, image_format=self._format)

    def rect(self, part: Rect) -> Any:
        """A packet with a region."""
        message = self._rect(
            x_center=part.x, y_center=part.y, width=part.width, height=part.height, rotation=part.angle
        )
        return self._create.create_proto(message)

    def run(self, packets: Mapping[str, Any], timestamp_s: float = 0.0) -> Mapping[str, Any]:
        """The packets that came out for these, by stream name."""
        outputs: dict[str, Any] = self._solution._graph_outputs
        outputs.clear()
        # The graph refuses a time that does not grow, which broken files do hold; a graph without memory has no use for
        # it.
        self._time_us = max(round(timestamp_s * 1e6), self._time_us + 1)
        with quiet() if self._chatty else contextlib.nullcontext():
            for stream, packet in packets.items():
                self._solution._graph.add_packet_to_input_stream(stream, packet.at(self._time_us))
            self._solution._graph.wait_until_idle()
        self._chatty = self._chatty and not outputs
        return outputs

    def close(self) -> None:
        self._solution.close()


def numbers(message: bytes, points: int, fields: int) -> NDArray[np.float32]:
    """A serialised list of landmarks -> (points, fields) float32.

    Each is 0a, its length, and per field a tag and a little-endian float: read at once, this costs a sixth of asking
    the parsed message point by point.
    """
    record = 2 + 5 * fields
    raw = np.frombuffer(message, np.uint8)
    assert raw.size == points * record, f"{raw.size} bytes for {points} landmarks with {fields} fields"
    floats = np.add.outer(np.arange(3, record, 5), np.arange(4)).ravel()
    return np.ascontiguousarray(raw.reshape(points, record)[:, floats]).view("<f4").astype(np.float32, copy=False)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress what the C++ side prints at start-up: no environment variable does, and each reset repeats it.

    The file descriptor of stderr belongs to the whole process: it is redirected once, however many threads are inside,
    and other output is passed on when the last of them leaves.
    """
    _STDERR.redirect()
    try:
        yield
    finally:
        _STDERR.restore()


class _Stderr:
    """Redirection of file descriptor 2, counted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._saved = -1
        self._file: IO[bytes] | None = None

    def redirect(self) -> None:
        with self._lock:
            if self._users == 0:
                sys.stderr.flush()
                self._saved, self._file = os.dup(2), tempfile.TemporaryFile()  # noqa: SIM115
                os.dup2(self._file.fileno(), 2)
            self._users += 1

    def restore(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0 and self._file is not None:
                sys.stderr.flush()
                os.dup2(self._saved, 2)
                os.close(self._saved)
                with self._file as file:
                    file.seek(0)
                    kept = b"".join(line for line in file if not _STARTUP_LOG.match(line))
                if kept:
                    os.write(2, kept)


_STDERR = _Stderr()


def bundled(file: str) -> bytes:
    """A model file of mediapipe's wheel, located without importing it, which prints."""
    folder = importlib.util.find_spec("mediapipe").submodule_search_locations[0]  # type: ignore[union-attr,index]
    return (Path(folder) / "modules" / file).read_bytes()


def packet_or_none(packet: Any) -> Any:
    """The packet; None where it is empty."""
    return None if packet is None or packet.is_empty() else packet
