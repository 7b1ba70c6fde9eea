"""The extraction wing's model files from their sources: python -m fits.engine_models TASK WHEEL

TASK is MediaPipe's face_landmarker.task, WHEEL the wheel of mediapipe 0.10.21 (`pip download --no-deps
mediapipe==0.10.21`), both Apache-2.0. Sources are checked by their hashes. Files are copied as they are, but for the pose
model, which loses its silhouette: nearly half of its time. What was made stands in models.json, for NOTICE and `bemerc
doctor`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import zipfile
from pathlib import Path

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

FOLDER = Path(__file__).parents[1] / "bemerc" / "extraction" / "networks" / "models"
LICENSE = "Apache-2.0, Google"
SILHOUETTE = "Identity_2"
TASK = {
    "face_detector.tflite": "b4578f35940bf5a1a655214a1cce5cab13eba73c1297cd78e1a04c2380b0152f",
    "face_landmarks_detector.tflite": "c7d54204ce0448474c7f3fa9af494787c0965cbdd6f20fc72867e43046bd43d5",
    "face_blendshapes.tflite": "4f36dded049db18d76048567439b2a7f58f1daabc00d78bfe8f3ad396a2d2082",
}
WHEEL = {
    "face_detection/face_detection_full_range_sparse.tflite": "2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1",
    "pose_detection/pose_detection.tflite": "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
    "pose_landmark/pose_landmark_full.tflite": "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
    "palm_detection/palm_detection_full.tflite": "1b14e9422c6ad006cde6581a46c8b90dd573c07ab7f3934b5589e7cea3f89a54",
    "hand_landmark/hand_landmark_full.tflite": "11c272b891e1a99ab034208e23937a8008388cf11ed2a9d776ed3d01d0ba00e3",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", type=Path)
    parser.add_argument("wheel", type=Path)
    arguments = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    made = {}
    for archive, source, folder, members in (
        (arguments.task, "face_landmarker.task (float16, version 1)", "", TASK),
        (arguments.wheel, "the wheel of mediapipe 0.10.21", "mediapipe/modules/", WHEEL),
    ):
        with zipfile.ZipFile(archive) as files:
            for member, expected in members.items():
                model = files.read(folder + member)
                assert sha256(model) == expected, f"{archive}: {member} has SHA-256 {sha256(model)}"
                name = Path(member).name
                if name == "pose_landmark_full.tflite":
                    model = without_output(model, SILHOUETTE)
                (FOLDER / name).write_bytes(model)
                made[name] = {"source": source, "member": member, "license": LICENSE, "sha256": sha256(model)}
    (FOLDER / "models.json").write_text(json.dumps(made, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def without_output(model: bytes, output: str) -> bytes:
    """A TensorFlow Lite model without one of its outputs, and without the operators and weights that only it needs."""
    root = schema.ModelT.InitFromPackedBuf(model, 0)
    (graph,) = root.subgraphs
    graph.outputs = [tensor for tensor in graph.outputs if graph.tensors[tensor].name.decode() != output]
    producers = {tensor: operator for operator in graph.operators for tensor in operator.outputs}
    needed, todo = set(), list(graph.outputs)
    while todo:
        tensor = todo.pop()
        if tensor in producers and tensor not in needed:
            todo += [source for source in producers[tensor].inputs if source >= 0]
        needed.add(tensor)
    graph.operators = [operator for operator in graph.operators if not needed.isdisjoint(operator.outputs)]
    for number, tensor in enumerate(graph.tensors):
        if number not in needed and number not in graph.inputs:
            root.buffers[tensor.buffer].data = None
    root.signatureDefs = None
    builder = flatbuffers.Builder(len(model))
    builder.Finish(root.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    main()
