"""The commands ``bemerc inspect``, ``view`` and ``doctor``: a look at an utterance, a conversation, the machine."""

from pathlib import Path
from typing import Annotated, Any

import typer

from bemerc.cli import output
from bemerc.cli.app import FAILED, App
from bemerc.cli.options import AsJson, ClipsDir, ManifestFile, ParamsFile, Settings, read_params
from bemerc.core.terminal import printable, printable_lines


def register(app: App) -> None:
    """Add these commands to ``app``."""
    app.command()(inspect)
    app.command()(view)
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
    utterance's values in place of a picture: columns, seconds, rows. ID#2 is person 2 of utterance ID, where a cache
    keeps everybody in sight.

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
    """An utterance's rows for programs, or those of somebody else in it. CacheError where the cache does not have it."""
    if cache.others is not None and id_ in cache.others:
        cache = cache.others
    features = cache[id_]
    about = {"id": id_, "modality": cache.modality, "columns": list(features.columns)}
    about |= {"failure": cache.failures.get(id_), "note": cache.notes.get(id_)}
    return about | {"timestamps_s": features.timestamps_s.tolist(), "values": features.values.tolist()}


def view(
    features: Annotated[Path, typer.Argument(metavar="FEATURES", help="A folder with face.h5, pose.h5, audio.h5.")],
    video_dir: ClipsDir = None,
    manifest: ManifestFile = None,
    predictions: Annotated[
        Path | None, typer.Option("--predictions", help="A predictions.jsonl. Default: the one beside the caches.")
    ] = None,
    evidence: Annotated[
        Path | None, typer.Option("--evidence", help="What predict --evidence wrote. Default: the one beside them.")
    ] = None,
    dialogue: Annotated[
        list[str] | None, typer.Option("--dialogue", metavar="ID", help="This dialogue; may be named several times.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="The page.")] = Path("page.html"),
    embed: Annotated[bool, typer.Option("--embed", help="Put the videos into the page.")] = False,
    faces: Annotated[
        bool, typer.Option("--faces/--no-faces", help="Show the videos, or mesh and curves alone.")
    ] = True,
    blur: Annotated[
        bool, typer.Option("--blur", help="Videos in which all but the measured face is coarse; made anew.")
    ] = False,
    video: Annotated[
        Path | None,
        typer.Option("--video", help="An MP4 with the overlay drawn in, subtitles beside it, in place of the page."),
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Serve the page on this machine until Ctrl-C, in place of a file.")
    ] = False,
    json: AsJson = False,
) -> None:
    """One page for a conversation, to open in a browser.

    Video with face mesh, body and hands of the very frame; words, action units, head, gaze, pitch, loudness and body
    over time, with blinks, nods, micro-expressions and cuts; sentences; labels, predictions and their evidence; lists
    of where to look first. One HTML file that fetches nothing; the videos stay where they are unless --embed puts
    them in.

    Example: bemerc view features --video-dir clips --out page.html
    """
    from contextlib import ExitStack

    from bemerc.cache import caches_at, open_cache
    from bemerc.cli.cache import corpus_of
    from bemerc.core.errors import BemercError
    from bemerc.corpus.manifest import MODALITIES
    from bemerc.corpus.readers import folder
    from bemerc.view import build, sources

    if blur and not faces:
        raise BemercError("--no-faces shows no video, so there is nothing to --blur.")
    options = build.Options(tuple(dialogue or ()), embed, faces, blur)
    with ExitStack() as stack:
        # A single file may have any name; what it is of stands in it.
        kinds = caches_at(features)
        checked = features.is_dir()
        there = [stack.enter_context(open_cache(path, kind if checked else None)) for kind, path in kinds.items()]  # type: ignore[arg-type]
        of = {cache.modality: cache for cache in there}
        opened = {m: of[m] for m in MODALITIES if m in of}
        if not opened:
            raise BemercError(
                f"the page shows {', '.join(MODALITIES)}, and here is {', '.join(of)} alone.", path=features
            )
        corpus = corpus_of(features, manifest, video_dir)
        named = corpus is not None
        if corpus is None:
            ids = {id_ for cache in opened.values() for id_ in cache.ids}
            corpus = folder.from_ids(ids).manifest(features)
        beside = features if features.is_dir() else features.parent
        read = sources.of(corpus, opened, beside, predictions, evidence)
        if video is not None:
            from bemerc.view import annotated

            result = annotated.write(read, video, options)
            if json:
                output.print_json({"file": str(video), "subtitles": str(video.with_suffix(".vtt"))})
            else:
                typer.echo(printable_lines(result))
            _warn_of_new_clip(video, video_dir)
            return
        if serve:
            from bemerc.view import serve as server

            with output.until_ctrl_c():
                server.run(read, options, lambda address: typer.echo(f"Open {address} in a browser. Ctrl-C ends it."))
            return
        page = build.write_page(read, out, options)
    if json:
        output.print_json(
            {"file": str(page.file), "bytes": page.bytes, "dialogues": page.dialogues, "holds": page.holds}
        )
        return
    typer.echo(f"{page.file}: {page.dialogues} dialogue{'s' * (page.dialogues != 1)}, {page.bytes / 1e6:.1f} MB.")
    for line in page.holds:
        typer.echo(f"  It holds: {line}")
    if not named:
        typer.echo(
            "  Without videos, words and speakers: name the clips with --video-dir, or --manifest, to have them."
        )


def _warn_of_new_clip(made: Path, video_dir: Path | None) -> None:
    """A video that was made among somebody's clips is a clip for the next command that reads the folder; a page's
    videos are known by their folder's name."""
    if video_dir is not None and made.resolve().is_relative_to(video_dir.resolve()):
        typer.echo(
            f"{printable(made, 1000)} lies in the folder of clips, and the next bemerc extract would measure it too. Move "
            "it, or name another place.",
            err=True,
        )


def doctor(params: ParamsFile = None, settings: Settings = None, json: AsJson = False) -> None:
    """What this machine has and lacks, and how to fix it.

    What the params ask for (a network, OpenFace, a speech encoder) is judged too.

    Example: bemerc doctor --set extract_audio.speech_backend=egemaps
    """
    from dataclasses import asdict

    from bemerc.doctor import checks

    named = None if params is None and not settings else read_params(params, settings)
    results = list(checks(Path(), named))
    if json:
        output.print_json([asdict(check) for check in results])
    else:
        width = max(len(check.name) for check in results)
        for check in results:
            remedy = "" if check.ok else f"  -> {check.remedy}"
            typer.echo(f"{'ok     ' if check.ok else 'MISSING'} {check.name:<{width}}  {check.detail}{remedy}")
    if any(not check.ok for check in results):
        raise typer.Exit(FAILED)
