"""Small ONNX files with the inputs of Light-ASD, made node by node, whose scores one can follow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, save

CROPS: tuple[str | int, ...] = (1, "frames", 112, 112)
AUDIO: tuple[str | int, ...] = (1, "rows", 13)


def write(path: Path, model: ModelProto) -> Path:
    save(model, str(path))
    return path


def model_of(
    nodes: Sequence[NodeProto],
    constants: dict[str, Sequence[int] | Sequence[float]],
    *,
    crops: tuple[str | int, ...] = CROPS,
    audio: tuple[str | int, ...] = AUDIO,
    outputs: Sequence[str] = ("score",),
) -> ModelProto:
    inputs = [
        helper.make_tensor_value_info(*one)
        for one in (("crops", TensorProto.FLOAT, crops), ("audio", TensorProto.FLOAT, audio))
    ]
    weights = []
    for name, values in constants.items():
        kind = np.int64 if all(isinstance(value, int) for value in values) else np.float32
        weights.append(numpy_helper.from_array(np.array(values, kind), name))
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    graph = helper.make_graph(list(nodes), "speaker", inputs, results, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def brightness(least: float = 128.0) -> ModelProto:
    """Score: how bright the crop is, less ``least``; (1, T)."""
    nodes = [
        helper.make_node("ReduceMean", ["crops"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("Sub", ["mean", "least"], ["score"]),
    ]
    return model_of(nodes, {"least": [least]})


def loud_motion() -> ModelProto:
    """Score: how much the crop's lower half changes from frame to frame, by how loud it is then, less 1; (T, 2) with a
    zero beside it."""
    nodes = [
        helper.make_node("Slice", ["audio", "zero", "one", "two"], ["energy"]),
        helper.make_node("Transpose", ["energy"], ["across"], perm=[0, 2, 1]),
        helper.make_node("AveragePool", ["across"], ["pooled"], kernel_shape=[4], strides=[4]),
        helper.make_node("Squeeze", ["pooled", "one"], ["loud"]),
        helper.make_node("Slice", ["crops", "half", "end", "two"], ["lower"]),
        helper.make_node("Slice", ["lower", "one", "end", "one"], ["later"]),
        helper.make_node("Slice", ["lower", "zero", "minus_one", "one"], ["earlier"]),
        helper.make_node("Sub", ["later", "earlier"], ["change"]),
        helper.make_node("Abs", ["change"], ["moved"]),
        helper.make_node("ReduceMean", ["moved"], ["motion"], axes=[2, 3], keepdims=0),
        helper.make_node("Pad", ["motion", "before"], ["motions"]),
        helper.make_node("Sub", ["loud", "quiet"], ["above"]),
        helper.make_node("Mul", ["above", "motions"], ["product"]),
        helper.make_node("Mul", ["product", "gain"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "unit"], ["speaks"]),
        helper.make_node("Mul", ["speaks", "nothing"], ["silent"]),
        helper.make_node("Unsqueeze", ["silent", "two"], ["left"]),
        helper.make_node("Unsqueeze", ["speaks", "two"], ["right"]),
        helper.make_node("Concat", ["left", "right"], ["both"], axis=2),
        helper.make_node("Squeeze", ["both", "zero"], ["score"]),
    ]
    whole = {
        "zero": [0],
        "one": [1],
        "two": [2],
        "half": [56],
        "end": [1000],
        "minus_one": [-1],
        "before": [0, 1, 0, 0],
    }
    return model_of(nodes, whole | {"quiet": [12.0], "gain": [0.1], "unit": [1.0], "nothing": [0.0]})
