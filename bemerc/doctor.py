"""What this machine has and lacks, and what each missing thing costs.

``python bemerc/doctor.py --system`` runs before anything is installed, so this module imports the standard library
alone; what only an installed bemerc can check is imported inside functions.
"""

from __future__ import annotations

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
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bemerc.core.config import Source

FREE_DISK_GB = 5
OPENCV = ("opencv-python-headless", "opencv-python", "opencv-contrib-python")
INSTALL = 'pip install "bemerc[all,sample]"'
# Package on the index, module name, and what does not work without it.
LIBRARIES: tuple[tuple[str, str, str], ...] = (
    ("h5py", "h5py", "nothing works: the caches are HDF5"),
    ("ftfy", "ftfy", "no corpus can be read"),
    ("pyyaml", "yaml", "nothing works: params.yaml cannot be read"),
    ("av", "av", "no clip can be read"),
    ("ai-edge-litert", "ai_edge_litert", "no face and no pose"),
    ("torch", "torch", "no training, no prediction, no speech encoder"),
    ("transformers", "transformers", "no training, no prediction, no speech encoder, no transcripts"),
    ("peft", "peft", "no training and no prediction"),
    ("accelerate", "accelerate", "no training"),
    ("scikit-learn", "sklearn", "no baselines in the report"),
    ("matplotlib", "matplotlib", "no pictures"),
    ("espeakng-loader", "espeakng_loader", "no embedded sample"),
    ("scikit-image", "skimage", "no embedded sample"),
)


# Numbers that come with bemerc beside MediaPipe's models: the file, and what is missing without it.
NUMBERS = {
    "extraction/face/action_units.npz": "no action units",
    "extraction/face/average_face.npz": "no action units",
    "extraction/face/lip_sync.npz": "no target face by who speaks",
    "media/speech_detector.npz": "no voice",
}


