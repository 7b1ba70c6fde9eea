"""A TFLite model without an output that nobody reads: the same file with fewer steps in its list, the other answers bit
for bit.

The body model of MediaPipe's wheel draws a silhouette of the person beside the keypoints, on every call, whoever asks:
TFLite runs all steps of a file. That is nearly half of its time. The obvious way, to take the file apart into objects
and write it anew, needs a schema of 20,000 lines and a quarter of a second; here the list of steps is shortened where
it stands. The weights of the steps that go stay in the file, unread.

A TFLite file is a FlatBuffer (https://flatbuffers.dev/internals): tables whose fields are found by way of a small index
that stands before them, vectors with their length in front, and all places told relative to where they are told.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

# Field numbers in TensorFlow Lite's schema.fbs: Model.subgraphs, SubGraph.outputs, .operators, Operator.inputs,
# .outputs.
_SUBGRAPHS = 2
_OUTPUTS, _OPERATORS = 2, 3
_OP_INPUTS, _OP_OUTPUTS = 1, 2


def without_output(model: bytes, output: int) -> bytes:
    """The model less the steps that only its output number ``output`` needs. The number keeps its place, so that the
    others keep theirs, and gives a tensor on the way to output 0 instead, which is there in any case."""
    file = _File(model)
    graph = file.elements(file.field(file.follow(0), _SUBGRAPHS))[0]
    outputs, steps = file.field(graph, _OUTPUTS), file.field(graph, _OPERATORS)
    wanted = file.numbers(outputs)
    places = file.elements(steps)
    reads = [file.numbers(file.field(place, _OP_INPUTS)) for place in places]
    makes = [file.numbers(file.field(place, _OP_OUTPUTS)) for place in places]
    maker = {tensor: step for step, made in enumerate(makes) for tensor in made}
    needed = _needed([tensor for i, tensor in enumerate(wanted) if i != output], maker, reads)
    file.shorten(steps, [place for step, place in enumerate(places) if step in needed])
    file.put(file.follow(outputs) + 4 + 4 * output, reads[maker[wanted[0]]][0])
    return bytes(file.raw)


def _needed(wanted: Sequence[int], maker: dict[int, int], reads: Sequence[Sequence[int]]) -> set[int]:
    needed: set[int] = set()
    todo = list(wanted)
    while todo:
        step = maker.get(todo.pop())  # weights and the input are nobody's work
        if step is not None and step not in needed:
            needed.add(step)
            todo += reads[step]
    return needed


class _File:
    """As much of FlatBuffers as is needed, little-endian; places are offsets from the file's start."""

    def __init__(self, raw: bytes) -> None:
        self.raw = bytearray(raw)

    def follow(self, at: int) -> int:
        """The place that is told at ``at``."""
        return at + self._read("<I", at)

    def field(self, table: int, number: int) -> int:
        """Where a table keeps a field, which must be there."""
        index = table - self._read("<i", table)
        return table + self._read("<H", index + 4 + 2 * number)

    def numbers(self, at: int) -> tuple[int, ...]:
        """The vector of int32 that is told at ``at``."""
        vector = self.follow(at)
        return struct.unpack_from(f"<{self._read('<I', vector)}i", self.raw, vector + 4)

    def elements(self, at: int) -> list[int]:
        """The places of the tables in the vector that is told at ``at``."""
        vector = self.follow(at)
        return [self.follow(vector + 4 + 4 * i) for i in range(self._read("<I", vector))]

    def shorten(self, at: int, tables: Sequence[int]) -> None:
        """Leave these tables alone in the vector that is told at ``at``."""
        vector = self.follow(at)
        self.put(vector, len(tables))
        for i, table in enumerate(tables):
            self.put(vector + 4 + 4 * i, table - (vector + 4 + 4 * i))

    def put(self, at: int, value: int) -> None:
        struct.pack_into("<i", self.raw, at, value)

    def _read(self, kind: str, at: int) -> int:
        return int(struct.unpack_from(kind, self.raw, at)[0])
