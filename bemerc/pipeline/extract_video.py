"""Clips -> face and body measured on every frame that they need, from one decode per clip.

in: the clips of a manifest.  out: data/cache/face.h5, data/cache/pose.h5
Results are kept in data/store, which is no output of DVC's: interrupted runs resume, and only new clips are extracted.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from bemerc.corpus.manifest import Manifest
from bemerc.extraction import run as extraction
from bemerc.extraction.engine import Workers
from bemerc.extraction.jobs import jobs_from_manifest
from bemerc.extraction.outcome import Outcome
from bemerc.extraction.params import VideoParams
from bemerc.pipeline.project import Project

log = logging.getLogger(__name__)


def run(
    project: Project,
    manifest: Manifest,
    workers: Workers = 0,
    *,
    retry_failed: bool = False,
    landmarks: bool | None = None,
    tolerant: bool = False,
) -> Outcome:
    """Measure face and body of every clip.

    workers    processes (0 = one per core), or a Ray cluster
    landmarks  keep raw points of faces, which can identify people; None = as the params say
    tolerant   any number of clips may fail; else ``extract_video.max_failed_share`` of them, or BemercError is raised
    """
    params = project.load("extract_video", VideoParams)
    if params.face.network is not None and params.face.policy != "network":
        log.warning(
            "extract_video.face.network is named and not used: the policy is %s. --policy network has it choose.",
            params.face.policy,
        )
    if tolerant:
        params = replace(params, max_failed_share=1.0)
    if landmarks is not None:
        params = replace(params, face=replace(params.face, landmarks=landmarks))
    jobs = jobs_from_manifest(manifest, listeners=params.face_backend == "mesh" and params.face.keep == "all")
    where = project.cache_dir, project.store_dir
    return extraction.extract_video(jobs, *where, params, workers, retry_failed=retry_failed)
