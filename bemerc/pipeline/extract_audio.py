"""Clips -> voice: pitch, energy and spectrum, a hundred times a second; and what a speech encoder makes of it, if one
is named.

in: the clips of a manifest.  out: data/cache/audio.h5, data/cache/speech.h5
Results are kept in data/store, which is no output of DVC's: interrupted runs resume, and only new clips are extracted.
"""

from __future__ import annotations

from dataclasses import replace

from bemerc.corpus.manifest import Manifest
from bemerc.extraction import run as extraction
from bemerc.extraction.engine import Workers
from bemerc.extraction.jobs import jobs_from_manifest
from bemerc.extraction.outcome import Outcome
from bemerc.extraction.params import AudioParams
from bemerc.extraction.write_caches import write_no_speech
from bemerc.pipeline.project import Project


def params_of(project: Project) -> AudioParams:
    """The section ``extract_audio``. Raises BemercError where the speech encoder that it names is not there."""
    params = project.load("extract_audio", AudioParams)
    extraction.check_speech(params)
    return params


def run(
    project: Project, manifest: Manifest, workers: Workers = 0, *, retry_failed: bool = False, tolerant: bool = False
) -> tuple[Outcome, ...]:
    """Measure the sound of every clip: prosody, and then what ``extract_audio.speech_backend`` names.

    workers   processes (0 = one per core), or a Ray cluster
    tolerant  for clips of no corpus: any number may fail, and without a speech backend there is no speech.h5. Else
              ``extract_audio.max_failed_share`` of them may, else BemercError is raised, and an empty one is left
    """
    params = params_of(project)
    if tolerant:
        params = replace(params, max_failed_share=1.0)
    jobs, where = jobs_from_manifest(manifest), (project.cache_dir, project.store_dir)
    prosody = extraction.extract_audio(jobs, *where, params, workers, retry_failed=retry_failed)
    speech = extraction.extract_speech(jobs, *where, params, workers, retry_failed=retry_failed)
    if speech is not None:
        return prosody, speech
    if not tolerant:
        write_no_speech(project.cache_dir)
    return (prosody,)
