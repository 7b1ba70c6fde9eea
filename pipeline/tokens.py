"""Frame caches -> K behavior tokens per modality and utterance, measured against train.

in: data/manifest.jsonl, data/cache/*.h5.  out: data/tokens.h5
"""

from pathlib import Path

from bemerc.behavior.tokens import file
from bemerc.cache import KINDS, Kind
from bemerc.core.config import load
from bemerc.corpus.manifest import read_manifest
from pipeline import CACHE, MANIFEST, PARAMS, TOKENS, stage


@stage
def main() -> None:
    caches: dict[Kind, Path | None] = {kind: CACHE / f"{kind}.h5" for kind in KINDS}
    calibration = file.run(read_manifest(MANIFEST), caches, TOKENS, load(PARAMS, "tokens", file.Params))
    widths = ", ".join(f"{modality} {len(found.columns)}" for modality, found in calibration.modalities.items())
    print(f"behavior tokens in {TOKENS}; columns per token: {widths}")


if __name__ == "__main__":
    main()
