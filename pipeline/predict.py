"""A trained variant -> a probability for every label of every utterance of dev and test.

in: data/manifest.jsonl, data/tokens.h5, the backbone, models/merc/VARIANT/.  out: results/predictions/VARIANT.jsonl
"""

import argparse

from bemerc import predict, prediction, tokens
from bemerc.config import load
from bemerc.corpus import read_manifest
from pipeline import MANIFEST, MODELS, PARAMS, PREDICTIONS, TOKENS, stage


@stage
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variant", required=True, help="T, TV, TB or TVB")
    variant = parser.parse_args().variant
    params = load(PARAMS, "predict", predict.Params)
    with tokens.open_tokens(TOKENS) as read:
        found = predict.run(MODELS / "merc" / variant, read_manifest(MANIFEST), read, ("dev", "test"), params)
    prediction.write_predictions(PREDICTIONS / f"{variant}.jsonl", found)
    print(f"{len(found)} predictions in {PREDICTIONS / f'{variant}.jsonl'}")


if __name__ == "__main__":
    main()
