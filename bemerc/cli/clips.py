"""The commands ``bemerc extract`` and ``bemerc describe``: clips in numbers and in words."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from bemerc.cli import output
from bemerc.cli.app import App
from bemerc.cli.options import (
    AsJson,
    Asr,
    Caches,
    ClipSource,
    ClipSourceDir,
    OutDir,
    OutLocation,
    ParamsFile,
    RetryFailed,
    Settings,
    Source,
    Teacher,
    VideoDir,
    Workers,
    read_params,
    source_of,
)
from bemerc.core.errors import BemercError
from bemerc.core.objects import Url, location
from bemerc.core.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bemerc.pipeline.clip_descriptions import ClipDescriptions
    from bemerc.pipeline.clips import Measured


def register(app: App) -> None:
    """Add these commands to ``app``."""
    app.command()(extract)
    app.command()(describe)


def extract(
    source: ClipSource = None,
    video_dir: ClipSourceDir = None,
    out: OutLocation = None,
    policy: Annotated[
        Literal["speaking", "largest", "longest", "left", "right", "network"] | None,
        typer.Option(
            "--policy",
            help="Whose face is measured where several are seen; default: who is speaking. network: who is by an ONNX file of yours.",
        ),
    ] = None,
    faces: Annotated[
        int | None,
        typer.Option("--faces", min=1, help="Faces followed at a time; 1 is enough, and faster, for one person."),
    ] = None,
    keep: Annotated[
        Literal["target", "all"] | None,
        typer.Option("--keep", help="all: the rows of everybody in sight, all the time; default: of the target alone."),
    ] = None,
    hands: Annotated[
        bool | None, typer.Option("--hands/--no-hands", help="Measure hands too: 21 points each.", show_default=False)
    ] = None,
    landmarks: Annotated[
        bool | None,
        typer.Option(
            "--landmarks/--no-landmarks",
            help="Keep raw face points; they can identify people. Default: as before in this folder, else yes.",
            show_default=False,
        ),
    ] = None,
    only: Annotated[
        Literal["video", "audio"] | None, typer.Option("--only", help="Face and body alone, or sound alone.")
    ] = None,
    asr: Asr = None,
    workers: Workers = 0,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option("--engine", envvar="BEMERC_ENGINE", help="Work on this machine, or on a Ray cluster."),
    ] = "local",
    ray_address: Annotated[
        str | None,
        typer.Option(
            "--ray-address",
            metavar="HOST:PORT",
            help="The cluster's head. Default: RAY_ADDRESS, else a new cluster on this machine.",
        ),
    ] = None,
    retry_failed: RetryFailed = False,
    part_clips: Annotated[
        int | None,
        typer.Option(
            "--part-clips",
            min=0,
            metavar="N",
            help="Clips per file of a cache; 0: one file. Default: as before in this folder, else one file.",
            show_default=False,
        ),
    ] = None,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Time a few clips and say what all will cost; keep nothing.")
    ] = False,
    slurm: Annotated[
        int | None,
        typer.Option("--slurm", min=1, metavar="N", help="Measure nothing; print a job script for N tasks of SLURM."),
    ] = None,
    partition: Annotated[str | None, typer.Option("--partition", help="With --slurm: the partition.")] = None,
    sbatch: Annotated[
        list[str] | None,
        typer.Option("--sbatch", metavar="KEY=VALUE", help="With --slurm: an option of sbatch, such as time=4:00:00."),
    ] = None,
    params: ParamsFile = None,
    settings: Settings = None,
    json: AsJson = False,
) -> None:
    """Measure face, body and voice of every clip, once.

    Leaves face.h5, pose.h5 and audio.h5 in the out folder, speech.h5 where the params name a speech encoder or
    openSMILE (extract_audio.speech_backend), and utterances.csv with words and times. Interrupted work goes on where it
    stopped, and a new clip costs one clip. A long video with subtitles beside it, or transcribed by --asr, becomes one
    utterance per cue. Clips that cannot be measured are listed, with reasons, and are no failure of the command; of a
    prepared corpus (SOURCE is its manifest.jsonl, out is cache/ beside it) max_failed_share of them may fail.

    Example: bemerc extract clips --out features
    """
    from bemerc import api
    from bemerc.pipeline import clip_table, clips, remote_out

    given = source_of(source, video_dir)
    assert given is not None
    path, there = location(given), None if out is None else location(out)
    if slurm is not None:
        _print_job_script(slurm, workers, [*([f"partition={partition}"] if partition else []), *(sbatch or [])])
        return
    if partition or sbatch:
        raise typer.BadParameter("--partition and --sbatch say how a job of SLURM runs: add --slurm N")
    flags = {
        "face.policy": policy,
        "face.faces": faces,
        "face.keep": keep,
        "pose.hands": hands,
    }
    wanted = [f"extract_video.{key}={_yaml(value)}" for key, value in flags.items() if value is not None]
    sections = [f"extract_{only}"] if only else ["extract_video", "extract_audio"]
    wanted += [f"{section}.part_clips={part_clips}" for section in sections if part_clips is not None]
    document = read_params(params, [*(settings or ()), *wanted])
    if estimate:
        if isinstance(path, Url) or isinstance(there, Url):
            raise typer.BadParameter("--estimate times clips of this machine: name a folder with some of them")
        _print_estimate(path, there, document, only, json)
        return
    folder = clips.project_of(path, "", clips.local_out(there)).cache_dir
    clip_table.check_replaceable(folder)
    measured = api.extract(
        given,
        out,
        params=document,
        only=only,
        workers=workers,
        asr=asr,
        landmarks=landmarks,
        retry_failed=retry_failed,
        engine=engine,
        ray_address=ray_address,
    )
    manifest = path if not isinstance(path, Url) and clips.is_manifest(path) else None
    table = clip_table.of_extracted(folder, measured, manifest)
    urls = remote_out.publish(folder, there) if isinstance(there, Url) else []
    if json:
        output.print_json(_extracted_json(measured, table))
        return
    _print_extracted(measured)
    _print_next(measured, path, folder, table)
    if urls:
        typer.echo(f"In the object store: {', '.join(map(str, urls))}")


def _print_estimate(source: Path, out: Path | None, params: Any, only: Any, json: bool) -> None:
    from bemerc.pipeline import clip_estimate

    result = clip_estimate.run(source, out, params, only)
    if json:
        output.print_json(result.as_json())
        return
    typer.echo(result.in_words())


def _print_job_script(tasks: int, workers: int, options: list[str]) -> None:
    import sys

    from bemerc.cli import slurm

    command = slurm.command_of(sys.argv[1:], ("--slurm", "--partition", "--sbatch"))
    typer.echo(slurm.job_script(command, tasks, workers, options))


def _yaml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _extracted_json(measured: "Measured", table: Path) -> dict[str, Any]:
    return {
        "measured": [outcome.as_json() for outcome in measured.outcomes],
        "left_out": dict(measured.left_out),
        "repaired": dict(measured.repaired),
        "not_transcribed": output.strings(measured.not_transcribed),
        "utterances": str(table),
    }


def _print_extracted(measured: "Measured") -> None:
    output.print_reasons(measured.not_transcribed)
    output.print_reasons({name: f"left out. {reason}" for name, reason in measured.left_out.items()})
    output.print_reasons(measured.repaired)
    for outcome in measured.outcomes:
        output.print_reasons(dict(sorted(outcome.absent.items())), "nothing to measure")
        output.print_reasons(dict(sorted(outcome.with_notes.items())), "with a note")
        output.print_reasons(dict(sorted(outcome.failures.items())), "failed")
        output.print_reasons(dict(sorted(outcome.retryable.items())), "to retry")
        typer.echo(outcome.sentence())
    if measured.left_out:
        typer.echo(f"Left out of the folder, as listed above: {len(measured.left_out)}.")
    if any(outcome.failures for outcome in measured.outcomes):
        typer.echo("What failed is not tried again; to do so, after a repair, add --retry-failed.")


def _print_next(measured: "Measured", source: Path | Url, folder: Path, table: Path) -> None:
    """What to look at, as commands to copy."""
    from shlex import join

    from bemerc.pipeline.clips import is_manifest

    typer.echo(f"Words and times:  {printable(table, 1000)}")
    typer.echo(f"What is in them:  {join(['bemerc', 'cache', 'info', str(folder)])}")
    face = measured.caches.get("face")
    if face is not None and isinstance(source, Path):
        shown = next(iter(_drawable(measured)), "ID")
        option = "--manifest" if is_manifest(source) else "--video-dir"
        clips = source.parent if source.is_file() and not is_manifest(source) else source
        typer.echo(f"A picture of one: {join(['bemerc', 'inspect', str(face), shown, option, str(clips)])}")
    typer.echo(f"As tables:        {join(['bemerc', 'cache', 'export', str(folder), 'tables', '--to', 'csv'])}")


def _drawable(measured: "Measured") -> list[str]:
    """Ids that a picture can be made of, first those with a face; none that the shell would take for an option."""
    from bemerc.cache import open_cache

    faces, file = measured.outcomes[0], measured.caches["face"]
    assert file is not None
    without = faces.failures.keys() | faces.retryable.keys() | faces.absent.keys()
    with open_cache(file) as cache:
        faceless = {id_ for id_, choice in cache.choices.items() if not choice.faces}
    ids = [u.id for u in measured.manifest.utterances if u.id not in without]
    return sorted((id_ for id_ in ids if id_ == printable(id_).lstrip("-")), key=lambda id_: id_ in faceless)


def describe(
    source: Source = None,
    video_dir: VideoDir = None,
    out: OutDir = None,
    caches: Caches = None,
    model: Annotated[
        Path | None, typer.Option("--model", help="Model folder whose training says what is strong and what is weak.")
    ] = None,
    teacher: Teacher = None,
    align: Annotated[
        Path | None, typer.Option("--align", help="An align model (models/align) that describes, from its tokens.")
    ] = None,
    workers: Workers = 0,
    params: ParamsFile = None,
    settings: Settings = None,
    json: AsJson = False,
) -> None:
    """Say in plain English what face, body and voice do.

    Strong and weak are judged against the people that the model was trained on where --model names one, else against
    general references. Extracts what is not extracted yet, unless --caches names a folder of caches to use. With
    --teacher a vision-language model watches the clips; its answers are kept, and interrupted work goes on. The
    sentences are left beside the caches, and in utterances.csv there. Of a prepared corpus (SOURCE is its
    manifest.jsonl) descriptions are made for training: descriptions.jsonl, references.json and utterances.csv beside it.

    Example: bemerc describe clips
    """
    from bemerc.pipeline import clip_descriptions, clip_table, clips

    path, document = source_of(source, video_dir, caches), read_params(params, settings)
    if teacher is not None and (align is not None or path is None):
        raise BemercError("A teacher watches clips: name --teacher with clips, and without --align.")
    if path is not None and clips.is_manifest(path) and not any((out, caches, model, teacher, align)):
        _describe_corpus(path, document, json)
        return
    clip_table.check_replaceable(out or clips.beside(caches, path))
    how: dict[str, Any] = {"caches": caches, "model": model, "workers": workers, "teacher": teacher, "align": align}
    result = clip_descriptions.run(path, out, document, **how)
    table = clip_table.write(result.file.parent, result.measured, result.descriptions)
    if json:
        output.print_json(_described_json(result, table))
        return
    for line in _described_lines(result):
        typer.echo(line)
    output.print_reasons({id_: f"dropped. {reason}" for id_, reason in result.dropped.items()})
    typer.echo(
        f"\nDescriptions are in {printable(result.file, 1000)}, for a spreadsheet in {printable(table, 1000)}, "
        f"micro-expressions, blinks and shut eyes with their times in {printable(result.events, 1000)}"
    )


def _describe_corpus(manifest: Path, params: Any, json: bool) -> None:
    from bemerc.behavior.describe.description import read_descriptions
    from bemerc.pipeline import clip_table, clips, describe

    project = clips.project_of(manifest, params)
    clip_table.check_replaceable(project.data)
    answers = describe.run(project)
    files = [project.data / name for name in ("descriptions.jsonl", "events.jsonl", "references.json")]
    described = read_descriptions(files[0])
    files.append(clip_table.write(project.data, clip_table.of_project(project), described))
    if json:
        dropped = None if answers is None else dict(answers.dropped)
        output.print_json({"files": list(map(str, files)), "dropped": dropped})
        return
    if answers is not None:
        typer.echo(answers.sentence())
    typer.echo(f"Descriptions are in {', '.join(map(str, files))}")


def _described_json(result: "ClipDescriptions", table: Path) -> dict[str, Any]:
    from dataclasses import asdict

    events, rows = _events(result), []
    for u in output.in_order(result.measured.manifest.utterances):
        one = result.descriptions.get(u.id)
        about = {"description": None if one is None else asdict(one), "dropped": result.dropped.get(u.id)}
        rows.append(output.utterance_fields(u) | about | {"events": events.get(u.id, [])})
    return {"utterances": rows, "file": str(result.file), "table": str(table)}


def _described_lines(result: "ClipDescriptions") -> list[str]:
    """Per utterance: id, time, speaker and words; the sentences; what was brief, with its seconds."""
    events, lines = _events(result), []
    for u in output.in_order(result.measured.manifest.utterances):
        if u.id in result.descriptions:
            lines.append(output.utterance_line(u))
            lines += [f"  {printable(line, 1000)}" for line in result.descriptions[u.id].lines()]
            lines += [f"  {line}" for line in _brief(events.get(u.id, []), u.start_s or 0.0)]
    return lines


def _events(result: "ClipDescriptions") -> dict[str, list[dict[str, Any]]]:
    from bemerc.core.jsonfile import read_json_lines

    return {line["id"]: line["events"] for _, line in read_json_lines(result.events)}


def _brief(events: "Sequence[dict[str, Any]]", start_s: float) -> list[str]:
    """Micro-expressions and blinks with the seconds of the clip at which they were strongest, shut eyes from when to when."""
    from bemerc.behavior.describe.phrases import UNITS

    phrases = {item.column.removesuffix("_r"): item.phrase for item in UNITS}
    lines = []
    for event in (one for one in events if one["kind"] == "micro-expression"):
        moved = ", ".join(phrases.get(unit, unit) for unit in event["units"])
        lines.append(f"Micro-expression at {start_s + event['apex_s']:.2f} s: {moved}.")
    blinks = [f"{start_s + one['apex_s']:.2f}" for one in events if one["kind"] == "blink"]
    shut = [_span(one, start_s) for one in events if one["kind"] == "eyes shut"]
    for what, times in (("Blinks at", blinks), ("Eyes shut or lowered from", shut)):
        lines += [f"{what} {', '.join(times[:10])}{' ...' if times[10:] else ''} s."] if times else []
    return lines


def _span(event: "dict[str, Any]", start_s: float) -> str:
    return f"{start_s + event['onset_s']:.2f} to {start_s + event['offset_s']:.2f}"
