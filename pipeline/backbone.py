"""Train's words, the prompt's frame and the descriptions -> a tiny Llama and its tokenizer, an ordinary Hugging Face folder.

Only the embedded default needs it: with ``model.name_or_path`` pointing at another causal LM, what this makes is not read.

in: data/manifest.jsonl, data/descriptions.jsonl.  out: models/backbone/
"""

from bemerc import backbone, describe, prompt
from bemerc.config import load
from bemerc.corpus import read_manifest
from pipeline import DESCRIPTIONS, MANIFEST, MODELS, PARAMS, stage


@stage
def main() -> None:
    params = load(PARAMS, "backbone", backbone.Params)
    shape = load(PARAMS, "prompt", prompt.Params)
    descriptions = describe.read_descriptions(DESCRIPTIONS)
    loss = backbone.run(read_manifest(MANIFEST), descriptions, MODELS / "backbone", params, shape)
    print(f"backbone in {MODELS / 'backbone'}; loss per token {loss:.2f}")


if __name__ == "__main__":
    main()
