"""The align model's own descriptions of every utterance, where a variant is to read them; train's are crossed.

in: data/manifest.jsonl, data/tokens.h5, the descriptions that align learned, the backbone, models/align/.
out: data/student.jsonl, empty unless student.folds is set. Finished folds are kept in data/store, which is no output.
"""

from bemerc.behavior.describe import description, rules
from bemerc.core.config import load
from bemerc.corpus import provenance
from bemerc.corpus.manifest import SPLITS, read_manifest
from bemerc.language.inputs import variants
from bemerc.language.train import crossfit
from pipeline import DATA, MANIFEST, MODELS, PARAMS, STORE, STUDENT, TOKENS, stage


def said(params: crossfit.Params) -> dict[str, rules.Description]:
    """What the student says; heavy libraries are imported here, so that saying nothing costs nothing."""
    from bemerc.behavior.tokens import file
    from bemerc.language.model import behavior_model
    from bemerc.language.predict import score_labels
    from bemerc.language.train import loop

    shape, tuning = load(PARAMS, "model", behavior_model.Params), load(PARAMS, "align", loop.Params)
    how, manifest = load(PARAMS, "predict", score_labels.Params), read_manifest(MANIFEST)
    taught = description.read_descriptions(DATA / variants.FILES[load(PARAMS, "describe", rules.Params).source])
    with file.open_tokens(TOKENS) as read:
        found = crossfit.run(manifest, read, taught, MODELS / "align", shape, tuning, how, params, STORE / "student")
    score = {s: crossfit.agreement(found, taught, [u.id for u in manifest.by_split(s)]) for s in SPLITS}
    print("F1 of what they say against what align was taught: " + ", ".join(f"{s} {v:.2f}" for s, v in score.items()))
    return found


@stage
def main() -> None:
    params = load(PARAMS, "student", crossfit.Params)
    found = said(params) if params.folds else {}
    of = provenance.fitted(read_manifest(MANIFEST)) if found else ""
    description.write_descriptions(STUDENT, found, of)
    print(f"{len(found)} descriptions in {STUDENT}" if found else "No student: student.folds is 0.")


if __name__ == "__main__":
    main()
