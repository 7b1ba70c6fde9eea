"""Conversation and behavior -> label, stage 2, one variant of inputs; starts from align; dev picks the epoch.

in: data/manifest.jsonl, data/tokens.h5, the backbone, models/align/, the descriptions that the variant reads (section
``variants``).  out: models/merc/VARIANT/
"""

import argparse
import json

from bemerc.behavior.tokens import file
from bemerc.core.config import load
from bemerc.corpus.manifest import read_manifest
from bemerc.language.inputs import prompts, variants
from bemerc.language.model import behavior_model
from bemerc.language.train import align, loop, merc
from pipeline import DATA, MANIFEST, MODELS, PARAMS, REFERENCES, TOKENS, board, stage


@stage
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variant", required=True, help="a name of the section variants")
    name = parser.parse_args().variant
    inputs = variants.named(variants.read(PARAMS), name)
    shape, model_params = load(PARAMS, "prompt", prompts.Params), load(PARAMS, "model", behavior_model.Params)
    params, out = load(PARAMS, "merc", loop.Params), MODELS / "merc" / name
    references = json.loads(REFERENCES.read_text(encoding="utf-8"))
    with file.open_tokens(TOKENS) as read:
        start, manifest, events = MODELS / "align", read_manifest(MANIFEST), board(name)
        align.check_inputs(manifest, read, references)
        said = variants.read_described(inputs, DATA, manifest)
        best = merc.run(name, manifest, read, references, start, shape, model_params, params, out, events, inputs, said)
    if "student" in inputs.sources:
        merc.keep_student(MODELS / "align", out)
    print(
        f"merc {name} in {out}; best epoch {best.epoch}, dev weighted F1 {best.dev['weighted_f1']:.3f}, temperature {best.dev['temperature']:.2f}"
    )


if __name__ == "__main__":
    main()
