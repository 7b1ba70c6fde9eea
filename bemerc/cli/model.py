"""``bemerc export`` and ``bemerc card``, what is done with a trained model besides asking it; and ``train --estimate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bemerc.core.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bemerc.api import Predicted
    from bemerc.corpus.manifest import Manifest, Modality, Utterance
    from bemerc.language.inputs.prompts import Params as PromptParams
    from bemerc.language.inputs.prompts import Prompt
    from bemerc.language.predict.records import Prediction, Unlabelled

Model = Annotated[Path, typer.Argument(metavar="MODEL", help="Model folder, such as models/merc/TVB.")]
Backbone = Annotated[
    str | None,
    typer.Option(
        "--backbone", help="Where the backbone lies (a folder or a hub's name), if not where it is looked for."
    ),
]
_QUOTED = 60  # letters of what was said, on a line of the terminal


def beside_utterances(answer: Predicted) -> list[tuple[Utterance, Prediction | Unlabelled]]:
    """Each utterance with its prediction, or the reason why there is none; t2 before t10."""
    from bemerc.corpus.reading import natural_id

    of: dict[str, Prediction | Unlabelled] = {one.id: one for one in answer.predictions}
    of |= {one.id: one for one in answer.without}
    ordered = sorted(answer.manifest.utterances, key=lambda one: natural_id(one.id))
    return [(utterance, of[utterance.id]) for utterance in ordered]


def prediction_lines(answer: Predicted) -> Iterator[str]:
    """A line per utterance: id, when, who, what was said, the likeliest labels, what they lack."""
    rows = beside_utterances(answer)
    width = max((len(printable(u.id)) for u, _ in rows), default=0)
    for u, one in rows:
        when = "" if u.start_s is None else f"{int(u.start_s) // 60:02d}:{u.start_s % 60:04.1f} "
        who = f"{printable(u.speaker, 40)} " if u.speaker else ""
        said = f'"{printable(u.text, _QUOTED)}"  ' if u.text else ""
        yield f"{printable(u.id):<{width}}  {when}{who}{said}{_answered(one)}"


def _answered(one: Prediction | Unlabelled) -> str:
    from bemerc.language.predict.records import Unlabelled

    if isinstance(one, Unlabelled):
        return f"no label. {one.reason}"
    best = sorted(one.scores.items(), key=lambda item: -item[1])[:3]
    lacks = [f"nothing measured of: {', '.join(one.unmeasured)}"] if one.unmeasured else []
    notes = [*lacks, *([one.note] if one.note else [])]
    shown = "  ".join(f"{printable(label, 40)} {chance:.2f}" for label, chance in best)
    return shown + (f"  ({'; '.join(notes)})" if notes else "")


def export(
    model: Model,
    out: Annotated[Path, typer.Option("--out", help="Folder to write; it must not exist yet.")],
    backbone: Backbone = None,
    device: Annotated[str, typer.Option("--device", help="Where to merge: cpu, cuda, spread.")] = "cpu",
) -> None:
    """Merge the adapter into its backbone: one folder for deployment, which needs no other.

    It is an ordinary transformers folder with the projectors beside it; `bemerc predict --model` reads it like any model
    folder and gives the same scores, but for the rounding of a backbone's bfloat16.

    Example: bemerc export models/merc/TVB --out deployed
    """
    from bemerc.release import export as exporter

    facts = exporter.run(model, out, backbone, device)
    typer.echo(
        f"The {facts.task} model with its backbone is in {out}. The backbone's licence holds for it: see README.md there."
    )


def card(
    model: Model,
    predictions: Annotated[Path, typer.Option("--predictions", help="The model's predictions of test.")],
    data: Annotated[Path, typer.Option("--data", help="Folder with manifest.jsonl.")] = Path("data"),
    speakers: Annotated[
        Path | None, typer.Option("--speakers", help="A table (CSV) with the columns speaker and gender.")
    ] = None,
    names: Annotated[
        bool, typer.Option("--names", help="Name the speakers in the card; without it they are numbered.")
    ] = False,
    params: Annotated[
        Path | None,
        typer.Option("--params", help="Params file, for its section evaluate; default: params.yaml, if it is here."),
    ] = None,
) -> None:
    """Write into a model's card what it is worth on test: F1 per label, per speaker, per gender where that is known.

    Training writes the card (README.md in the model's folder) without looking at test; this adds the numbers. IEMOCAP's
    speakers are named by gender; for other corpora --speakers tells it, in any words, and blank where it is not known.

    Example: bemerc card models/merc/TVB --predictions results/predictions/TVB.jsonl
    """
    from bemerc.core.config import load
    from bemerc.corpus.manifest import read_manifest
    from bemerc.evaluate import metrics
    from bemerc.language.model.behavior_model import read_facts
    from bemerc.release import test_metrics

    manifest = read_manifest(data / "manifest.jsonl")
    genders = test_metrics.read_genders(speakers, manifest) if speakers else test_metrics.NOBODY
    file = params or Path("params.yaml")
    how = load(file, "evaluate", metrics.Params) if params or file.is_file() else metrics.Params()
    found = test_metrics.run(model, read_facts(model), manifest, predictions, how, genders, names)
    typer.echo(f"Weighted F1 {found['weighted_f1']['value']:.3f} on test; the card is {model / 'README.md'}")


def estimate(stage: int, variant: str, data: Path, params: Path, tflops: float) -> str:
    """What `bemerc train --estimate` says."""
    from bemerc.behavior.tokens import file as tokens
    from bemerc.core.config import load
    from bemerc.corpus.manifest import MODALITIES, read_manifest
    from bemerc.language.inputs import prompts
    from bemerc.language.model import behavior_model as model
    from bemerc.language.train import loop
    from bemerc.language.train import memory_estimate as estimator

    manifest = read_manifest(data / "manifest.jsonl")
    tuning = load(params, "align" if stage == 1 else "merc", loop.Params)
    # Align's questions are plain text whatever the params say of prompts.
    shape, told = (prompts.Params() if stage == 1 else load(params, "prompt", prompts.Params)), ""
    modalities: Sequence[Modality] = MODALITIES
    if stage == 1:
        asked, told = _align_prompts(manifest, data, params)
    else:
        asked, modalities = _merc_prompts(manifest, variant, data, params, shape)
    k, kind = load(params, "tokens", tokens.Params).k, load(params, "model", model.Params)
    found = estimator.run(asked, modalities, k, shape, kind, tuning)
    return told + estimator.in_words(found, tuning, tflops, "merc" if stage == 2 else "align")


def _align_prompts(manifest: Manifest, data: Path, params: Path) -> tuple[list[Prompt], str]:
    """Stage 1's questions, and a line where the answers had to be made up."""
    from bemerc.behavior.describe import rules
    from bemerc.core.config import load
    from bemerc.corpus.manifest import MODALITIES
    from bemerc.language.inputs import variants as named
    from bemerc.language.train import align
    from bemerc.language.train import memory_estimate as estimator

    file = data / named.FILES[load(params, "describe", rules.Params).source]
    there = file.is_file()
    said = rules.read_descriptions(file) if there else {u.id: estimator.TYPICAL for u in manifest.utterances}
    told = "" if there else f"{file} is not there yet: every description is taken to be a typical one of the rules\n"
    return align.prompts(manifest, "train", said, MODALITIES), told


def _merc_prompts(
    manifest: Manifest, variant: str, data: Path, params: Path, shape: PromptParams
) -> tuple[list[Prompt], Sequence[Modality]]:
    """Stage 2's questions, and the modalities that they show."""
    from bemerc.language.inputs import variants as named
    from bemerc.language.predict import score_labels

    inputs = named.named(named.read(params), variant)
    said = named.sentences(inputs, named.read_described(inputs, data, manifest), [u.id for u in manifest.utterances])
    asked = score_labels.prompts(manifest, ("train",), manifest.labels, inputs.modalities, shape, inputs.whose, said)
    return [one for one, _ in asked], inputs.modalities
