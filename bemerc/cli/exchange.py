"""The commands ``bemerc cache export`` and ``import``: our features for other tools, and theirs for us."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bemerc.cli import output
from bemerc.cli.app import App
from bemerc.cli.cache import CachePath, corpus_of
from bemerc.cli.options import AsJson, ClipsDir, ManifestFile
from bemerc.core.errors import BemercError
from bemerc.core.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bemerc.cache import FrameCache
    from bemerc.corpus.manifest import Manifest
    from bemerc.interop.exporters import Exported
    from bemerc.interop.write_imported import Imported

Layout = Literal["csv", "parquet", "mmsa", "npy", "eaf", "textgrid", "webvtt", "bids", "long"]
# On the axis of time, with words and predictions; the others are features.
ANNOTATIONS = ("eaf", "textgrid", "webvtt", "bids", "long")


def register(cache_app: App) -> None:
    """Add these commands to the group ``cache``."""
    cache_app.command()(export)
    cache_app.command("import")(import_)


def export(
    path: CachePath,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder; for parquet, mmsa and long a file.")],
    to: Annotated[Layout, typer.Option("--to", help="The other tool's layout.")],
    manifest: ManifestFile = None,
    video_dir: ClipsDir = None,
    whole: Annotated[bool, typer.Option("--whole", help="For npy: one mean vector per utterance (UTT).")] = False,
    predictions: Annotated[
        Path | None,
        typer.Option("--predictions", help="For eaf to long: a predictions.jsonl. Default: the one beside the caches."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="For eaf, textgrid and webvtt: replace the files that are there.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Give a cache to another tool: CSV, Parquet, MMSA, .npy; ELAN, Praat, subtitles, BIDS.

    csv: OUT/ID.csv for each utterance, with OpenFace's column names. parquet: all in the file OUT. npy: OUT/ID.npy of
    (T, D), as MERTools reads them. mmsa: the file OUT. Of a folder of caches csv, parquet and npy are written per
    modality, below OUT; where caches keep everybody in sight, the others' rows in others/ beside the target's, as
    ID#2, ID#3 (parquet: OUT.others.parquet). Where a manifest (or the one above the caches) or --video-dir says who said what and when,
    OUT/utterances.csv lists it.

    On the axis of time, with words, labels, predictions, descriptions and behavior: eaf (ELAN), textgrid (Praat) and
    webvtt write a file per recording below OUT, bids a dataset in OUT, long one table OUT.

    Example: bemerc cache export features/face.h5 openface --to csv
    """
    from bemerc.corpus.reading import must_be_no_recording

    must_be_no_recording(out)
    if force and to not in ("eaf", "textgrid", "webvtt"):
        raise typer.BadParameter("--force is for eaf, textgrid and webvtt; the others replace what they wrote")
    if to in ANNOTATIONS:
        _annotations(path, out, to, corpus_of(path, manifest, video_dir), predictions, force, json)
        return
    if predictions is not None:
        raise typer.BadParameter(f"--predictions is for {', '.join(ANNOTATIONS)}")
    from bemerc.cache import caches_at, open_cache
    from bemerc.corpus import utterance_table
    from bemerc.interop import exporters

    files = caches_at(path)
    is_file = to == "mmsa" or (to == "parquet" and not path.is_dir())
    listing = (out.parent if is_file else out) / "utterances.csv"
    with ExitStack() as stack:
        opened = {file: stack.enter_context(open_cache(file)) for file in files.values()}
        corpus = corpus_of(path, manifest, video_dir)
        if corpus is not None:
            utterance_table.check_replaceable(listing, exporters.LISTED)
        if to == "mmsa":
            caches = {cache.modality: cache for cache in opened.values()}
            written = {", ".join(caches): (exporters.to_mmsa(caches, out, corpus), out)}
        else:
            written = {}
            for file, cache in opened.items():
                target = out / file.stem if path.is_dir() else out
                if to == "parquet" and path.is_dir():
                    target = target.with_suffix(".parquet")
                written[cache.modality] = (_export(cache, target, to, whole), target)
                if cache.others is not None:
                    beside = target.with_suffix(".others.parquet") if to == "parquet" else target / "others"
                    written[f"{cache.modality} of others in sight"] = (_export(cache.others, beside, to, whole), beside)
        if corpus is not None:
            files_of = {id_: file for exported, _ in written.values() for id_, file in exported.files.items()}
            exporters.to_utterances(corpus, files_of, listing)
    _print_exported(written, to, json)
    unreadable = [reason for exported, _ in written.values() for reason in exported.unreadable.values()]
    if unreadable:
        raise BemercError("\n".join(unreadable))


