"""Frame caches -> K behavior tokens per modality and utterance, scaled by train's statistics.

in: data/manifest.jsonl, data/cache/*.h5.  out: data/tokens.h5
"""

from __future__ import annotations

from pathlib import Path

from bemerc.behavior.tokens import file
from bemerc.behavior.tokens.calibration import Calibration
from bemerc.cache import KINDS, Kind
from bemerc.corpus.manifest import read_manifest
from bemerc.pipeline.project import Project


def run(project: Project) -> Calibration:
    """Pool the caches into tokens; returns how they were scaled, with the columns of each modality."""
    manifest, caches = read_manifest(project.manifest_file), frame_caches(project)
    return file.run(manifest, caches, project.tokens, project.load("tokens", file.Params))


def frame_caches(project: Project) -> dict[Kind, Path | None]:
    """Every kind of frame cache with its file."""
    return {kind: project.cache_dir / f"{kind}.h5" for kind in KINDS}
