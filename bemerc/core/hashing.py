"""Identities of files and models, by which results that were computed from them are recognised."""

from __future__ import annotations

import hashlib
from pathlib import Path


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, 64 hex digits. OSError where it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def model_identity(model: str) -> str:
    """A model's name; for a folder, also size and time of each weights file: trained again, it is another model."""
    weights = sorted(Path(model).glob("*.safetensors")) if Path(model).is_dir() else []
    return " ".join([model, *(f"{w.name}:{w.stat().st_size}:{w.stat().st_mtime_ns}" for w in weights)])
