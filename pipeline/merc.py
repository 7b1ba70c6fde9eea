"""Conversation and behavior -> label, stage 2, one variant of inputs; starts from align; dev picks the epoch.

in: data/manifest.jsonl, data/tokens.h5, the backbone, models/align/.  out: models/merc/VARIANT/
"""

import argparse
import json

from bemerc import merc, model, prompt, tokens, train
from bemerc.config import load
from bemerc.corpus import read_manifest
from pipeline import MANIFEST, MODELS, PARAMS, REFERENCES, TOKENS, board, stage


@stage
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variant", required=True, help="T, TV, TB or TVB")
    variant = parser.parse_args().variant
    shape, model_params = load(PARAMS, "prompt", prompt.Params), load(PARAMS, "model", model.Params)
    params, out = load(PARAMS, "merc", train.Params), MODELS / "merc" / variant
    references = json.loads(REFERENCES.read_text(encoding="utf-8"))
    with tokens.open_tokens(TOKENS) as read:
        start, manifest, events = MODELS / "align", read_manifest(MANIFEST), board(variant)
        best = merc.run(variant, manifest, read, references, start, shape, model_params, params, out, events)
    print(
        f"merc {variant} in {out}; best epoch {best.epoch}, dev weighted F1 {best.dev['weighted_f1']:.3f}, temperature {best.dev['temperature']:.2f}"
    )


if __name__ == "__main__":
    main()
