"""The commands ``bemerc inspect`` and ``doctor``: a look at one utterance, and at the machine."""

from pathlib import Path
from typing import Annotated, Any

import typer

from bemerc.cli import output
from bemerc.cli.app import FAILED, App
from bemerc.cli.options import AsJson, ClipsDir, ManifestFile
from bemerc.core.terminal import printable_lines


def register(app: App) -> None:
    """Add these commands to ``app``."""
    app.command()(inspect)
    app.command()(doctor)


def inspect(
    cache: Annotated[Path, typer.Argument(metavar="CACHE", help="A frame cache: face.h5, pose.h5 or audio.h5.")],
    id: Annotated[
        str | None, typer.Argument(metavar="ID", help="An utterance's id; without it, what the cache holds.")
    ] = None,
    video_dir: ClipsDir = None,
    manifest: ManifestFile = None,
    out: Annotated[Path | None, typer.Option("--out", help="The picture; default: ID.png here.")] = None,
    json: AsJson = False,
) -> None:
    """A picture of one utterance, or what a cache holds.

    The picture has a frame with landmarks, action units over time, head and body, pitch and energy. The frame comes
    from the clips in --video-dir, cues of subtitles included, or from those of a manifest. With --json the
    utterance's values in place of a picture: columns, seconds, rows.

    Example: bemerc inspect features/face.h5 talk_01 --video-dir clips
    """
    from bemerc.cache import open_cache

    with open_cache(cache) as opened:
        if id is None:
            from bemerc.cache import summary
            from bemerc.extraction.validate import describe_cache

            output.print_json(summary(opened)) if json else typer.echo(describe_cache(opened))
            return
        if json:
            output.print_json(_frames(opened, id))
            return
    from bemerc.cli.cache import corpus_of
    from bemerc.corpus.manifest import MODALITIES
    from bemerc.interop.filenames import file_of
    from bemerc.view import inspect_plot

    beside = {m: cache.with_name(f"{m}.h5") for m in MODALITIES if cache.with_name(f"{m}.h5").is_file()}
    path = out or file_of(Path(), id.replace("/", "_"), ".png")
    typer.echo(printable_lines(inspect_plot.save(id, beside, path, corpus_of(cache, manifest, video_dir))))


def _frames(cache: Any, id_: str) -> dict[str, Any]:
    """An utterance's rows for programs. CacheError where the cache does not have it."""
    features = cache[id_]
    about = {"id": id_, "modality": cache.modality, "columns": list(features.columns)}
    about |= {"failure": cache.failures.get(id_), "note": cache.notes.get(id_)}
    return about | {"timestamps_s": features.timestamps_s.tolist(), "values": features.values.tolist()}


def doctor(json: AsJson = False) -> None:
    """What this machine has and lacks, and how to fix it.

    Example: bemerc doctor
    """
    from dataclasses import asdict

    from bemerc.doctor import checks

    results = list(checks(Path()))
    if json:
        output.print_json([asdict(check) for check in results])
    else:
        width = max(len(check.name) for check in results)
        for check in results:
            remedy = "" if check.ok else f"  -> {check.remedy}"
            typer.echo(f"{'ok     ' if check.ok else 'MISSING'} {check.name:<{width}}  {check.detail}{remedy}")
    if any(not check.ok for check in results):
        raise typer.Exit(FAILED)