def _annotations(
    path: Path, out: Path, to: Layout, corpus: "Manifest | None", predictions: Path | None, force: bool, json: bool
) -> None:
    """Write the layouts that have an axis of time."""
    from bemerc.cache import caches_at, open_cache
    from bemerc.language.predict.records import predictions_beside
    from bemerc.pipeline import annotations

    if corpus is None:
        raise BemercError("whose words and clips are these? Name them with --manifest or --video-dir.", path=path)
    folder = path if path.is_dir() else path.parent
    predictions = predictions_beside(predictions, [folder, corpus.folder])
    with ExitStack() as stack:
        opened = [stack.enter_context(open_cache(file)) for file in caches_at(path).values()]
        caches = {cache.modality: cache for cache in opened}
        written = annotations.run(caches, corpus, out, to, predictions, force=force)  # type: ignore[arg-type]
    if json:
        files = {name: str(file) for name, file in written.files.items()}
        counts = {"utterances": written.utterances, "words": written.words, "emotions": written.emotions}
        output.print_json({"out": str(out), "files": files, "unreadable": dict(written.unreadable)} | counts)
    else:
        typer.echo(f"{written.utterances} utterances in {len(written.files)} recordings are in {printable(out, 1000)}")
        if predictions is not None:
            typer.echo(f"Predictions are those of {printable(predictions, 1000)}")
        if not written.words:
            typer.echo(
                "No utterance has words: they come from subtitles beside a clip (talk.srt), or 'bemerc extract --asr'."
            )
        if not written.emotions:
            typer.echo(
                "None has a label or a prediction: 'bemerc predict' makes predictions, --predictions names others."
            )
    if written.unreadable:
        raise BemercError("\n".join(written.unreadable.values()))


def _print_exported(written: "Mapping[str, tuple[Exported, Path]]", to: Layout, json: bool) -> None:
    """What an export wrote, by modality."""
    if json:
        output.print_json(
            {
                modality: {
                    "out": str(target),
                    "files": {id_: str(file) for id_, file in exported.files.items()},
                    "unreadable": dict(exported.unreadable),
                }
                for modality, (exported, target) in written.items()
            }
        )
        return
    for modality, (exported, target) in written.items():
        typer.echo(f"{len(exported.files)} utterances of {modality} are in {printable(target, 1000)}")
    if to == "mmsa":
        typer.echo("Text features are made by MMSA from raw_text.")


def _export(cache: "FrameCache", target: Path, to: Layout, whole: bool) -> "Exported":
    from bemerc.interop import exporters

    if to == "csv":
        return exporters.to_csv(cache, target)
    return exporters.to_npy(cache, target, whole=whole) if to == "npy" else exporters.to_parquet(cache, target)


def import_(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="OpenFace's CSVs, an MMSA pickle, or a MERTools folder of .npy.")
    ],
    source: Annotated[Literal["openface", "mmsa", "mertools"], typer.Option("--from", help="The tool they are of.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for face.h5, pose.h5, audio.h5.")] = Path("imported"),
    manifest: ManifestFile = None,
    modality: Annotated[
        str | None, typer.Option("--modality", help="For mertools: face | pose | audio | speech.")
    ] = None,
    rate_hz: Annotated[
        float | None, typer.Option("--rate-hz", help="Rows per second, where files do not say it.")
    ] = None,
    columns: Annotated[Path | None, typer.Option("--columns", help="A file with the columns' names.")] = None,
    min_confidence: Annotated[
        float, typer.Option("--min-confidence", help="For openface: frames below it count as without a face.")
    ] = 0.8,
    force: Annotated[bool, typer.Option("--force", help="Replace caches that are there.")] = False,
    json: AsJson = False,
) -> None:
    """Make frame caches of other tools' features; they are used as extracted ones.

    They say where they come from. Utterances are called by their files' names, or by a manifest's ids where one is
    named. A pickle may hold arrays and plain types and nothing else; any other is refused unread.

    Example: bemerc cache import openface --from openface --out imported
    """
    from dataclasses import asdict

    from bemerc.corpus.manifest import read_manifest
    from bemerc.interop import importers

    corpus = None if manifest is None else read_manifest(manifest)
    names = importers.read_names(columns) if columns is not None else ()
    if source == "openface":
        imported = [importers.from_openface(path, out, corpus, min_confidence, force)]
    elif source == "mmsa":
        imported = importers.from_mmsa(path, out, corpus, rate_hz, names, force)
    else:
        kind = importers.modality_of(modality)
        imported = [importers.from_mertools(path, out, corpus, kind, rate_hz, names, force)]
    if json:
        output.print_json([asdict(one) | {"path": str(one.path)} for one in imported])
        return
    for one in imported:
        _print_imported(one)


def _print_imported(imported: "Imported") -> None:
    """What an import gave, and how many of its columns have names that tokens and descriptions read."""
    from bemerc.behavior.describe.phrases import ITEMS
    from bemerc.behavior.tokens.pooling import plan

    output.print_reasons(dict(sorted(imported.failures.items())), all_at=f"bemerc cache info {imported.path} --json")
    pooled = {item.signal for item in plan(imported.columns)}
    described = {*(item.column for item in ITEMS), "AU45_r", "pitch_hz", "energy_db"} & set(imported.columns)
    typer.echo(
        f"{imported.utterances - len(imported.failures)} of {imported.utterances} utterances are in {imported.path}; of "
        f"{len(imported.columns)} columns {len(pooled)} go into behavior tokens and {len(described)} into descriptions."
    )
    if not described:
        typer.echo("Descriptions know columns by names such as AU12_r or pitch_hz: name yours with --columns.")
