"""What this machine has and lacks, and what each missing thing costs.

``python bemerc/doctor.py --system`` runs before anything is installed, so this module imports the standard library alone;
what an installed bemerc can say beyond that is asked for inside functions.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
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
    ("av", "av", "no clip can be read"),
    ("mediapipe", "mediapipe", "no face and no pose"),
    ("opencv-python", "cv2", "no face and no pose"),
    ("torch", "torch", "no training, no prediction, no speech encoder"),
    ("transformers", "transformers", "no training, no prediction, no speech encoder, no transcripts"),
    ("peft", "peft", "no training and no prediction"),
    ("accelerate", "accelerate", "no training"),
    ("scikit-learn", "sklearn", "no baselines in the report"),
    ("matplotlib", "matplotlib", "no pictures"),
    ("dvc", "dvc", "no 'dvc repro'; the bemerc commands work"),
    ("espeakng-loader", "espeakng_loader", "no embedded sample"),
    ("scikit-image", "skimage", "no embedded sample"),
)


# What an extra brings that most people do not need: the extra, its module, and what is done without it.
EXTRAS: tuple[tuple[str, str, str], ...] = (
    ("egemaps", "opensmile", "extract_audio.speech_backend: egemaps"),
    ("parquet", "pyarrow", "bemerc cache export --to parquet"),
    ("quantize", "bitsandbytes", "model.quantize"),
    ("tensorboard", "tensorboard", "TensorBoard's curves"),
)


@dataclass(frozen=True)
class Finding:
    """One line of the examination: what was looked at, whether it is well, what was found, and the remedy if not."""

    name: str
    ok: bool
    found: str
    remedy: str = ""


def system_findings() -> Iterator[Finding]:
    """What must be there before pip can help: the Python version and the shared libraries that OpenCV loads."""
    version = platform.python_version()
    fits = (3, 11) <= sys.version_info[:2] <= (3, 12)
    yield Finding(
        "Python",
        fits,
        version,
        ""
        if fits
        else "bemerc needs Python 3.11 or 3.12 (MediaPipe 0.10.21 has no wheel for others): make run PYTHON=python3.11",
    )
    has_venv = importlib.util.find_spec("ensurepip") is not None
    yield Finding(
        "venv",
        has_venv,
        "found" if has_venv else "missing",
        "" if has_venv else "On Debian or Ubuntu: sudo apt-get install python3-venv",
    )
    if sys.platform.startswith("linux"):
        yield _shared_library("libGL.so.1", "libgl1", "mesa-libGL")
        yield _shared_library("libgthread-2.0.so.0", "libglib2.0-0", "glib2")


def findings(folder: Path) -> Iterator[Finding]:
    """Everything that bemerc can use, with ``folder`` as the place where caches would be written."""
    yield from system_findings()
    for package, module, cost in LIBRARIES:
        yield _library(package, module, cost)
    yield _mediapipe_models()
    yield _openface()
    for extra, module, what in EXTRAS:
        yield _extra(extra, module, what)
    yield _gpu()
    free_gb = shutil.disk_usage(folder).free / 1e9
    yield Finding(
        "free disk",
        free_gb >= FREE_DISK_GB,
        f"{free_gb:.0f} GB in {folder.resolve()}",
        f"the embedded run wants about {FREE_DISK_GB} GB: free some",
    )


def _shared_library(name: str, debian: str, fedora: str) -> Finding:
    try:
        ctypes.CDLL(name)
    except OSError:
        return Finding(
            name,
            False,
            "missing",
            f"OpenCV and MediaPipe load it. On Debian or Ubuntu: sudo apt-get install {debian}; on Fedora: sudo dnf install {fedora}",
        )
    return Finding(name, True, "found")


def _library(package: str, module: str, cost: str) -> Finding:
    if importlib.util.find_spec(module) is None:
        return Finding(package, False, "missing", f'{cost}: pip install "bemerc[all,sample]"')
    try:
        return Finding(package, True, importlib.metadata.version(package))
    except importlib.metadata.PackageNotFoundError:
        return Finding(package, True, "found, version unknown")


def _mediapipe_models() -> Finding:
    spec = importlib.util.find_spec("mediapipe")
    if spec is None or spec.origin is None:
        return Finding("bundled models", False, "missing", "they come with the package mediapipe 0.10.21")
    folder = Path(spec.origin).parent / "modules"
    wanted = ["face_landmark/face_landmark_with_attention.tflite", "pose_landmark/pose_landmark_full.tflite"]
    lacking = [name for name in wanted if not (folder / name).is_file()]
    if lacking:
        return Finding(
            "bundled models",
            False,
            f"{', '.join(lacking)} missing",
            "newer releases of mediapipe carry no models: pip install mediapipe==0.10.21",
        )
    return Finding("bundled models", True, "face mesh with iris, pose (full)")


def _openface() -> Finding:
    path = shutil.which("FeatureExtraction")
    return Finding("OpenFace", True, path or "not on the PATH (optional)")


def _extra(extra: str, module: str, what: str) -> Finding:
    """Never a fault: nobody needs them all."""
    if importlib.util.find_spec(module) is not None:
        return Finding(f"extra {extra}", True, f"found, for {what}")
    return Finding(f"extra {extra}", True, f'not installed (optional), for {what}: pip install "bemerc[{extra}]"')


def _gpu() -> Finding:
    if importlib.util.find_spec("torch") is None:
        return Finding("GPU", True, "not asked: torch is missing")
    import torch

    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        return Finding("GPU", True, f"{properties.name}, {properties.total_memory / 1e9:.0f} GB")
    return Finding("GPU", True, "none: the embedded backbone trains on the CPU, a 7B one wants a GPU")


def main() -> int:
    """Name every missing system library at once; exit 1 if there is one."""
    missing = [finding for finding in system_findings() if not finding.ok]
    for finding in missing:
        print(f"{finding.name}: {finding.found}. {finding.remedy}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
