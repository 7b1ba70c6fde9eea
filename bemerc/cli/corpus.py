"""The commands ``bemerc corpus ...``, ``sample`` and ``prepare``: from a corpus's folder to a manifest."""

from pathlib import Path
from typing import Annotated, Any

import typer

from bemerc.cli import output
from bemerc.cli.app import App
from bemerc.cli.options import AsJson, DataDir, ParamsFile, Settings, Workers, read_params
from bemerc.core.terminal import printable

CorpusName = Annotated[
    str, typer.Argument(metavar="CORPUS", help="A corpus of the section prepare: sample, meld, iemocap, ...")
]

corpus_app = App(no_args_is_help=True, help="Look at a corpus before the work begins.")


def register(app: App) -> None:
    """Add these commands to ``app``."""
    app.add_typer(corpus_app, name="corpus")
    app.command()(sample)
    app.command()(prepare)


@corpus_app.command()
def check(
    name: CorpusName,
    params: ParamsFile = None,
    settings: Settings = None,
    json: AsJson = False,
    clips: Annotated[bool, typer.Option("--clips/--no-clips", help="Open every clip too.")] = True,
    deep: Annotated[
        bool, typer.Option("--deep", help="Decode every clip whole, to find those that break off.")
    ] = False,
) -> None:
    """Count a corpus; find what is missing, corrupt, mis-cut or odd.

    Exit code 1 when something needs you.

    Example: bemerc corpus check meld
    """
    from bemerc.core.config import load
    from bemerc.corpus import check, prepare

    report = check.run(
        load(read_params(params, settings), "prepare", prepare.Params), name, clips=clips, deep=deep, quiet=json
    )
    typer.echo(report.to_json() if json else report.format_text())
    if report.exit_code:
        raise typer.Exit(report.exit_code)


@corpus_app.command()
def survey(
    name: CorpusName,
    data: DataDir = Path("data"),
    params: ParamsFile = None,
    settings: Settings = None,
    json: AsJson = False,
) -> None:
    """Hash every file of a corpus's folder, for DVC.

    So DVC looks again when a clip is added or replaced.

    Example: bemerc corpus survey meld
    """
    from bemerc.pipeline import survey
    from bemerc.pipeline.project import Project

    file, count = survey.run(Project(read_params(params, settings), data=data), name)
    if json:
        output.print_json({"file": str(file), "files": count})
        return
    typer.echo(f"The hashes of {count} files are in {file}")


def sample(
    data: DataDir = Path("data"),
    workers: Workers = 0,
    params: ParamsFile = None,
    settings: Settings = None,
    json: AsJson = False,
) -> None:
    """Make the embedded sample corpus.

    Conversations of a warped portrait with a synthetic voice, in MELD's shape. It shows that everything works, and
    says nothing about people. Needs pip install "bemerc[sample]". Where prepare.corpora names another corpus, nothing
    is made.

    Example: bemerc sample
    """
    from bemerc.pipeline import sample
    from bemerc.pipeline.project import Project

    project = Project(read_params(params, settings), data=data)
    best_of = sample.run(project, workers)
    if json:
        output.print_json({"sample": str(project.data / "sample"), "best_possible_accuracy": best_of})
        return
    for where, ceilings in best_of.items():
        best = ", ".join(f"{name} {value:.3f}" for name, value in ceilings.items())
        typer.echo(f"best possible accuracy ({where}): {best}")
    typer.echo(f"The sample is {project.data / 'sample'}")


def prepare(
    data: DataDir = Path("data"), params: ParamsFile = None, settings: Settings = None, json: AsJson = False
) -> None:
    """Corpora -> manifest.jsonl, one line per utterance.

    It is the only thing that later commands read of a corpus. Which corpora, where they lie and which labels
    they have is in the section prepare of the params file.

    Example: bemerc prepare --set "prepare.corpora=[meld]" --data data
    """
    from dataclasses import asdict

    from bemerc.corpus.manifest import SPLITS
    from bemerc.pipeline import prepare
    from bemerc.pipeline.project import Project

    project = Project(read_params(params, settings), data=data)
    result = prepare.run(project)
    manifest = result.manifest
    counts: dict[str, Any] = {split: len(manifest.by_split(split)) for split in SPLITS}
    if json:
        about = {"manifest": str(project.manifest_file), "utterances": counts, "dialogues": len(manifest.dialogues())}
        findings = [asdict(finding) for finding in result.findings]
        output.print_json(about | {"findings": findings, "not_transcribed": output.strings(result.not_transcribed)})
        return
    output.print_reasons(result.not_transcribed)
    for finding in result.findings[: output.LISTED]:
        typer.echo(printable(f"{finding.id}: {finding.reason} (bemerc {finding.action})", 1000))
    if len(result.findings) > output.LISTED:
        more = len(result.findings) - output.LISTED
        typer.echo(f"and {more} more findings that need you: see 'bemerc corpus check'")
    listed = ", ".join(f"{count} {split}" for split, count in counts.items())
    typer.echo(f"{len(manifest.utterances)} utterances in {len(manifest.dialogues())} dialogues: {listed}")
    any_clip = any(u.clip for u in manifest.utterances)
    following = (
        f"extract {project.manifest_file}"
        if any_clip
        else "train --stage 2 --variant T (words alone: there is no clip)"
    )
    typer.echo(f"The manifest is {project.manifest_file}; next: bemerc {following}")
