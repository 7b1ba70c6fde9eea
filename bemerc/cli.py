"""The door for people: ``bemerc extract``, ``describe``, ``predict``, ``train``, ``evaluate``, ``inspect``, ``corpus check``, ``doctor``.

Only typer is imported here; what a command needs is imported inside it, so that ``--help`` answers at once. What a user
can cause ends in a sentence and exit code 1, never in a stack trace; Ctrl-C ends in a sentence and exit code 130.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from typer.core import TyperGroup

from bemerc.errors import BemercError

if TYPE_CHECKING:
    from bemerc.corpus import Manifest, Modality

T = TypeVar("T")


class Door(TyperGroup):
    """A command group in which the faults that users can cause become sentences."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; BemercError -> its sentence and exit 1, Ctrl-C -> a sentence and exit 130."""
        try:
            return super().invoke(ctx)
        except BemercError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            typer.echo("\nInterrupted. What was finished is kept; the same command goes on from there.", err=True)
            raise typer.Exit(130) from None
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] == "bemerc":
                raise
            typer.echo(f'{error.name} is not installed: pip install "bemerc[all]", or see `bemerc doctor`.', err=True)
            raise typer.Exit(1) from None


app = typer.Typer(
    cls=Door,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Emotion recognition in conversation from cached behavior tokens: extract once, then tune an LLM.",
)
corpus_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look at a corpus before the work begins.")
app.add_typer(corpus_app, name="corpus")

VideoDir = Annotated[Path, typer.Option("--video-dir", help="Folder of clips; a subfolder is a dialogue.")]
Features = Annotated[Path, typer.Option("--out", help="Folder for face.h5, pose.h5, audio.h5 and finished work.")]
ModelDir = Annotated[Path, typer.Option("--model", help="Model folder, such as models/merc/TVB.")]
MaybeModel = Annotated[Path | None, typer.Option("--model", help="Model folder to take train's references from.")]
MaybeParams = Annotated[Path | None, typer.Option("--params", help="Params file; without it the defaults hold.")]
ParamsFile = Annotated[Path, typer.Option("--params", help="Params file.")]
Workers = Annotated[int, typer.Option("--workers", min=0, help="Worker processes; 0 = one per core.")]


@app.command()
def extract(
    video_dir: VideoDir, out: Features = Path("features"), workers: Workers = 0, params: MaybeParams = None
) -> None:
    """Measure face, body and voice of every clip in a folder, once.

    Leaves face.h5, pose.h5 and audio.h5 in the out folder. Interrupted work goes on where it stopped, and a new clip
    costs one clip.

    Example: bemerc extract --video-dir clips --out features
    """
    _extract(_clips(video_dir), out, workers, params, say=True)
    typer.echo(f"Look at one: bemerc inspect {out / 'face.h5'}")


@app.command()
def describe(
    video_dir: VideoDir,
    out: Features = Path("features"),
    model: MaybeModel = None,
    workers: Workers = 0,
    params: MaybeParams = None,
) -> None:
    """Say in plain English what face, body and voice do in every clip of a folder.

    Strong and weak are judged against the people that the model was trained on where --model names one, else against
    general references. Extracts what is not extracted yet.

    Example: bemerc describe --video-dir clips
    """
    from bemerc import describe as describer

    manifest = _clips(video_dir)
    caches = _extract(manifest, out, workers, params)
    known = _model_facts(model).references if model else None
    file = out / "descriptions.jsonl"
    describer.run(manifest, caches, file, _section(params, "describe", describer.Params), known)
    for id, description in describer.read_descriptions(file).items():
        typer.echo(f"{id}\n  {description.facial_expression}\n  {description.body_language}")
        typer.echo(f"  {description.posture}\n  {description.voice}")
    typer.echo(f"\nDescriptions are in {file}")


