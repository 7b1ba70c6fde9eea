"""A user's ONNX model on ONNX Runtime: opened from its own bytes alone, run on one thread.

An ONNX file may keep its weights in other files, by paths that it names itself, and ONNX Runtime reads them. A
stranger's model could so read any file of this machine into its numbers; such models are refused before they are opened.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bemerc.core.errors import BemercError
from bemerc.core.terminal import printable

_MAX_BYTES = 256 << 20

# The messages of ONNX's format (onnx.proto) in which tensors lie: message -> field number -> the message in it.
_MODEL, _TENSOR = "model", "tensor"
_FIELDS: dict[str, dict[int, str]] = {
    _MODEL: {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: _TENSOR, 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: _TENSOR, 6: "graph", 10: _TENSOR, 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: _TENSOR, 2: _TENSOR},
    _TENSOR: {},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # fields of a tensor


class BrokenModelFile(BemercError):
    """An ONNX file that cannot be used."""


def open_session(path: Path) -> Any:
    """An ``onnxruntime.InferenceSession``; BrokenModelFile where the file is no ONNX model, or needs other files."""
    import onnxruntime

    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise BrokenModelFile(f"it cannot be read: {error.strerror}.", path=path) from error
    if not content:
        raise BrokenModelFile("it is empty (0 bytes).", path=path)
    if len(content) > _MAX_BYTES:
        raise BrokenModelFile(f"it is larger than {_MAX_BYTES >> 20} MiB.", path=path)
    try:
        external = has_external_data(content)
    except ValueError as error:
        raise BrokenModelFile(f"it is no ONNX model ({error}).", path=path) from error
    if external:
        raise BrokenModelFile(
            "it keeps weights in other files, which are not read. Export it into one file: "
            "torch.onnx.export(..., external_data=False).",
            path=path,
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # worker processes are what runs in parallel
    options.log_severity_level = 4
    options.add_session_config_entry("session.load_model_format", "ONNX")  # not ORT's own, which was not searched above
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no class of their own
        raise BrokenModelFile(f"ONNX Runtime cannot open it: {printable(error)}.", path=path) from error


def has_external_data(content: bytes) -> bool:
    """Whether a tensor of the ONNX model names a file outside of it. ValueError where this is no such message."""
    waiting = [(_MODEL, memoryview(content))]
    while waiting:
        message, data = waiting.pop()
        for field, value in _fields(data):
            if message == _TENSOR and (field == _EXTERNAL_DATA or (field == _DATA_LOCATION and value != 0)):
                return True
            inner = _FIELDS[message].get(field)
            if inner is not None and isinstance(value, memoryview):
                waiting.append((inner, value))
    return False


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of a protobuf message: number and value, which is bytes, or a whole number where it is a varint."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at, 32)
        wire, value = tag & 7, 0
        if wire == 0:
            value, at = _varint(data, at, 64)
            yield tag >> 3, value
            continue
        if wire == 2:
            length, at = _varint(data, at, 32)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError(f"a field of the unknown type {wire}")
        if at + length > len(data):
            raise ValueError("it is cut off")
        yield tag >> 3, data[at : at + length]
        at += length


def _varint(data: memoryview, at: int, bits: int) -> tuple[int, int]:
    """A whole number of up to ``bits`` bits, seven to a byte, and where the next begins. ValueError where it is longer:
    readers differ in whether they cut such a number, and might find another field than is found here."""
    value = 0
    for shift in range(0, bits, 7):
        if at >= len(data):
            raise ValueError("it is cut off")
        byte, at = data[at], at + 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80 and value < 1 << bits:
            return value, at
    raise ValueError(f"a number of more than {bits} bits")
