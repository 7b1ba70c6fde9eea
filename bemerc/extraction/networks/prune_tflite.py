"""Remove an unused output from a TFLite model: the operators that only it needs are taken off the model's list.

MediaPipe's pose model also computes a silhouette on every call, which takes nearly half of its time; TFLite runs all
operators of a model. The list is shortened in place (5 ms); the weights of removed operators stay in the file, unused.
A pruned copy as package data would save the 5 ms per worker and add 6 MB to the wheel.

A TFLite file is a FlatBuffer (https://flatbuffers.dev/internals): tables whose fields are located by a small index,
vectors with their length first, and offsets relative to their own position.
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
    """The model without the operators that only output number ``output`` needs. The output itself stays in the list, so
    that the others keep their numbers, and becomes an intermediate tensor of output 0."""
    model_file = _FlatBuffer(model)
    graph = model_file.elements(model_file.field(model_file.follow(0), _SUBGRAPHS))[0]
    outputs, operator_list = model_file.field(graph, _OUTPUTS), model_file.field(graph, _OPERATORS)
    output_tensors = model_file.numbers(outputs)
    operators = model_file.elements(operator_list)
    inputs_of = [model_file.numbers(model_file.field(operator, _OP_INPUTS)) for operator in operators]
    outputs_of = [model_file.numbers(model_file.field(operator, _OP_OUTPUTS)) for operator in operators]
    producer = {tensor: index for index, tensors in enumerate(outputs_of) for tensor in tensors}
    needed = _needed([tensor for i, tensor in enumerate(output_tensors) if i != output], producer, inputs_of)
    model_file.shorten(operator_list, [operator for index, operator in enumerate(operators) if index in needed])
    model_file.put(model_file.follow(outputs) + 4 + 4 * output, inputs_of[producer[output_tensors[0]]][0])
    return bytes(model_file.raw)


def _needed(tensors: Sequence[int], producer: dict[int, int], inputs_of: Sequence[Sequence[int]]) -> set[int]:
    needed: set[int] = set()
    todo = list(tensors)
    while todo:
        index = producer.get(todo.pop())  # weights and the input have no producer
        if index is not None and index not in needed:
            needed.add(index)
            todo += inputs_of[index]
    return needed


class _FlatBuffer:
    """The few FlatBuffers operations that are needed, little-endian; positions are offsets from the file's start."""

    def __init__(self, raw: bytes) -> None:
        self.raw = bytearray(raw)

    def follow(self, at: int) -> int:
        """The position that the offset at ``at`` refers to."""
        return at + self._read("<I", at)

    def field(self, table: int, number: int) -> int:
        """The position of a field of a table, which must be present."""
        index = table - self._read("<i", table)
        return table + self._read("<H", index + 4 + 2 * number)

    def numbers(self, at: int) -> tuple[int, ...]:
        """The vector of int32 that the offset at ``at`` refers to."""
        vector = self.follow(at)
        return struct.unpack_from(f"<{self._read('<I', vector)}i", self.raw, vector + 4)

    def elements(self, at: int) -> list[int]:
        """The positions of the tables in the vector that the offset at ``at`` refers to."""
        vector = self.follow(at)
        return [self.follow(vector + 4 + 4 * i) for i in range(self._read("<I", vector))]

    def shorten(self, at: int, tables: Sequence[int]) -> None:
        """Keep only these tables in the vector that the offset at ``at`` refers to."""
        vector = self.follow(at)
        self.put(vector, len(tables))
        for i, table in enumerate(tables):
            self.put(vector + 4 + 4 * i, table - (vector + 4 + 4 * i))

    def put(self, at: int, value: int) -> None:
        struct.pack_into("<i", self.raw, at, value)

    def _read(self, kind: str, at: int) -> int:
        return int(struct.unpack_from(kind, self.raw, at)[0])
