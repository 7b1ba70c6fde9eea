"""``bemerc export`` and ``bemerc card``, what is done with a trained model besides asking it; and ``train --estimate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bemerc.corpus import Manifest, Modality
    from bemerc.prompt import Params as PromptParams
    from bemerc.prompt import Prompt

Model = Annotated[Path, typer.Argument(metavar="MODEL", help="Model folder, such as models/merc/TVB.")]


def export(
    model: Model,
    out: Annotated[Path, typer.Option("--out", help="Folder to write; it must not exist yet.")],
    backbone: Annotated[
        str | None, typer.Option("--backbone", help="Where the backbone lies, if elsewhere than in training.")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="Where to merge: cpu, cuda, spread.")] = "cpu",
) -> None:
    """Merge the adapter into its backbone: one folder for deployment, which needs no other.

    It is an ordinary transformers folder with the projectors beside it; `bemerc predict --model` reads it like any model
    folder and gives the same scores, but for the rounding of a backbone's bfloat16.

    Example: bemerc export models/merc/TVB --out deployed
    """
    from bemerc.model import export as exporter

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
) -> None:
    """Write into a model's card what it is worth on test: F1 per label, per speaker, per gender where that is known.

    Training writes the card (README.md in the model's folder) without looking at test; this adds the numbers. IEMOCAP's
    speakers are named by gender; for other corpora --speakers tells it, in any words, and blank where it is not known.

    Example: bemerc card models/merc/TVB --predictions results/predictions/TVB.jsonl
    """
    from bemerc import evaluate
    from bemerc.corpus import read_manifest
    from bemerc.model import read_facts, tested

    manifest = read_manifest(data / "manifest.jsonl")
    genders = tested.read_genders(speakers, manifest) if speakers else tested.NOBODY
    found = tested.run(model, read_facts(model), manifest, predictions, evaluate.Params(), genders)
    typer.echo(f"Weighted F1 {found['weighted_f1']['value']:.3f} on test; the card is {model / 'README.md'}")


def estimate(stage: int, variant: str, data: Path, params: Path, tflops: float) -> str:
    """What `bemerc train --estimate` says."""
    from bemerc import model, prompt, tokens, train
    from bemerc.config import load
    from bemerc.corpus import MODALITIES, read_manifest
    from bemerc.train import estimate as estimator

    manifest = read_manifest(data / "manifest.jsonl")
    tuning = load(params, "align" if stage == 1 else "merc", train.Params)
    # Align's questions are plain text whatever the params say of prompts.
    shape, told = (prompt.Params() if stage == 1 else load(params, "prompt", prompt.Params)), ""
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
    from bemerc import align, describe
    from bemerc import variant as named
    from bemerc.config import load
    from bemerc.corpus import MODALITIES
    from bemerc.train import estimate as estimator

    file = data / named.FILES[load(params, "describe", describe.Params).source]
    there = file.is_file()
    said = describe.read_descriptions(file) if there else {u.id: estimator.TYPICAL for u in manifest.utterances}
    told = "" if there else f"{file} is not there yet: every description is taken to be a typical one of the rules\n"
    return align.prompts(manifest, "train", said, MODALITIES), told


def _merc_prompts(
    manifest: Manifest, variant: str, data: Path, params: Path, shape: PromptParams
) -> tuple[list[Prompt], Sequence[Modality]]:
    """Stage 2's questions, and the modalities that they show."""
    from bemerc import predict
    from bemerc import variant as named

    inputs = named.named(named.read(params), variant)
    said = named.sentences(inputs, named.read_described(inputs, data), [u.id for u in manifest.utterances])
    asked = predict.prompts(manifest, ("train",), manifest.labels, inputs.modalities, shape, inputs.whose, said)
    return [one for one, _ in asked], inputs.modalities
