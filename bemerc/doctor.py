"""What this machine has and lacks, and what each missing thing costs.

``python bemerc/doctor.py --system`` runs before anything is installed, so this module imports the standard library
alone; what only an installed bemerc can check is imported inside functions.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FREE_DISK_GB = 5
# Package on the index, module name, and what does not work without it.
LIBRARIES: tuple[tuple[str, str, str], ...] = (
    ("h5py", "h5py", "nothing works: the caches are HDF5"),
    ("ftfy", "ftfy", "no corpus can be read"),
    ("pyyaml", "yaml", "nothing works: params.yaml cannot be read"),
    ("av", "av", "no clip can be read"),
    ("mediapipe", "mediapipe", "no face and no pose"),
    ("opencv-python", "cv2", "no face and no pose"),
    ("torch", "torch", "no training, no prediction, no speech encoder"),
    ("transformers", "transformers", "no training, no prediction, no speech encoder, no transcripts"),
    ("peft", "peft", "no training and no prediction"),
    ("accelerate", "accelerate", "no training"),
    ("scikit-learn", "sklearn", "no baselines in the report"),
    ("matplotlib", "matplotlib", "no pictures"),
    ("espeakng-loader", "espeakng_loader", "no embedded sample"),
    ("scikit-image", "skimage", "no embedded sample"),
)


# Libraries of the extra `extract` that a Python from 3.13 on is not given: mediapipe 0.10.21 has no wheel for it.
NOT_YET = ("mediapipe", "cv2")
# Model files that mediapipe 0.10.21 carries: below its folder modules, what is not measured without it, SHA-256.
# Numbers come of these files, so another file under the same name is reported too.
MODELS: tuple[tuple[str, str, str], ...] = (
    (
        "face_detection/face_detection_short_range.tflite",
        "no face",
        "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
    ),
    (
        "face_detection/face_detection_full_range_sparse.tflite",
        "no small face",
        "2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1",
    ),
    (
        "face_landmark/face_landmark_with_attention.tflite",
        "no face",
        "e06a804e0144f9929eda782122916b35d60c697c3c9344013ca2bbe76a6ce2b4",
    ),
    (
        "pose_detection/pose_detection.tflite",
        "no pose",
        "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
    ),
    (
        "pose_landmark/pose_landmark_full.tflite",
        "no pose",
        "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
    ),
    (
        "palm_detection/palm_detection_full.tflite",
        "no hands (extract_video.pose.hands)",
        "1b14e9422c6ad006cde6581a46c8b90dd573c07ab7f3934b5589e7cea3f89a54",
    ),
    (
        "hand_landmark/hand_landmark_full.tflite",
        "no hands (extract_video.pose.hands)",
        "11c272b891e1a99ab034208e23937a8008388cf11ed2a9d776ed3d01d0ba00e3",
    ),
)
_RELEASE = "0.10.21"
# Numbers that come with bemerc itself.
FITTED = ("action_units.npz", "average_face.npz", "lip_sync.npz")


# Extras that most people do not need: the extra, its module, and what it is for.
EXTRAS: tuple[tuple[str, str, str], ...] = (
    ("egemaps", "opensmile", "extract_audio.speech_backend: egemaps"),
    ("parquet", "pyarrow", "bemerc cache export --to parquet"),
    ("quantize", "bitsandbytes", "model.quantize"),
    ("tensorboard", "tensorboard", "TensorBoard's curves"),
    ("pipeline", "dvc", "dvc repro, which runs bemerc's commands"),
)


@dataclass(frozen=True)
class Check:
    """What was checked, whether it is in order, its version or hash, and how to fix it if not."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


def system_checks() -> Iterator[Check]:
    """What must be there before pip can help: the system, the Python version and the shared libraries that OpenCV
    loads."""
    posix = os.name == "posix"
    remedy = "" if posix else "bemerc runs on Linux and macOS; on Windows, in WSL (the Linux that comes with it)."
    yield Check("system", posix, platform.system() or os.name, remedy)
    yield Check("Python", sys.version_info >= (3, 11), platform.python_version(), "bemerc needs Python 3.11 or later.")
    has_venv = importlib.util.find_spec("ensurepip") is not None
    yield Check(
        "venv",
        has_venv,
        "there" if has_venv else "missing",
        "" if has_venv else "On Debian or Ubuntu: sudo apt-get install python3-venv",
    )
    if sys.platform.startswith("linux"):
        yield _shared_library("libGL.so.1", "libgl1", "mesa-libGL")
        yield _shared_library("libgthread-2.0.so.0", "libglib2.0-0", "glib2")


def checks(folder: Path) -> Iterator[Check]:
    """Everything that bemerc can use, with ``folder`` as the place where caches would be written."""
    yield from system_checks()
    for package, module, cost in LIBRARIES:
        yield _library(package, module, cost)
    yield from _mediapipe_models()
    yield from _packaged_models()
    yield from _fitted()
    yield from _named(folder / "params.yaml")
    for extra, module, what in EXTRAS:
        yield _extra(extra, module, what)
    yield _gpu()
    free_gb = shutil.disk_usage(folder).free / 1e9
    yield Check(
        "free disk",
        free_gb >= FREE_DISK_GB,
        f"{free_gb:.0f} GB in {folder.resolve()}",
        f"the embedded run wants about {FREE_DISK_GB} GB: free some",
    )


def _shared_library(name: str, debian: str, fedora: str) -> Check:
    try:
        ctypes.CDLL(name)
    except OSError:
        return Check(
            name,
            False,
            "missing",
            f"OpenCV and MediaPipe load it. On Debian or Ubuntu: sudo apt-get install {debian}; on Fedora: sudo dnf install {fedora}",
        )
    return Check(name, True, "there")


