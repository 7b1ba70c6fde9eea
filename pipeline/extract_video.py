"""Clips -> face and body measured on every frame that they need, from one decode per clip.

in: data/manifest.jsonl and the clips that it names.  out: data/cache/face.h5, data/cache/pose.h5
Finished clips are kept in data/store, which is no output of the stage: interrupted work goes on, a new clip costs one clip.
"""

from bemerc.core.config import load
from bemerc.corpus.manifest import read_manifest
from bemerc.extraction import run
from bemerc.extraction.jobs import jobs_from_manifest
from pipeline import CACHE, MANIFEST, PARAMS, STORE, cores, retry_failed, stage


@stage
def main() -> None:
    params = load(PARAMS, "extract_video", run.VideoParams)
    outcome = run.extract_video(
        jobs_from_manifest(read_manifest(MANIFEST)), CACHE, STORE, params, cores(), retry_failed=retry_failed()
    )
    print(outcome.sentence())


if __name__ == "__main__":
    main()
