"""The command ``bemerc evidence``: what each part of the input counted for in a model's answers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bemerc.cli import output
from bemerc.cli.app import App
from bemerc.cli.options import AsJson
from bemerc.core.errors import BemercError
from bemerc.core.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bemerc.language.predict.evidence import Evidence


def register(app: App) -> None:
    """Add this command to ``app``."""
    app.command()(evidence)


def evidence(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Evidence that `bemerc predict --evidence` has written.")
    ],
    id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="An utterance, in place of a summary of all.")
    ] = None,
    label: Annotated[
        str | None, typer.Option("--label", help="With --id: the label asked about, if not the predicted one.")
    ] = None,
    json: AsJson = False,
) -> None:
    """What spoke for a label, and what against it.

    A part counts as log p(label) minus log p(label) with that part left out, in nats. Without --id: by part, over all
    utterances, its mean size for the predicted label, and the share of answers that change without it. Two parts that say
    the same hide each other: what is small here may still be read.

    Example: bemerc evidence results/evidence/TVB.jsonl --id sample/test/dia0_utt1
    """
    from dataclasses import asdict

    from bemerc.language.predict.evidence import read_evidence, summary

    ledger = read_evidence(file)
    if id is not None:
        one = _named(file, ledger, id)
        if label is not None and label not in one.log_probs:
            raise BemercError(f"{printable(label)} is no label of {file}; the labels are {', '.join(one.log_probs)}.")
        counts = one.counts(label)
        if json:
            output.print_json({"id": one.id, "label": label or one.label, "log_probs": one.log_probs, "nats": counts})
            return
        for line in _lines(one, label or one.label):
            typer.echo(line)
        return
    if label is not None:
        raise BemercError("--label goes with --id.")
    parts = summary(ledger)
    if json:
        output.print_json({"utterances": len(ledger), "parts": {name: asdict(of) for name, of in parts.items()}})
        return
    width = max((len(printable(name)) for name in parts), default=0)
    typer.echo(f"{len(ledger)} utterances; the predicted label without each part:")
    typer.echo(f"{'':{width}}  mean change, nats  answers that change  utterances")
    for name, of in parts.items():
        typer.echo(f"{printable(name):{width}}  {of.mean_nats:17.3f}  {of.flips:18.1%}  {of.utterances:10d}")


def _named(file: Path, ledger: "Sequence[Evidence]", id: str) -> "Evidence":
    for one in ledger:
        if one.id == id:
            return one
    some = ", ".join(printable(one.id) for one in ledger[:3])
    raise BemercError(f"{file} has no utterance {printable(id)}; its ids are such as {some or 'none: it is empty'}.")


def _lines(one: "Evidence", label: str) -> "Iterator[str]":
    """The label and its probability; then part by part, the largest first, its nats and the answer without it."""
    from math import exp

    from bemerc.language.predict.records import best_label

    yield f"{printable(one.id)}: {printable(label)}, {exp(one.log_probs[label]):.2f}"
    counts = one.counts(label)
    width = max((len(printable(part)) for part in counts), default=0)
    for part, nats in counts.items():
        side = "for" if nats > 0.0005 else "against" if nats < -0.0005 else ""
        without = best_label(one.parts[part])
        changed = f"  without it: {printable(without)}" if without != one.label else ""
        yield f"{printable(part):{width}}  {nats:+8.3f} {side}{changed}".rstrip()
