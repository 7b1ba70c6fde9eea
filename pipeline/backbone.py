"""Train's words, the prompt's frame and the descriptions -> a tiny Llama and its tokenizer, an ordinary Hugging Face folder.

Only the embedded default needs it: with ``model.name_or_path`` pointing at another causal LM, what this makes is not read.

in: data/manifest.jsonl, data/descriptions.jsonl.  out: models/backbone/
"""

from bemerc.behavior.describe import rules
from bemerc.core.config import load
from bemerc.corpus.manifest import read_manifest
from bemerc.language.inputs import prompts
from bemerc.language.tiny_lm import model
from pipeline import DESCRIPTIONS, MANIFEST, MODELS, PARAMS, stage


@stage
def main() -> None:
    params = load(PARAMS, "backbone", model.Params)
    shape = load(PARAMS, "prompt", prompts.Params)
    descriptions = rules.read_descriptions(DESCRIPTIONS)
    loss = model.run(read_manifest(MANIFEST), descriptions, MODELS / "backbone", params, shape)
    print(f"backbone in {MODELS / 'backbone'}; loss per token {loss:.2f}")


if __name__ == "__main__":
    main()
