"""Frame caches -> facial expression, body language, posture and voice of every utterance, in plain English, by rules.

in: data/manifest.jsonl, data/cache/*.h5.  out: data/descriptions.jsonl, data/events.jsonl (micro-expressions and
blinks), data/references.json (train's quantiles)
"""

from bemerc import describe
from bemerc.config import load
from bemerc.corpus import MODALITIES, read_manifest
from pipeline import CACHE, DESCRIPTIONS, MANIFEST, PARAMS, REFERENCES, stage


@stage
def main() -> None:
    caches = {modality: CACHE / f"{modality}.h5" for modality in MODALITIES}
    params = load(PARAMS, "describe", describe.Params)
    usual = describe.run(read_manifest(MANIFEST), caches, DESCRIPTIONS, params)
    REFERENCES.write_text(usual.to_json() + "\n", encoding="utf-8")
    print(f"descriptions in {DESCRIPTIONS}")


if __name__ == "__main__":
    main()
