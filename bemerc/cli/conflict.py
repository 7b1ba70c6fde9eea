"""The commands ``bemerc conflict ...``: utterances whose face and voice disagree, and whom a model believes there."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from bemerc.cli import output
from bemerc.cli.app import App
from bemerc.cli.options import AsJson, Backbone, DataDir, ModelsDir, ParamsFile, Settings, path_of, read_params

conflict_app = App(no_args_is_help=True, help="When face and voice disagree: whom does a model believe?")


@conflict_app.callback()
def _group() -> None:
    """When face and voice disagree: whom does a model believe?"""


@conflict_app.command()
def build(
    manifest: Annotated[
        Path, typer.Argument(parser=path_of, metavar="MANIFEST", help="The corpus's manifest.jsonl.")
    ] = Path("data/manifest.jsonl"),
    tokens: Annotated[
        Path | None, typer.Option("--tokens", help="Its behavior tokens; else tokens.h5 beside the manifest.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write; else conflict.jsonl beside the manifest.")
    ] = None,
    or_empty: Annotated[
        bool, typer.Option("--or-empty", help="Of a corpus without conflict, write an empty file that says why.")
    ] = False,
    params: ParamsFile = None,
    settings: Settings = None,
    json: AsJson = False,
) -> None:
    """Find the utterances in which face and voice agree or disagree, and recombine those that agree.

    By labels of each modality (label_voice, label_face), where people gave them; else by regressions on the face alone
    and the voice alone, which must be better than chance; and by pairing the face of one utterance with the voice of
    another of the same speaker. Settings: the section conflict of the params file.

    Example: bemerc conflict build data/manifest.jsonl
    """
    from bemerc.pipeline import conflict_build
    from bemerc.pipeline.project import Project

    project = Project(read_params(params, settings), data=manifest.parent)
    path, made = conflict_build.run(project, manifest, tokens, out, or_empty=or_empty)
    if json:
        output.print_json({"conflict": str(path), "items": len(made.items), "cuts": made.cuts, **made.made})
        return
    for side, about in made.made["predictors"].items():
        typer.echo(
            f"{side} alone: balanced accuracy {about['accuracy']:.3f} on dev, {about['chance']:.3f} by chance (p = {about['p_value']:.2g})"
        )
    for split, ways in made.made["counts"].items():
        for way, subsets in ways.items():
            typer.echo(f"{split:5s} {way:10s} " + ", ".join(f"{subset} {n:,}" for subset, n in subsets.items()))
    if made.made["left_out"]:
        typer.echo("left out: " + ", ".join(f"{n:,} {reason}" for reason, n in made.made["left_out"].items()))
    if "nothing" in made.made:
        typer.echo(f"There is no conflict. {made.made['nothing']}")
    typer.echo(f"{len(made.items):,} conflict items are in {path}")


@conflict_app.command()
def evaluate(
    systems: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL",
            help="Model folders or predictions files, as PATH or NAME=PATH; one NAME several times: training seeds. "
            "PATH@reallocate: with predict.reallocate so. None: the models of evaluate.variants that read face and voice.",
            show_default=False,
        ),
    ] = None,
    items: Annotated[
        Path | None,
        typer.Option("--items", parser=path_of, metavar="PATH", help="Conflict items; else conflict.jsonl in --data."),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option("--baseline", metavar="MODEL", help="What the others are compared with: NAME or PATH.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for conflict.md and what belongs to it.")] = Path(
        "results/conflict"
    ),
    split: Annotated[Literal["test", "dev"], typer.Option("--split", help="The split to judge on.")] = "test",
    gold_sets: Annotated[
        Path | None,
        typer.Option("--gold-sets", help="A table (id, labels) where several labels are right, for the set metric."),
    ] = None,
    threshold: Annotated[
        float, typer.Option("--threshold", min=0, max=1, help="Probability from which a label is in the predicted set.")
    ] = 0.25,
    data: DataDir = Path("data"),
    models: ModelsDir = Path("models"),
    backbone: Backbone = None,
    latex: Annotated[bool, typer.Option("--latex", help="Print a table for a paper (booktabs).")] = False,
    params: ParamsFile = None,
    settings: Settings = None,
    json: AsJson = False,
) -> None:
    """Which side does a model follow where face and voice disagree?

    Accuracy where both agree, where the face is right and where the voice is; the gap between the last two; what
    happens when one side of an utterance is swapped. With intervals over dialogues and training seeds, and against a
    baseline.

    Example: bemerc conflict evaluate models/merc/TVB
    """
    from bemerc.evaluate.conflict import report, summary, text
    from bemerc.evaluate.conflict.systems import named, with_baseline
    from bemerc.pipeline import conflict
    from bemerc.pipeline.project import Project

    paths = named(systems) if systems else None
    if baseline is not None and paths is not None:
        paths, baseline = with_baseline(paths, baseline)
    judged = conflict.run(
        Project(read_params(params, settings), data=data, models=models),
        paths,
        out,
        items=items,
        baseline=baseline,
        split=split,
        gold_sets=gold_sets,
        threshold=threshold,
        backbone=backbone,
    )
    if json:
        output.print_json(report.to_json(judged))
        return
    typer.echo(text.latex(judged) if latex else text.terminal(judged))
    if not latex:
        typer.echo(f"The report is in {out / summary.PAGE}")
