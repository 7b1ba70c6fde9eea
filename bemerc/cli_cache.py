"""The commands ``bemerc cache ...``: look into frame caches, check them, carry them to other tools and back."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bemerc.errors import BemercError, CacheError

if TYPE_CHECKING:
    from bemerc.corpus import Manifest

cache_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Frame caches: look, check, export, import.")

CachePath = Annotated[Path, typer.Argument(help="A frame cache, or a folder with face.h5, pose.h5, audio.h5.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
ManifestFile = Annotated[Path | None, typer.Option("--manifest", help="The corpus's manifest.jsonl.")]


@cache_app.command()
def info(path: CachePath, json: AsJson = False) -> None:
    """What a cache holds, who made it and how: counts, hours, rate, params, and each column's numbers.

    Example: bemerc cache info features/face.h5
    """
    from bemerc import audit
    from bemerc.cache import open_cache, summary

    told = []
    for file in caches_at(path).values():
        with open_cache(file) as cache:
            found = summary(cache)
            told.append(found | {"failures": cache.failures, "notes": cache.notes, "contents": cache.contents})
            if not json:
                typer.echo(audit.in_words(cache) + "\n")
    if json:
        typer.echo(audit.as_json(told))


@cache_app.command()
def validate(
    path: CachePath,
    deep: Annotated[bool, typer.Option("--deep", help="Hash every clip anew, and compare with the store.")] = False,
    manifest: ManifestFile = None,
    video_dir: Annotated[Path | None, typer.Option("--video-dir", help="Where the clips lie, for --deep.")] = None,
    store: Annotated[
        Path | None, typer.Option("--store", help="The finished work; default: beside the caches.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Check every row: shapes, timestamps, rates against durations, ranges, NaN shares. Exit code 1 when one is wrong.

    With --deep every clip is hashed anew: against what the cache was measured of, and against the store. For that the
    clips are looked up in manifest.jsonl above the caches, unless --manifest or --video-dir say where.

    Example: bemerc cache validate features --deep --video-dir clips
    """
    from bemerc import audit
    from bemerc.cache import open_cache

    files = caches_at(path)
    clips = _clips_of(path, manifest, video_dir) if deep else None
    reports = []
    with ExitStack() as stack:
        opened = {}
        for name, file in files.items():
            try:
                opened[name] = stack.enter_context(open_cache(file))
            except CacheError as error:
                reports.append(audit.refused(file, error))
        beside = audit.together({cache.modality: cache for cache in opened.values()})
        for cache in opened.values():
            also = beside + (audit.against_media(cache, clips, _store(cache.path, store)) if clips is not None else [])
            reports.append(audit.check(cache, also))
            beside = []
    typer.echo(audit.to_json(reports) if json else "\n".join(report.format_text() for report in reports))
    if any(report.wrong for report in reports):
        raise typer.Exit(1)


def caches_at(path: Path) -> dict[str, Path]:
    """The cache named, or those of a folder: modality (or the file's name) -> file. CacheError where there is none."""
    from bemerc.corpus import MODALITIES

    if not path.is_dir():
        return {path.stem: path}
    found: dict[str, Path] = {m: path / f"{m}.h5" for m in MODALITIES if (path / f"{m}.h5").is_file()}
    if not found:
        names = ", ".join(f"{m}.h5" for m in MODALITIES)
        raise CacheError(f"{path}: there is no frame cache in this folder ({names}). 'bemerc extract' makes them.")
    return found


def _clips_of(path: Path, manifest: Path | None, video_dir: Path | None) -> Manifest:
    """The clips that caches were measured of."""
    from bemerc.corpus import read_manifest, recording

    if video_dir is not None:
        return recording.read_dir(video_dir).manifest(video_dir)
    folder = path if path.is_dir() else path.parent
    if manifest is None:
        manifest = next(
            (up / "manifest.jsonl" for up in (folder, folder.absolute().parent) if (up / "manifest.jsonl").is_file()),
            None,
        )
    if manifest is None:
        raise BemercError(f"{path}: which clips was it measured of? Name them with --video-dir or --manifest.")
    return read_manifest(manifest)


def _store(cache: Path, named: Path | None) -> Path | None:
    """The store that belongs to a cache: features/store beside it, or data/store above data/cache."""
    if named is not None and not named.is_dir():
        raise BemercError(f"{named}: there is no such store of finished clips.")
    folder = cache.absolute().parent
    return named or next((up / "store" for up in (folder, folder.parent) if (up / "store").is_dir()), None)
