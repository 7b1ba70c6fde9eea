"""For notebooks and scripts: ``extract``, ``open_cache``, ``describe``, ``load_model``, ``predict``, ``compare``.

    from bemerc import compare, describe, extract, load_model, open_cache, predict

The command line calls the same functions and prints what they return, so the two cannot drift apart. Nothing here
prints but progress bars (to stderr), and every fault that a user can cause is a BemercError whose text is the
sentence that the command line would say. Only what is called is imported: ``extract`` needs no torch, ``predict`` on
given caches no video library.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bemerc.cache import open_cache as open_cache
from bemerc.core import config
from bemerc.core.errors import BemercError
from bemerc.core.objects import location
from bemerc.extraction.engine import RayWorkers
from bemerc.pipeline import clips
from bemerc.pipeline.clips import Measured as Measured

if TYPE_CHECKING:
    from bemerc.behavior.describe.description import Description
    from bemerc.evaluate.compare import Comparison
    from bemerc.language.inputs.left_out import Choice
    from bemerc.language.predict.score_labels import MercModel
    from bemerc.pipeline.clip_predictions import Predicted

PathLike = Path | str


def _source(params: config.Source | None) -> config.Source:
    return config.Document({}, "the defaults") if params is None else params


def _path(path: PathLike | None) -> Path | None:
    return None if path is None else Path(path)


def extract(
    source: PathLike,
    out: PathLike | None = None,
    *,
    params: config.Source | None = None,
    only: Literal["video", "audio"] | None = None,
    workers: int = 0,
    asr: str | None = None,
    landmarks: bool | None = None,
    retry_failed: bool = False,
    engine: Literal["local", "ray"] = "local",
    ray_address: str | None = None,
) -> Measured:
    """Measure face, body and voice of every clip of ``source``, once, into frame caches in ``out``.

    source        a folder of clips, a single clip (either by the URL of an object store too: s3://, gs://), or the
                  manifest.jsonl of a prepared corpus
    out           folder of the caches, or its URL in an object store; None = features, features/NAME for a single clip, cache/ beside a manifest
    params        a params.yaml, of which extract_video and extract_audio are read; None = the defaults
    only          video: face and body alone; audio: sound alone
    workers       worker processes; 0 = one per core
    asr           a Whisper (name or folder) that transcribes videos without subtitles
    landmarks     keep raw points of faces, which can identify people; None = as for ``out`` before, else as in params
    retry_failed  try the clips again that failed before
    engine        local: processes of this machine; ray: processes on the nodes of a Ray cluster
    ray_address   HOST:PORT of the cluster; None = RAY_ADDRESS, else a new one on this machine

    Interrupted work goes on where it stopped. Raises BemercError; a clip that cannot be measured is no error: it
    stands in ``outcomes`` and in the caches with its reason. Of a prepared corpus ``max_failed_share`` of the clips
    may fail.
    """
    for name, path in (("source", source), ("out", out)):
        if path is not None and not str(path):
            raise BemercError(f"{name} is empty, as a shell's unset variable is. Name the folder; '.' is this one.")
    if ray_address is not None and engine != "ray":
        raise BemercError("An address of a Ray cluster is named, and the engine is local: add --engine ray.")
    return clips.extract(
        location(source),
        None if out is None else location(out),
        _source(params),
        only=only,
        workers=RayWorkers(workers, ray_address) if engine == "ray" else workers,
        asr=asr,
        landmarks=landmarks,
        retry_failed=retry_failed,
    )


def describe(
    source: PathLike | None = None,
    out: PathLike | None = None,
    *,
    caches: PathLike | None = None,
    model: PathLike | None = None,
    params: config.Source | None = None,
    workers: int = 0,
    teacher: str | None = None,
    align: PathLike | None = None,
) -> dict[str, Description]:
    """What face, body and voice do in every clip, in plain English: id -> Description.

    Measures what is not measured yet.

    source   a folder of clips, or a single clip
    out      where the sentences go; None = beside the caches
    caches   a folder of frame caches to use in place of clips
    model    a model folder whose train says what is strong and what is weak; None = general references
    teacher  a vision-language model that watches the clips in place of the rules; without a usable answer there is no entry
    align    an align model that describes in place of the rules, from behavior tokens

    The rules' descriptions are left in ``out``/descriptions.jsonl, micro-expressions, blinks and shut eyes in events.jsonl, a
    teacher's or an align model's in a file of its own. Raises BemercError.
    """
    from bemerc.pipeline import clip_descriptions

    result = clip_descriptions.run(
        _path(source),
        _path(out),
        _source(params),
        caches=_path(caches),
        model=_path(model),
        workers=workers,
        teacher=teacher,
        align=_path(align),
    )
    return dict(result.descriptions)


def load_model(model: PathLike, *, backbone: str | None = None, device: str = "auto") -> MercModel:
    """A trained merc model in memory, for ``predict`` to ask as often as one likes without loading it again.

    model     its folder, such as models/merc/TVB
    backbone  where its backbone lies (a folder, or a name of the hub), if it is not found beside the model
    device    auto: a GPU where there is one; cpu, cuda, cuda:1

    Raises BemercError where the folder is no such model.
    """
    from bemerc.language.predict.score_labels import MercModel

    return MercModel(Path(model), backbone, device)


def predict(
    model: PathLike | MercModel,
    source: PathLike | None = None,
    out: PathLike | None = None,
    *,
    caches: PathLike | None = None,
    params: config.Source | None = None,
    workers: int = 0,
    asr: str | None = None,
    teacher: str | None = None,
    backbone: str | None = None,
    evidence: Choice | None = None,
) -> Predicted:
    """Clips (or caches) in, a probability for every label of the model out. Measures what is not measured yet.

    model    a folder of the merc training, such as models/merc/TVB, or what ``load_model`` gave
    source   a folder of clips, or a single clip
    caches   a folder of frame caches to use in place of clips
    teacher  the vision-language model, for a variant that reads a teacher's descriptions
    backbone where the model's backbone lies (a folder, or a name of the hub), if it is not found beside the model
    evidence which parts of the input are left out, one at a time: bemerc.language.inputs.left_out.Choice(); None: none

    The tokens are made as the model's train had them. Raises BemercError: a folder that is no model, caches that lack
    columns which the model reads, nothing to judge.
    """
    from bemerc.pipeline import clip_predictions

    return clip_predictions.run(
        Path(model) if isinstance(model, str | Path) else model,
        _path(source),
        _path(out),
        _source(params),
        caches=_path(caches),
        workers=workers,
        asr=asr,
        teacher=teacher,
        backbone=backbone,
        evidence=evidence,
    )


def compare(manifest: PathLike, runs: Sequence[PathLike], params: config.Source | None = None) -> Comparison:
    """Runs against the first of them on the test split: see bemerc.evaluate.compare.

    manifest  the corpus's manifest.jsonl
    runs      predictions files, or folders with one per training seed
    params    a params file whose section ``evaluate`` says how many resamples and which confidence; None: the defaults

    ``bemerc.evaluate.compare.markdown`` and ``latex`` make tables of what comes back. Raises BemercError.
    """
    from bemerc.corpus.manifest import read_manifest
    from bemerc.evaluate import compare as judge
    from bemerc.evaluate import evaluation

    read = read_manifest(Path(manifest))
    tuning = config.load(_source(params), "evaluate", evaluation.Params)
    return judge.compare(read, judge.load(read, [Path(run) for run in runs]), tuning)
