"""The corpora in use -> data/manifest.jsonl, one utterance per line.

in: the folders of the corpora that ``prepare.corpora`` names.  out: data/manifest.jsonl
"""

from bemerc.config import load
from bemerc.corpus import SPLITS, prepare
from pipeline import MANIFEST, PARAMS, stage


@stage
def main() -> None:
    manifest = prepare.run(load(PARAMS, "prepare", prepare.Params), MANIFEST)
    counts = ", ".join(f"{len(manifest.by_split(split))} {split}" for split in SPLITS)
    print(f"{len(manifest.utterances)} utterances in {len(manifest.dialogues())} dialogues: {counts}")


if __name__ == "__main__":
    main()