@app.command()
def inspect(
    cache: Annotated[Path, typer.Argument(help="A frame cache: face.h5, pose.h5 or audio.h5.")],
    id: Annotated[str | None, typer.Argument(help="An utterance's id; without it, what the cache holds.")] = None,
    video_dir: Annotated[Path | None, typer.Option("--video-dir", help="Where the clips lie, for the frame.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The picture; default: ID.png here.")] = None,
) -> None:
    """What is in a cache; or a picture of one utterance: frame with landmarks, units over time, pitch and energy.

    Example: bemerc inspect features/face.h5 talk_01 --video-dir clips
    """
    from bemerc.cache import open_cache

    with open_cache(cache) as opened:
        if id is None:
            from bemerc.cache import format_summary, summary

            typer.echo(format_summary(summary(opened)))
            return
    from bemerc import picture

    beside = {m: cache.with_name(f"{m}.h5") for m in ("face", "pose", "audio") if cache.with_name(f"{m}.h5").is_file()}
    path = out or Path(f"{id.replace('/', '_')}.png")
    typer.echo(picture.save(id, beside, path, video_dir))


@app.command()
def doctor() -> None:
    """What this machine has and lacks, what each missing thing costs, and the command that mends it.

    Example: bemerc doctor
    """
    from bemerc.doctor import findings

    found = list(findings(Path()))
    width = max(len(finding.name) for finding in found)
    for finding in found:
        remedy = "" if finding.ok else f"  -> {finding.remedy}"
        typer.echo(f"{'ok     ' if finding.ok else 'MISSING'} {finding.name:<{width}}  {finding.found}{remedy}")
    if any(not finding.ok for finding in found):
        raise typer.Exit(1)


@corpus_app.command("check")
def corpus_check(
    name: Annotated[str, typer.Argument(help="A corpus of the section prepare: sample, meld, iemocap, ...")],
    params: ParamsFile = Path("params.yaml"),
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    clips: Annotated[bool, typer.Option("--clips/--no-clips", help="Open every clip too.")] = True,
    deep: Annotated[
        bool, typer.Option("--deep", help="Decode every clip whole, to find those that break off.")
    ] = False,
) -> None:
    """Count a corpus and find what is missing, corrupt, mis-cut or odd. Exit code 1 when something needs you.

    Example: bemerc corpus check meld
    """
    from bemerc.config import load
    from bemerc.corpus import check, prepare

    report = check.run(load(params, "prepare", prepare.Params), name, clips=clips, deep=deep, quiet=json)
    typer.echo(report.to_json() if json else report.format_text())
    if report.exit_code:
        raise typer.Exit(report.exit_code)


# ------------------------------------------------------------------------------------------------- shared by commands


def _section(params: Path | None, section: str, cls: type[T]) -> T:
    """A section of the params file, or the defaults where none was named."""
    from bemerc.config import load

    return cls() if params is None else load(params, section, cls)


def _clips(video_dir: Path) -> Manifest:
    """The clips of a folder as utterances; a video with subtitles beside it becomes a dialogue of its cues."""
    from bemerc.corpus import recording

    return recording.read_dir(video_dir).manifest(video_dir)


def _extract(
    manifest: Manifest, out: Path, workers: int, params: Path | None, say: bool = False
) -> dict[Modality, Path | None]:
    """Measure what is not measured yet; modality -> cache."""
    from bemerc.extract import loop
    from bemerc.extract.jobs import jobs_from_manifest

    jobs = jobs_from_manifest(manifest)
    video = _section(params, "extract_video", loop.VideoParams)
    audio = _section(params, "extract_audio", loop.AudioParams)
    outcomes = [
        loop.extract_video(jobs, out, out / "store", video, workers),
        loop.extract_audio(jobs, out, out / "store", audio, workers),
    ]
    for outcome in outcomes if say else ():
        typer.echo(outcome.sentence())
    return {"face": out / "face.h5", "pose": out / "pose.h5", "audio": out / "audio.h5"}


def main() -> None:
    """The console script ``bemerc``."""
    app(prog_name="bemerc")


if __name__ == "__main__":
    main()