# Extras that most people do not need: the extra, its module, and what it is for.
EXTRAS: tuple[tuple[str, str, str], ...] = (
    ("egemaps", "opensmile", "extract_audio.speech_backend: egemaps"),
    ("network", "onnxruntime", "extract_video.face.policy: network"),
    ("mediapipe", "mediapipe", "comparing with MediaPipe, in tests and benchmarks"),
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
    """What must be there before pip can help: the system and Python."""
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


def checks(folder: Path, params: Source | None = None) -> Iterator[Check]:
    """Everything that bemerc can use, with ``folder`` as the place where caches would be written.

    params  what is to be run; None = params.yaml in the folder, or the defaults
    """
    yield from system_checks()
    for package, module, cost in LIBRARIES:
        yield _library(package, module, cost)
    yield from _opencv()
    yield from _packaged_models()
    yield from _numbers()
    yield from _named(folder / "params.yaml" if params is None else params)
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


def _opencv() -> Iterator[Check]:
    """Any build of OpenCV will do. Those with windows load libraries of the system, and fail without."""
    if importlib.util.find_spec("cv2") is None:
        yield Check(OPENCV[0], False, "missing", f"no face and no pose: {INSTALL}")
        return
    try:
        import cv2
    except ImportError as error:
        other = (
            f"pip uninstall opencv-python opencv-contrib-python; pip install --force-reinstall --no-deps {OPENCV[0]}"
        )
        remedy = f"on Debian or Ubuntu: sudo apt-get install libgl1 libglib2.0-0; or the build without windows: {other}"
        yield Check("OpenCV", False, str(error), remedy)
        return
    builds = [name for name in OPENCV if _version(name) is not None]
    yield Check(", ".join(builds) or "OpenCV", True, str(cv2.__version__))


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _library(package: str, module: str, cost: str) -> Check:
    if importlib.util.find_spec(module) is None:
        return Check(package, False, "missing", f"{cost}: {INSTALL}")
    return Check(package, True, _version(package) or "there, version unknown")


def _packaged_models() -> Iterator[Check]:
    """Model files of the package against the hashes in models.json."""
    folder = Path(__file__).parent / "extraction" / "networks" / "models"
    for name, model in json.loads((folder / "models.json").read_text(encoding="utf-8")).items():
        digest = _sha256(folder / name) if (folder / name).is_file() else "missing"
        ok = digest == model["sha256"]
        detail = f"sha256 {digest}, {model['license']}, from {model['source']}" if ok else digest
        yield Check(f"model {Path(name).stem}", ok, detail, "not the file of this release: install bemerc again")


def _numbers() -> Iterator[Check]:
    for name, cost in NUMBERS.items():
        path = Path(__file__).parent / name
        if path.is_file():
            yield Check(f"model {path.stem}", True, f"sha256 {_sha256(path)}")
        else:
            yield Check(f"model {path.stem}", False, "missing", f"{cost}: install bemerc again")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _named(params: Source) -> Iterator[Check]:
    """What the params name of one's own: face models, OpenFace, a speech encoder. Without a file, whether OpenFace is
    there."""
    if any(importlib.util.find_spec(module) is None for module in ("h5py", "numpy", "yaml")):
        return  # listed above; without them no params can be read
    from bemerc.core.config import Document, load
    from bemerc.core.errors import ConfigError
    from bemerc.extraction.params import AudioParams, VideoParams

    video, audio = VideoParams(), AudioParams()
    if isinstance(params, Document) or Path(params).is_file():
        try:
            video = load(params, "extract_video", VideoParams)
        except ConfigError as error:
            yield Check(Path(f"{params}").name, False, "cannot be used", str(error))
        try:
            audio = load(params, "extract_audio", AudioParams)
        except ConfigError as error:
            yield Check(Path(f"{params}").name, False, "cannot be used", str(error))
    if video.face.task is not None:
        path = Path(video.face.task)
        yield Check("extract_video.face.task", True, f"{path}, sha256 {_sha256(path)}")
    if video.face.speaker_network is not None:
        yield _speaker_network(video.face.speaker_network)
    binary = shutil.which(video.openface.binary)
    if video.face_backend == "openface":
        lacks = f"no face: put the path of your FeatureExtraction into extract_video.openface.binary, in {params}"
        yield Check("OpenFace", binary is not None, binary or f"there is no '{video.openface.binary}'", lacks)
    else:
        yield Check("OpenFace", True, binary or "not on the PATH (optional), for extract_video.face_backend: openface")
    if audio.speech_backend == "egemaps" and importlib.util.find_spec("opensmile") is None:
        yield Check("openSMILE", False, "missing", 'no speech.h5: pip install "bemerc[egemaps]"')
    if audio.speech_backend == "encoder":
        folder = Path(audio.encoder.name_or_path)
        lacks = "no speech.h5: docs/measurements/voice.md has the command that fetches an encoder, once"
        there = (folder / "config.json").is_file()
        yield Check("speech encoder", there, str(folder) if there else f"no model in {folder}", lacks)


def _speaker_network(path: Path) -> Check:
    """The network of ``extract_video.face.policy: network``, opened and tried."""
    from bemerc.core.errors import BemercError
    from bemerc.extraction.face.speaker_network import SpeakerNetwork

    name = "extract_video.face.network"
    if importlib.util.find_spec("onnxruntime") is None:
        return Check(name, False, "ONNX Runtime is missing", 'no target face: pip install "bemerc[network]"')
    try:
        SpeakerNetwork(path)
    except BemercError as error:
        return Check(name, False, "cannot be used", str(error))
    return Check(name, True, f"{path}, sha256 {_sha256(path)}")


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
        return _cuda(torch)
    if shutil.which("nvidia-smi") is not None and torch.version.cuda is None:
        detail = f"this machine has one, and torch {torch.__version__} was built without CUDA"
        return Check(
            "GPU", False, detail, "training and encoders run on the CPU: pip install a torch with CUDA (pytorch.org)"
        )
    return Check("GPU", True, "none: the embedded backbone trains on the CPU, a 7B one wants a GPU")


def _cuda(torch: Any) -> Check:
    """What training needs to know of the GPUs: how many, memory (all and free), bfloat16, 4 and 8 bits."""
    properties = torch.cuda.get_device_properties(0)
    count, free = torch.cuda.device_count(), torch.cuda.mem_get_info(0)[0] / 1e9
    parts = [
        f"{count} x {properties.name}" if count > 1 else properties.name,
        f"{properties.total_memory / 1e9:.0f} GB, {free:.0f} free",
        "bfloat16" if torch.cuda.is_bf16_supported() else "no bfloat16: set model.dtype to float16",
        "bitsandbytes" if importlib.util.find_spec("bitsandbytes") else "no bitsandbytes (model.quantize)",
    ]
    return Check("GPU", True, ", ".join(parts))


def main() -> int:
    """Name everything that the system lacks at once; exit 1 if there is something."""
    missing = [check for check in system_checks() if not check.ok]
    for check in missing:
        print(f"{check.name}: {check.detail}. {check.remedy}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
