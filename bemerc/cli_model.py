"""``bemerc export`` and ``bemerc card``: what is done with a trained model besides asking it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
    folder and gives the same scores.

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
) -> None:
    """Write into a model's card what it is worth on test: F1 per label, per speaker, per gender where that is known.

    Training writes the card (README.md in the model's folder) without looking at test; this adds the numbers.

    Example: bemerc card models/merc/TVB --predictions results/predictions/TVB.jsonl
    """
    from bemerc import evaluate
    from bemerc.corpus import read_manifest
    from bemerc.model import read_facts, tested

    found = tested.run(model, read_facts(model), read_manifest(data / "manifest.jsonl"), predictions, evaluate.Params())
    typer.echo(f"Weighted F1 {found['weighted_f1']['value']:.3f} on test; the card is {model / 'README.md'}")


def estimate(stage: int, variant: str, data: Path, params: Path, tflops: float) -> str:
    """What `bemerc train --estimate` says."""
    from bemerc import model, predict, prompt, tokens, train
    from bemerc import variant as named
    from bemerc.config import load
    from bemerc.corpus import read_manifest
    from bemerc.errors import BemercError
    from bemerc.train import estimate as estimator

    if stage == 1:
        raise BemercError("--estimate knows stage 2 alone; stage 1 has shorter prompts and needs less.")
    manifest, inputs = read_manifest(data / "manifest.jsonl"), named.named(named.read(params), variant)
    said = named.sentences(inputs, named.read_described(inputs, data), [u.id for u in manifest.utterances])
    tuning, shape = load(params, "merc", train.Params), load(params, "prompt", prompt.Params)
    asked = predict.prompts(manifest, ("train",), manifest.labels, inputs.modalities, shape, inputs.whose, said)
    found = estimator.run(
        [one for one, _ in asked],
        inputs.modalities,
        load(params, "tokens", tokens.Params).k,
        shape,
        load(params, "model", model.Params),
        tuning,
    )
    return estimator.in_words(found, tuning, tflops)
