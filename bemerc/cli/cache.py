"""The commands ``bemerc cache info``, ``validate`` and ``recompute``; exchange.py has ``export`` and ``import``."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bemerc.cli import output
from bemerc.cli.app import FAILED, App
from bemerc.cli.options import AsJson, ClipsDir, ManifestFile
from bemerc.core.errors import BemercError, CacheError, MachineError
from bemerc.core.terminal import printable

if TYPE_CHECKING:
    from bemerc.cache import FrameCache
    from bemerc.corpus.manifest import Manifest

cache_app = App(no_args_is_help=True, help="Frame caches: look, check, export, import.")

CachePath = Annotated[
    Path, typer.Argument(metavar="CACHE", help="A frame cache, or a folder with face.h5, pose.h5, audio.h5.")
]


@cache_app.command()
def info(
    path: CachePath,
    columns: Annotated[
        bool, typer.Option("--columns", help="Params, and each column's share of frames, mean, std, min and max.")
    ] = False,
    json: AsJson = False,
) -> None:
    """What a cache holds, who made it, and what is missing.

    Example: bemerc cache info features
    """
    from bemerc.cache import caches_at, open_cache, summary
    from bemerc.extraction.validate import describe_cache

    summaries, broken, shown = [], [], False
    for file in caches_at(path).values():
        try:
            with open_cache(file) as cache:
                if json:
                    about = {"failures": cache.failures, "notes": cache.notes, "contents": cache.contents}
                    summaries.append(summary(cache) | about)
                else:
                    typer.echo(describe_cache(cache) + "\n" if columns else "\n".join(_short(cache)))
                    shown = True
        except BemercError as error:  # the others are shown all the same
            broken.append(str(error))
    if json:
        output.print_json(summaries)
    elif not columns and shown:
        typer.echo("Each column's numbers: --columns. Every reason and note: --json.")
    if broken:
        raise BemercError("\n".join(broken))


def _short(cache: "FrameCache") -> list[str]:
    """Few lines on a cache, so that those of a folder fit on one screen."""
    from textwrap import shorten

    from bemerc.cache import totals

    about = totals(cache)
    rate = "every frame" if about["rate"] == "clip" else f"{about['rate']:g} per second"
    kept = ", raw landmarks kept" if about["landmarks"] else ""
    names = shorten(", ".join(map(printable, cache.columns)), 66, placeholder=" ...")
    lines = [
        f"{printable(cache.path, 1000)}: {cache.modality} of {len(cache)} utterances, {_duration(about['hours'])}",
        f"  {about['rows']} rows, {rate}, {about['bytes'] / 1e6:.1f} MB{kept}",
        f"  by {printable(cache.extractor, 75)}",
        f"  {len(cache.columns)} columns: {names}",
    ]
    if about["several_faces"]:
        doubt = f"in {about['uncertain_faces']} it is uncertain which is the speaker's"
        lines.append(f"  several faces in {about['several_faces']} utterances; {doubt}")
    if cache.others is not None:
        lines.append(
            f"  others in sight, not measured as the target: {about['others']}, with {about['other_rows']} rows"
        )
    for what, reasons in (("without rows", cache.failures), ("with a note", cache.notes)):
        if reasons:
            id_, reason = min(reasons.items())
            lines.append(
                f"  {len(reasons)} {what}, such as {printable(id_, 30)}: {shorten(printable(reason, 200), 100)}"
            )
    return lines


def _duration(hours: float) -> str:
    if hours < 1 / 60:
        return f"{3600 * hours:.1f} s"
    return f"{60 * hours:.1f} minutes" if hours < 1 else f"{hours:.1f} hours"


@cache_app.command()
def validate(
    path: CachePath,
    deep: Annotated[bool, typer.Option("--deep", help="Hash every clip anew, and compare with the store.")] = False,
    manifest: ManifestFile = None,
    video_dir: ClipsDir = None,
    store: Annotated[
        Path | None, typer.Option("--store", help="The extraction store; default: beside the caches.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Check every row of a cache; exit code 1 where there is an error.

    Shapes, timestamps, rates against durations, ranges, shares of NaN. With --deep every clip is hashed anew and
    compared with what the cache was extracted from and with the store. The clips are looked up in manifest.jsonl
    above the caches, unless --manifest or --video-dir say where.

    Example: bemerc cache validate features --deep --video-dir clips
    """
    from bemerc.cache import caches_at, open_cache
    from bemerc.extraction import validate as validation

    if not deep and (manifest is not None or video_dir is not None or store is not None):
        raise typer.BadParameter("--manifest, --video-dir and --store say what --deep compares with: add --deep")
    files = caches_at(path)
    clips = _clips_of(path, manifest, video_dir) if deep else None
    reports = []
    with ExitStack() as stack:
        opened = {}
        for name, file in files.items():
            try:
                opened[name] = stack.enter_context(open_cache(file))
            except (CacheError, MachineError) as error:
                reports.append(validation.unopenable(file, error))
        issues = validation.check_side_by_side({cache.modality: cache for cache in opened.values()})
        for cache in opened.values():
            if clips is not None:
                issues = issues + validation.check_against_clips(cache, clips, _store(cache.path, store))
            reports.append(validation.check_rows(cache, issues))
            issues = []
    typer.echo(validation.reports_as_json(reports) if json else "\n".join(report.format_text() for report in reports))
    if any(report.errors for report in reports):
        raise typer.Exit(FAILED)


