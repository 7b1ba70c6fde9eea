"""MediaPipe 1.x's Tasks API, called as its documentation has it: the other side of comparisons.

It is installed by ``pip install 'bemerc[mediapipe]'`` and takes model files: Google's face_landmarker.task and
pose_landmarker_full.task. Where the latter is not at hand, ``pose_task`` makes one of the models in the wheel of
mediapipe 0.10.21 (`pip download --no-deps mediapipe==0.10.21`), which lack only a description of their input.
"""

from __future__ import annotations

import contextlib
import importlib.util
import zipfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from numpy.typing import NDArray

from bemerc.extraction.networks.quiet import quiet

REMEDY = "not measured: MediaPipe's Tasks API is missing (pip install 'bemerc[mediapipe]')"
# The pose models of the 0.10.21 wheel and their names in a .task; (pixel - mean) / std is what they want.
_POSE_MODELS = {
    "pose_detector.tflite": ("mediapipe/modules/pose_detection/pose_detection.tflite", 127.5, 127.5),
    "pose_landmarks_detector.tflite": ("mediapipe/modules/pose_landmark/pose_landmark_full.tflite", 0.0, 255.0),
}
OnFrame = Callable[[NDArray[np.uint8], float], Any]


def is_installed() -> bool:
    """Whether a mediapipe with the Tasks API of today is there."""
    return importlib.util.find_spec("mediapipe") is not None and int(release().split(".")[0]) >= 1


def release() -> str:
    """The installed version of mediapipe."""
    return metadata.version("mediapipe")


@contextlib.contextmanager
def face_landmarker(task: Path, faces: int) -> Iterator[OnFrame]:
    """A FaceLandmarker with blendshapes in video mode: called with (H, W, 3) uint8 and seconds, frames in order."""
    from mediapipe.tasks.python import BaseOptions, vision

    options = vision.FaceLandmarkerOptions(
        BaseOptions(model_asset_path=str(task)),
        running_mode=vision.RunningMode.VIDEO,
        num_faces=faces,
        output_face_blendshapes=True,
    )
    with _opened(vision.FaceLandmarker, options) as landmarker:
        yield _on_video(landmarker)


@contextlib.contextmanager
def pose_landmarker(task: Path, video: bool = True) -> Iterator[OnFrame]:
    """A PoseLandmarker for one person; without ``video`` every frame is a picture of its own, and nothing is
    smoothed."""
    from mediapipe.tasks.python import BaseOptions, vision

    mode = vision.RunningMode.VIDEO if video else vision.RunningMode.IMAGE
    options = vision.PoseLandmarkerOptions(BaseOptions(model_asset_path=str(task)), running_mode=mode)
    with _opened(vision.PoseLandmarker, options) as landmarker:
        yield _on_video(landmarker) if video else _on_picture(landmarker)


@contextlib.contextmanager
def face_detector(task: Path, overlap: float) -> Iterator[OnFrame]:
    """The short-range FaceDetector, whose model is taken from face_landmarker.task; the time is ignored."""
    from mediapipe.tasks.python import BaseOptions, vision

    with zipfile.ZipFile(task) as bundle:
        model = bundle.read("face_detector.tflite")
    options = vision.FaceDetectorOptions(BaseOptions(model_asset_buffer=model), min_suppression_threshold=overlap)
    with _opened(vision.FaceDetector, options) as detector:
        yield _on_picture(detector)


@contextlib.contextmanager
def _opened(kind: Any, options: Any) -> Iterator[Any]:
    """It prints a hundred lines while it starts."""
    with quiet():
        opened = kind.create_from_options(options)
        opened.__enter__()
    try:
        yield opened
    finally:
        opened.close()


def _on_video(landmarker: Any) -> OnFrame:
    """Its times must grow, from one pass over a clip to the next as well."""
    import mediapipe

    last_ms, begin_ms = -1, 0

    def run(rgb: NDArray[np.uint8], now_s: float) -> Any:
        nonlocal last_ms, begin_ms
        if begin_ms + round(1000 * now_s) <= last_ms:
            begin_ms = last_ms + 40
        last_ms = begin_ms + round(1000 * now_s)
        return landmarker.detect_for_video(mediapipe.Image(mediapipe.ImageFormat.SRGB, rgb), last_ms)

    return run


def _on_picture(detector: Any) -> OnFrame:
    import mediapipe

    return lambda rgb, _: detector.detect(mediapipe.Image(mediapipe.ImageFormat.SRGB, rgb))


def points(landmarks: list[Any], size: tuple[int, int]) -> NDArray[np.float64]:
    """Landmarks of one face or body as (N, 3) in pixels, z on the scale of x."""
    width, height = size
    return np.array([[point.x, point.y, point.z] for point in landmarks]) * [width, height, width]


def pose_task(file: Path, folder: Path) -> Path:
    """``file``, or, where it is mediapipe 0.10.21's wheel, a pose_landmarker_full.task in ``folder`` made from it."""
    if file.suffix != ".whl":
        return file
    made = folder / "pose_landmarker_full.task"
    with zipfile.ZipFile(file) as wheel, zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as bundle:
        for name, (member, mean, std) in _POSE_MODELS.items():
            bundle.writestr(name, _described(wheel.read(member), mean, std))
    return made


def _described(model: bytes, mean: float, std: float) -> bytes:
    """A model with the metadata without which Tasks refuses it: that its input is an RGB picture, and its scale."""
    from mediapipe.tasks.metadata import metadata_schema_py_generated as described
    from mediapipe.tasks.metadata import schema_py_generated as schema

    scale, step, content = described.NormalizationOptionsT(), described.ProcessUnitT(), described.ContentT()
    scale.mean, scale.std = [mean], [std]
    step.optionsType, step.options = described.ProcessUnitOptions.NormalizationOptions, scale
    content.contentProperties = described.ImagePropertiesT()
    content.contentProperties.colorSpace = described.ColorSpaceType.RGB
    content.contentPropertiesType = described.ContentProperties.ImageProperties
    image, graph, whole = described.TensorMetadataT(), described.SubGraphMetadataT(), described.ModelMetadataT()
    image.name, image.processUnits, image.content = "image", [step], content
    root = schema.ModelT.InitFromPackedBuf(model, 0)
    graph.inputTensorMetadata = [image]
    graph.outputTensorMetadata = [described.TensorMetadataT() for _ in root.subgraphs[0].outputs]
    whole.subgraphMetadata, whole.minParserVersion = [graph], "1.0.0"
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = list(_packed(whole, b"M001"))
    entry.name, entry.buffer = "TFLITE_METADATA", len(root.buffers)
    root.buffers.append(buffer)
    root.metadata = [*(root.metadata or []), entry]
    return _packed(root, b"TFL3")


def _packed(table: Any, identifier: bytes) -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.Finish(table.Pack(builder), identifier)
    return bytes(builder.Output())
