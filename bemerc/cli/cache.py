"""The commands ``bemerc cache ...``: look into frame caches, check them, carry them to other tools and back."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bemerc.cli.app import FAILED, App
from bemerc.cli.options import AsJson, ManifestFile
from bemerc.core.errors import BemercError, CacheError, MachineError
from bemerc.core.terminal import printable

if TYPE_CHECKING:
    from bemerc.cache import FrameCache
    from bemerc.corpus.manifest import Manifest
    from bemerc.interop.exporters import Exported
    from bemerc.interop.seal import Imported

cache_app = App(no_args_is_help=True, help="Frame caches: look, check, export, import.")

CachePath = Annotated[
    Path, typer.Argument(metavar="CACHE", help="A frame cache, or a folder with face.h5, pose.h5, audio.h5.")
]


@cache_app.command()
def info(path: CachePath, json: AsJson = False) -> None:
    """What a cache holds, who made it and how: counts, hours, rate, params, and each column's numbers.

    Example: bemerc cache info features/face.h5
    """
    from bemerc.cache import caches_at, open_cache, summary
    from bemerc.extraction import validate as audit

    told, broken = [], []
    for file in caches_at(path).values():
        try:
            with open_cache(file) as cache:
                found = summary(cache)
                told.append(found | {"failures": cache.failures, "notes": cache.notes, "contents": cache.contents})
                if not json:
                    typer.echo(audit.in_words(cache) + "\n")
        except BemercError as error:  # the others are shown all the same
            broken.append(str(error))
    if json:
        typer.echo(audit.as_json(told))
    if broken:
        raise BemercError("\n".join(broken))


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
    from bemerc.cache import caches_at, open_cache
    from bemerc.extraction import validate as audit

    files = caches_at(path)
    clips = _clips_of(path, manifest, video_dir) if deep else None
    reports = []
    with ExitStack() as stack:
        opened = {}
        for name, file in files.items():
            try:
                opened[name] = stack.enter_context(open_cache(file))
            except (CacheError, MachineError) as error:
                reports.append(audit.refused(file, error))
        beside = audit.together({cache.modality: cache for cache in opened.values()})
        for cache in opened.values():
            also = beside + (audit.against_media(cache, clips, _store(cache.path, store)) if clips is not None else [])
            reports.append(audit.check(cache, also))
            beside = []
    typer.echo(audit.to_json(reports) if json else "\n".join(report.format_text() for report in reports))
    if any(report.wrong for report in reports):
        raise typer.Exit(FAILED)


def _clips_of(path: Path, manifest: Path | None, video_dir: Path | None) -> Manifest:
    """The clips that caches were measured of."""
    found = corpus_of(path, manifest, video_dir)
    if found is None:
        raise BemercError(f"{path}: which clips was it measured of? Name them with --video-dir or --manifest.")
    return found


def corpus_of(path: Path, manifest: Path | None, video_dir: Path | None) -> Manifest | None:
    """The utterances of caches: of a folder of clips, of a manifest, or of the manifest.jsonl above the caches; else None."""
    from bemerc.corpus.manifest import read_manifest
    from bemerc.corpus.readers import recording

    if video_dir is not None:
        return recording.read_dir(video_dir).manifest(video_dir)
    folder = path if path.is_dir() else path.parent
    above = (up / "manifest.jsonl" for up in (folder, folder.absolute().parent))
    manifest = manifest or next((file for file in above if file.is_file()), None)
    return None if manifest is None else read_manifest(manifest)


def _store(cache: Path, named: Path | None) -> Path | None:
    """The store that belongs to a cache: features/store beside it, or data/store above data/cache."""
    if named is not None and not named.is_dir():
        raise BemercError(f"{named}: there is no such store of finished clips.")
    folder = cache.absolute().parent
    return named or next((up / "store" for up in (folder, folder.parent) if (up / "store").is_dir()), None)


@cache_app.command("export")
def export(
    path: CachePath,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for csv and npy, file for parquet and mmsa.")],
    to: Annotated[str, typer.Option("--to", help="csv | parquet | mmsa | npy")],
    manifest: Annotated[
        Path | None, typer.Option("--manifest", help="The manifest.jsonl with splits, words and labels.")
    ] = None,
    video_dir: Annotated[
        Path | None, typer.Option("--video-dir", help="Where the clips lie: words and times of their subtitles.")
    ] = None,
    whole: Annotated[bool, typer.Option("--whole", help="For npy: one mean vector per utterance (UTT).")] = False,
) -> None:
    """Give a cache to another tool: csv and parquet with OpenFace's column names, MMSA's pickle, MERTools' .npy folders.

    csv: OUT/ID.csv for each utterance. parquet: all in the file OUT. npy: OUT/ID.npy of (T, D). mmsa: the file OUT. Of a
    folder of caches csv, parquet and npy are written per modality, below OUT. Where a manifest (or the one above the caches)
    or --video-dir says who said what and when, OUT/utterances.csv lists it.

    Example: bemerc cache export features/face.h5 openface --to csv
    """
    from bemerc.cache import caches_at, open_cache
    from bemerc.interop import exporters

    if to not in ("csv", "parquet", "mmsa", "npy"):
        raise BemercError(f"--to {to}: the layouts are csv, parquet, mmsa and npy.")
    files = caches_at(path)
    with ExitStack() as stack:
        opened = {file: stack.enter_context(open_cache(file)) for file in files.values()}
        corpus = corpus_of(path, manifest, video_dir)
        if to == "mmsa":
            caches = {cache.modality: cache for cache in opened.values()}
            written = {", ".join(caches): (exporters.to_mmsa(caches, out, corpus), out)}
        else:
            written = {}
            for file, cache in opened.items():
                place = out / file.stem if path.is_dir() else out
                if to == "parquet" and path.is_dir():
                    place = place.with_suffix(".parquet")
                written[cache.modality] = (_exported(cache, place, to, whole), place)
        if corpus is not None:
            files_of = {id_: file for made, _ in written.values() for id_, file in made.files.items()}
            exporters.to_utterances(corpus, files_of, (out if out.is_dir() else out.parent) / "utterances.csv")
    for of, (made, place) in written.items():
        typer.echo(f"{len(made.files)} utterances of {of} are in {printable(place, 1000)}")
    if to == "mmsa":
        typer.echo("Text features are made by MMSA from raw_text.")
    unreadable = [reason for made, _ in written.values() for reason in made.unreadable.values()]
    if unreadable:
        raise BemercError("\n".join(unreadable))


def _exported(cache: FrameCache, place: Path, to: str, whole: bool) -> Exported:
    from bemerc.interop import exporters

    if to == "csv":
        return exporters.to_csv(cache, place)
    return exporters.to_npy(cache, place, whole=whole) if to == "npy" else exporters.to_parquet(cache, place)


@cache_app.command("import")
def import_(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="OpenFace's CSVs, an MMSA pickle, or a MERTools folder of .npy.")
    ],
    source: Annotated[str, typer.Option("--from", help="openface | mmsa | mertools")],
    out: Annotated[Path, typer.Option("--out", help="Folder for face.h5, pose.h5, audio.h5.")] = Path("imported"),
    manifest: Annotated[
        Path | None, typer.Option("--manifest", help="A manifest.jsonl whose utterances the files belong to.")
    ] = None,
    modality: Annotated[
        str | None, typer.Option("--modality", help="For mertools: face | pose | audio | speech.")
    ] = None,
    rate_hz: Annotated[
        float | None, typer.Option("--rate-hz", help="Rows per second, where files do not say it.")
    ] = None,
    columns: Annotated[Path | None, typer.Option("--columns", help="A file with the columns' names.")] = None,
    min_confidence: Annotated[
        float, typer.Option("--min-confidence", help="For openface: frames below it count as unseen.")
    ] = 0.8,
    force: Annotated[bool, typer.Option("--force", help="Replace caches that are there.")] = False,
) -> None:
    """Make frame caches of other tools' features, with where they come from. They are used as extracted ones are.

    Utterances are called by their files' names, or by a manifest's ids where one is named. A pickle may hold arrays and
    plain types and nothing else; any other is refused unread.

    Example: bemerc cache import openface --from openface --out imported
    """
    from bemerc.interop import importers

    corpus = read_corpus(manifest)
    names = importers.read_names(columns) if columns is not None else ()
    if source == "openface":
        made = [importers.from_openface(path, out, corpus, min_confidence, force)]
    elif source == "mmsa":
        made = importers.from_mmsa(path, out, corpus, rate_hz, names, force)
    elif source == "mertools":
        made = [importers.from_mertools(path, out, corpus, importers.modality_of(modality), rate_hz, names, force)]
    else:
        raise BemercError(f"--from {source}: features come from openface, mmsa or mertools.")
    for one in made:
        _tell(one)


@cache_app.command()
def recompute(
    path: Annotated[Path, typer.Argument(help="A face.h5 that keeps landmarks.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the new face.h5; without it nothing is written.")
    ] = None,
    blendshapes: Annotated[
        Path | None,
        typer.Option("--blendshapes", help="MediaPipe's face_landmarker.task, asked in place of our network."),
    ] = None,
) -> None:
    """Work out action units, head pose and gaze anew from stored landmarks, without the video, and say what has changed.

    Where the face was and the quality are taken over. Use the new cache with --caches; extraction does not replace it.

    Example: bemerc cache recompute features/face.h5 --out recomputed
    """
    from bemerc.extraction import recompute as again

    if out is not None and (out / "face.h5").exists():
        raise BemercError(f"{out / 'face.h5'}: there is a cache already. Name another folder with --out.")
    found = again.run(path, None if out is None else out / "face.h5", blendshapes)
    typer.echo(found.sentence())
    typer.echo(
        f"The new cache is {out / 'face.h5'}" if out is not None else "Nothing was written; --out names a folder."
    )
    if found.unreadable:
        raise BemercError("\n".join(found.unreadable.values()))


def _tell(made: Imported) -> None:
    """What an import gave, and how much of it is known by name to what comes after."""
    from bemerc.behavior.describe.phrases import ITEMS
    from bemerc.behavior.tokens.pooling import plan

    for id_, reason in sorted(made.failures.items())[:10]:
        typer.echo(f"{printable(id_)}: {printable(reason, 1000)}")
    if len(made.failures) > 10:
        typer.echo(f"and {len(made.failures) - 10} more, which 'bemerc cache info {made.path} --json' lists")
    pooled = {item.signal for item in plan(made.columns)}
    said = {*(item.column for item in ITEMS), "AU45_r", "pitch_hz", "energy_db"} & set(made.columns)
    typer.echo(
        f"{made.utterances - len(made.failures)} of {made.utterances} utterances are in {made.path}; of {len(made.columns)} columns "
        f"{len(pooled)} go into behavior tokens and {len(said)} into descriptions."
    )
    if not said:
        typer.echo("Descriptions know columns by names such as AU12_r or pitch_hz: name yours with --columns.")


def read_corpus(manifest: Path | None) -> Manifest | None:
    """A manifest where one is named."""
    from bemerc.corpus.manifest import read_manifest

    return None if manifest is None else read_manifest(manifest)