def _library(package: str, module: str, cost: str) -> Check:
    if importlib.util.find_spec(module) is None:
        return Check(package, False, "missing", f"{cost}: {install(module)}")
    try:
        return Check(package, True, importlib.metadata.version(package))
    except importlib.metadata.PackageNotFoundError:
        return Check(package, True, "there, version unknown")


def install(module: str, python: tuple[int, int] = sys.version_info[:2]) -> str:
    """How to get a missing library, or why a Python of this version cannot have it."""
    if module in NOT_YET and python >= (3, 13):
        return (
            "face and body are measured with Python 3.11 or 3.12 for now, whose caches are read here. Voice is measured "
            "with any, and training, predicting and evaluating need no such library"
        )
    return 'pip install "bemerc[all,sample]"'


def _mediapipe_models() -> Iterator[Check]:
    spec = importlib.util.find_spec("mediapipe")
    if spec is None or spec.origin is None:
        return  # the library has a line of its own, which says what comes with it
    folder = Path(spec.origin).parent / "modules"
    again = f"pip install --force-reinstall --no-deps mediapipe=={_RELEASE}"
    for name, cost, expected in MODELS:
        path = folder / name
        title = f"model {path.stem}"
        if not path.is_file():
            yield Check(title, False, "missing", f"{cost}; newer releases of mediapipe carry no models: {again}")
        elif (digest := _sha256(path)) != expected:
            yield Check(title, False, f"sha256 {digest}", f"not mediapipe {_RELEASE}'s, so numbers differ: {again}")
        else:
            yield Check(title, True, f"sha256 {digest}")


def _packaged_models() -> Iterator[Check]:
    """Model files of the package against the hashes in models.json."""
    folder = Path(__file__).parent / "extraction" / "networks" / "litert" / "models"
    for name, model in json.loads((folder / "models.json").read_text(encoding="utf-8")).items():
        digest = _sha256(folder / name) if (folder / name).is_file() else "missing"
        ok = digest == model["sha256"]
        detail = f"sha256 {digest}, {model['license']}, from {model['source']}" if ok else digest
        yield Check(f"packaged {Path(name).stem}", ok, detail, "not the file of this release: install bemerc again")


def _fitted() -> Iterator[Check]:
    for name in FITTED:
        path = Path(__file__).parent / "extraction" / "face" / name
        if path.is_file():
            yield Check(f"model {path.stem}", True, f"sha256 {_sha256(path)}")
        else:
            yield Check(f"model {path.stem}", False, "missing", "no action units: install bemerc again")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _named(params: Path) -> Iterator[Check]:
    """What params.yaml names of one's own: a blendshape model, OpenFace, a speech encoder. Without the file, whether
    OpenFace is there."""
    if any(importlib.util.find_spec(module) is None for module in ("h5py", "numpy", "yaml")):
        return  # listed above; without them no params can be read
    from bemerc.core.config import load
    from bemerc.core.errors import ConfigError
    from bemerc.extraction.params import AudioParams, VideoParams

    video, audio = VideoParams(), AudioParams()
    if params.is_file():
        try:
            video, audio = load(params, "extract_video", VideoParams), load(params, "extract_audio", AudioParams)
        except ConfigError as error:
            yield Check("params.yaml", False, "cannot be used", str(error))
    if video.face.blendshapes is not None:
        path = Path(video.face.blendshapes)
        yield Check("model blendshapes", True, f"{path}, sha256 {_sha256(path)}")
    binary = shutil.which(video.openface.binary)
    if video.face_backend == "openface":
        lacks = f"no face: put the path of your FeatureExtraction into extract_video.openface.binary, in {params}"
        yield Check("OpenFace", binary is not None, binary or f"there is no '{video.openface.binary}'", lacks)
    else:
        yield Check("OpenFace", True, binary or "not on the PATH (optional), for extract_video.face_backend: openface")
    if audio.speech_backend == "encoder":
        folder = Path(audio.encoder.name_or_path)
        lacks = "no speech.h5: docs/measurements/voice.md has the command that fetches an encoder, once"
        there = (folder / "config.json").is_file()
        yield Check("speech encoder", there, str(folder) if there else f"no model in {folder}", lacks)


def _extra(extra: str, module: str, what: str) -> Check:
    """Never a fault: nobody needs them all."""
    if importlib.util.find_spec(module) is not None:
        return Check(f"extra {extra}", True, f"there, for {what}")
    return Check(f"extra {extra}", True, f'not installed (optional), for {what}: pip install "bemerc[{extra}]"')


def _gpu() -> Check:
    if importlib.util.find_spec("torch") is None:
        return Check("GPU", True, "not checked: torch is missing")
    import torch

    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        return Check("GPU", True, f"{properties.name}, {properties.total_memory / 1e9:.0f} GB")
    if shutil.which("nvidia-smi") is not None and torch.version.cuda is None:
        detail = f"this machine has one, and torch {torch.__version__} was built without CUDA"
        return Check(
            "GPU", False, detail, "training and encoders run on the CPU: pip install a torch with CUDA (pytorch.org)"
        )
    return Check("GPU", True, "none: the embedded backbone trains on the CPU, a 7B one wants a GPU")


def _everything() -> Check:
    """Whether this Python can have all of bemerc, as `make install` gives it."""
    fits = sys.version_info < (3, 13)
    remedy = "The whole of bemerc needs Python 3.11 or 3.12 for now: make install PYTHON=python3.11."
    return Check("Python", fits, platform.python_version(), f"{remedy} With a later one, {install('mediapipe')}.")


def main() -> int:
    """Name every missing system library at once; exit 1 if there is one."""
    missing = [check for check in (*system_checks(), _everything()) if not check.ok]
    for check in missing:
        print(f"{check.name}: {check.detail}. {check.remedy}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
