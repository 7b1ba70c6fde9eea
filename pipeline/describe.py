"""Frame caches -> facial expression, body language, posture and voice of every utterance, in plain English, by rules;
and by a vision-language model as well, where describe.teacher names one.

in: data/manifest.jsonl, data/cache/*.h5, for a teacher the clips.  out: data/descriptions.jsonl, data/events.jsonl
(micro-expressions and blinks), data/references.json (train's quantiles), data/teacher.jsonl (empty without a
teacher) and data/teacher_dropped.json (who has no usable answer, and why).
A teacher's answers are kept in data/store, which is no output: interrupted work goes on, nobody is asked twice.
"""

from bemerc.behavior.describe import description, rules
from bemerc.core import atomic
from bemerc.core.config import load
from bemerc.corpus.manifest import MODALITIES, Manifest, read_manifest
from pipeline import CACHE, DATA, DESCRIPTIONS, MANIFEST, PARAMS, REFERENCES, STORE, TEACHER, stage


def ask(model: str, manifest: Manifest) -> None:
    """Leave the teacher's descriptions; it is imported here, so that without one nothing of it is needed."""
    from bemerc.language.teacher import vlm

    voices = {id: said.voice for id, said in description.read_descriptions(DESCRIPTIONS).items()}
    found = vlm.run(manifest, model, load(PARAMS, "teacher", vlm.Params), STORE / "teacher", voices)
    vlm.write(found, DATA)
    print(found.sentence())


@stage
def main() -> None:
    caches = {modality: CACHE / f"{modality}.h5" for modality in MODALITIES}
    params, manifest = load(PARAMS, "describe", rules.Params), read_manifest(MANIFEST)
    usual = rules.run(manifest, caches, DESCRIPTIONS, params)
    atomic.write_text(REFERENCES, usual.to_json() + "\n", atomic.PUBLIC)
    if params.teacher is None:
        description.write_descriptions(TEACHER, {})
    else:
        ask(params.teacher, manifest)
    print(f"descriptions in {DESCRIPTIONS}" + (f" and {TEACHER}" if params.teacher else ""))


if __name__ == "__main__":
    main()