def _clips_of(path: Path, manifest: Path | None, video_dir: Path | None) -> "Manifest":
    """The clips that caches were measured of."""
    corpus = corpus_of(path, manifest, video_dir)
    if corpus is None:
        raise BemercError("which clips was it measured of? Name them with --video-dir or --manifest.", path=path)
    return corpus


def corpus_of(path: Path, manifest: Path | None, video_dir: Path | None) -> "Manifest | None":
    """The utterances of a folder of clips, of a manifest, or of the manifest.jsonl above the caches; else None."""
    from bemerc.corpus.manifest import read_manifest
    from bemerc.pipeline import clip_settings

    folder = path if path.is_dir() else path.parent
    if video_dir is not None:
        return clip_settings.read_clips(video_dir, folder)
    above = (up / "manifest.jsonl" for up in (folder, folder.absolute().parent))
    manifest = manifest or next((file for file in above if file.is_file()), None)
    return None if manifest is None else read_manifest(manifest)


def _store(cache: Path, named: Path | None) -> Path | None:
    """The store that belongs to a cache: features/store beside it, or data/store above data/cache."""
    if named is not None and not named.is_dir():
        raise BemercError("there is no such extraction store.", path=named, missing=True)
    folder = cache.absolute().parent
    return named or next((up / "store" for up in (folder, folder.parent) if (up / "store").is_dir()), None)


@cache_app.command()
def recompute(
    path: Annotated[Path, typer.Argument(help="A face.h5 that keeps landmarks.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the new face.h5; without it nothing is written.")
    ] = None,
    task: Annotated[
        Path | None,
        typer.Option("--task", help="A face_landmarker.task, whose blendshape model is used."),
    ] = None,
    json: AsJson = False,
) -> None:
    """Work out action units and head pose anew from landmarks.

    That is done without the video, and what has changed is printed. Where the face was and the quality are taken
    over. Use the new cache with --caches; extraction does not replace it.

    Example: bemerc cache recompute features/face.h5 --out recomputed
    """
    from dataclasses import asdict

    from bemerc.extraction import recompute

    if out is not None and (out / "face.h5").exists():
        raise BemercError("there is a cache already. Name another folder with --out.", path=out / "face.h5")
    result = recompute.run(path, None if out is None else out / "face.h5", task)
    written = None if out is None else out / "face.h5"
    if json:
        output.print_json(asdict(result) | {"file": written and str(written)})
    else:
        typer.echo(result.sentence())
        typer.echo(f"The new cache is {written}" if written else "Nothing was written; --out names a folder.")
    if result.unreadable:
        raise BemercError("\n".join(result.unreadable.values()))
