"""The align model's own descriptions of every utterance, where a variant is to read them; train's are crossed.

in: data/manifest.jsonl, data/tokens.h5, the descriptions that align learned, the backbone, models/align/.
out: data/student.jsonl, empty unless student.folds is set. Finished folds are kept in data/store, which is no output.
"""

from bemerc import describe, description, student, variant
from bemerc.config import load
from bemerc.corpus import SPLITS, provenance, read_manifest
from pipeline import DATA, MANIFEST, MODELS, PARAMS, STORE, STUDENT, TOKENS, stage


def said(params: student.Params) -> dict[str, describe.Description]:
    """What the student says; heavy libraries are imported here, so that saying nothing costs nothing."""
    from bemerc import model, predict, tokens, train

    shape, tuning = load(PARAMS, "model", model.Params), load(PARAMS, "align", train.Params)
    how, manifest = load(PARAMS, "predict", predict.Params), read_manifest(MANIFEST)
    taught = description.read_descriptions(DATA / variant.FILES[load(PARAMS, "describe", describe.Params).source])
    with tokens.open_tokens(TOKENS) as read:
        found = student.run(manifest, read, taught, MODELS / "align", shape, tuning, how, params, STORE / "student")
    score = {s: student.agreement(found, taught, [u.id for u in manifest.by_split(s)]) for s in SPLITS}
    print("F1 of what they say against what align was taught: " + ", ".join(f"{s} {v:.2f}" for s, v in score.items()))
    return found


@stage
def main() -> None:
    params = load(PARAMS, "student", student.Params)
    found = said(params) if params.folds else {}
    of = provenance.fitted(read_manifest(MANIFEST)) if found else ""
    description.write_descriptions(STUDENT, found, of)
    print(f"{len(found)} descriptions in {STUDENT}" if found else "No student: student.folds is 0.")


if __name__ == "__main__":
    main()
