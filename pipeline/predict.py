"""A trained variant -> a probability for every label of every utterance of dev and test.

in: data/manifest.jsonl, data/tokens.h5, the backbone, models/merc/VARIANT/, the descriptions that it reads.  out: results/predictions/VARIANT.jsonl
"""

import argparse

from bemerc.behavior.tokens import file
from bemerc.core.config import load
from bemerc.corpus.manifest import read_manifest
from bemerc.language.inputs import variants
from bemerc.language.predict import records, score_labels
from pipeline import DATA, MANIFEST, MODELS, PARAMS, PREDICTIONS, TOKENS, stage


@stage
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variant", required=True, help="a name of the section variants")
    name = parser.parse_args().variant
    inputs = variants.named(variants.read(PARAMS), name)
    params = load(PARAMS, "predict", score_labels.Params)
    with file.open_tokens(TOKENS) as read:
        folder, manifest = MODELS / "merc" / name, read_manifest(MANIFEST)
        said = variants.read_described(inputs, DATA, manifest)
        found = score_labels.run(folder, manifest, read, ("dev", "test"), params, said)
    records.write_predictions(PREDICTIONS / f"{name}.jsonl", found)
    print(f"{len(found)} predictions in {PREDICTIONS / f'{name}.jsonl'}")


if __name__ == "__main__":
    main()
