"""Behavior tokens -> description, stage 1: the model learns to say what the behavior is.

in: data/manifest.jsonl, data/tokens.h5, data/descriptions.jsonl or data/teacher.jsonl (describe.source), the backbone.  out: models/align/
"""

import json

from bemerc.behavior.describe import rules
from bemerc.behavior.tokens import file
from bemerc.core.config import load
from bemerc.corpus.manifest import read_manifest
from bemerc.language.inputs import variants
from bemerc.language.model import behavior_model
from bemerc.language.train import align, loop
from pipeline import DATA, MANIFEST, MODELS, PARAMS, REFERENCES, TOKENS, board, stage


@stage
def main() -> None:
    references = json.loads(REFERENCES.read_text(encoding="utf-8"))
    model_params, params = load(PARAMS, "model", behavior_model.Params), load(PARAMS, "align", loop.Params)
    descriptions = rules.read_descriptions(DATA / variants.FILES[load(PARAMS, "describe", rules.Params).source])
    with file.open_tokens(TOKENS) as read:
        out = MODELS / "align"
        manifest, events = read_manifest(MANIFEST), board("align")
        align.check_inputs(manifest, read, references)
        best = align.run(manifest, read, descriptions, references, model_params, params, out, events)
    print(f"align in {out}; best epoch {best.epoch}, dev loss {best.dev['loss']:.3f}")


if __name__ == "__main__":
    main()
