"""Made the files in this folder, with the code of commit 63d3cd5: every format that a release has left on people's disks.

Run once, in a checkout of that commit, from its root: ``python tests/old_files/make.py``. Later code reads these files
(tests/test_old_files.py) and does not make them anew; where a release adds a format, a folder of its own is added.

  params.yaml                     every section and key
  backbone/, align/, merc/        a tiny Llama and models on it; TVB reads tokens, ``student`` reads sentences too
  manifest.jsonl, tokens.h5, ...  what they were trained on, and what they predicted
  caches/, store/                 three clips (a speaker of the sample, nobody, no video at all), measured
  expected.json                   what that code read in all of them
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bemerc.behavior.describe import rules
from bemerc.behavior.describe.description import SLOTS, write_descriptions
from bemerc.cache import open_cache
from bemerc.core.config import to_mapping
from bemerc.core.hashing import sha256
from bemerc.corpus import provenance
from bemerc.corpus.manifest import write_manifest
from bemerc.corpus.readers import folder
from bemerc.extraction import run as extraction
from bemerc.extraction.jobs import WHOLE, jobs_from_folder, measure
from bemerc.extraction.store import Store
from bemerc.language.inputs import prompts, variants
from bemerc.language.predict import generate, records, score_labels
from bemerc.language.tiny_lm import model as backbone
from bemerc.language.train import align, merc
from bemerc.sample import make as sample
from tests import toy_language as language
from tests.clips import write_clip

HERE = Path(__file__).resolve().parent
TINY = backbone.Params(
    vocabulary=300, hidden=16, layers=1, heads=2, context=512, steps=100, texts=2, length=32, drills=8
)
STUDENT = variants.Variant("tokens", True, True, True, "same_speaker", "student", True)
MODULES = {
    "face": "bemerc.extraction.face.extractor",
    "pose": "bemerc.extraction.pose.body",
    "audio": "bemerc.extraction.audio.prosody",
}


def models(out: Path) -> dict[str, Any]:
    """Corpus, tokens, backbone and models; the numbers that were predicted."""
    manifest = language.manifest({"train": 4, "dev": 2, "test": 2})
    write_manifest(out / "manifest.jsonl", manifest.utterances, manifest.labels, manifest.corpora)
    described = language.describe(manifest)
    write_descriptions(out / "descriptions.jsonl", described)
    shape = replace(language.build(out / "backbone", manifest, TINY), rank=2, name_or_path="backbone")
    params, how = (
        replace(language.TRAINING, epochs=8, adapter_lr=0.03, projector_lr=0.03),
        score_labels.Params(device="cpu"),
    )
    references = {"fitted": provenance.fitted(manifest)}
    with language.write(out / "tokens.h5", manifest) as tokens:
        align.run(manifest, tokens, described, references, shape, params, out / "align")
        said = generate.generate_descriptions(out / "align", [u.id for u in manifest.utterances], tokens, how, 12)
        write_descriptions(out / "student.jsonl", said, provenance.fitted(manifest))
        known: variants.Described = {"student": said}
        for name, inputs in (("TVB", None), ("student", STUDENT)):
            to = out / "merc" / name
            merc.run(
                name,
                manifest,
                tokens,
                references,
                out / "align",
                prompts.Params(),
                shape,
                params,
                to,
                None,
                inputs,
                known,
            )
            found = score_labels.MercModel(to).score(manifest, tokens, ("test",), how, known)
            records.write_predictions(out / "predictions" / f"{name}.jsonl", found)
    merc.keep_student(out / "align", out / "merc" / "student")
    for left in (*out.rglob("last"), *out.rglob("*.csv"), *out.rglob("*train_log.jsonl")):
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    return {"said": {u.id: [getattr(said[u.id], slot) for slot in SLOTS] for u in manifest.by_split("test")}}


def caches(out: Path, work: Path) -> dict[str, Any]:
    """Three clips, measured; what each cache holds, and the names of the pieces in the store."""
    sample.make(sample.Params(3, 1, min_s=0.8, max_s=0.8, fps=20, width=160, height=160), work / "sample")
    (work / "clips").mkdir()
    shutil.copy(min((work / "sample").rglob("*.mp4")), work / "clips" / "speaker.mp4")
    write_clip(work / "clips" / "nobody.mp4", 0.4, tone_hz=None)
    (work / "clips" / "broken.mp4").write_bytes(b"no clip")
    jobs = jobs_from_folder(work / "clips")
    extraction.extract_video(jobs, out / "caches", out / "store", extraction.VideoParams(max_failed_share=1.0), 1)
    extraction.extract_audio(jobs, out / "caches", out / "store", extraction.AudioParams(max_failed_share=1.0), 1)
    Store(out / "store").drop_landmarks("face")  # the cache has them; here they would take the room
    manifest = folder.read(work / "clips").manifest(work / "clips")
    files = {modality: out / "caches" / f"{modality}.h5" for modality in MODULES}
    rules.run(manifest, files, out / "rules.jsonl", rules.Params())
    train = replace(manifest, utterances=tuple(replace(u, split="train") for u in manifest.utterances))
    opened = {modality: open_cache(path, modality) for modality, path in files.items()}
    (out / "references.json").write_text(rules.fit(train, opened).to_json() + "\n")
    held = {}
    for modality, cache in opened.items():
        held[modality] = {
            "shape": {id: list(cache[id].values.shape) for id in cache.ids},
            "sum": float(np.nansum(cache["speaker"].values.astype(float))),
            "duration_s": cache.duration_s("speaker"),
            "failures": dict(cache.failures),
        }
        cache.close()
    contents = {job.id: sha256(job.path) for job in jobs if job.path}
    names = {}
    for modality, module in MODULES.items():
        params = {"face": extraction.face, "pose": extraction.pose, "audio": extraction.audio}[modality].Params()
        of = measure(modality, module, replace(params, landmarks=False) if modality == "face" else params)
        names[modality] = {"version": of.version} | {id: of.name(content, WHOLE) for id, content in contents.items()}
        Store(out / "store").finished(modality, names[modality]["speaker"], of.columns)
    for file in ("claims", "contents.jsonl", "failed-audio.txt", "failed-face-pose.txt"):
        (out / "store" / file).unlink()
    return {"caches": held, "contents": contents, "store": names}


def main() -> None:
    for old in HERE.iterdir():
        if old.name not in ("make.py", "__pycache__"):
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    shutil.copy("params.yaml", HERE / "params.yaml")
    with tempfile.TemporaryDirectory() as work:
        root = Path.cwd()
        os.chdir(HERE)
        try:
            expected = models(Path()) | caches(HERE, Path(work))
        finally:
            os.chdir(root)
    for name in ("variants", "merc"):
        assert name in (HERE / "params.yaml").read_text()
    expected["variants"] = to_mapping(variants.read(HERE / "params.yaml"))
    (HERE / "expected.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
