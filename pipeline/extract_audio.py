"""Clips -> voice: pitch, energy and spectrum, a hundred times a second; and what a speech encoder makes of it, where one is named.

in: data/manifest.jsonl and the clips that it names.  out: data/cache/audio.h5, data/cache/speech.h5
Finished clips are kept in data/store, which is no output of the stage: interrupted work goes on, a new clip costs one clip.
"""

from bemerc.core.config import load
from bemerc.corpus.manifest import read_manifest
from bemerc.extraction import run
from bemerc.extraction.jobs import jobs_from_manifest
from pipeline import CACHE, MANIFEST, PARAMS, STORE, cores, retry_failed, stage


@stage
def main() -> None:
    params = load(PARAMS, "extract_audio", run.AudioParams)
    jobs = jobs_from_manifest(read_manifest(MANIFEST))
    print(run.extract_audio(jobs, CACHE, STORE, params, cores(), retry_failed=retry_failed()).sentence())
    speech = run.extract_speech(jobs, CACHE, STORE, params, cores(), retry_failed=retry_failed())
    print(
        speech.sentence() if speech is not None else f"no speech encoder was asked for: {run.no_speech(CACHE)} is empty"
    )


if __name__ == "__main__":
    main()
