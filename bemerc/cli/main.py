"""The door for people: ``bemerc extract``, ``describe``, ``predict``, ``train``, ``evaluate``, ``compare``, ``export``, ``card``, ``inspect``, ``corpus check``, ``cache ...``, ``doctor``.

Only typer is imported here; what a command needs is imported inside it, so that ``--help`` answers at once. What a user
can cause ends in a sentence and exit code 1, never in a stack trace; Ctrl-C ends in a sentence and exit code 130.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from bemerc.cli import model as cli_model
from bemerc.cli.cache import cache_app
from bemerc.cli.pretrained import model_app
from bemerc.core.errors import BemercError
from bemerc.core.terminal import printable, printable_lines

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bemerc.api import Measured


# The way of the data, which `bemerc --help` tells.
ORDER = [
    "corpus",
    "extract",
    "cache",
    "inspect",
    "describe",
    "model",
    "train",
    "predict",
    "evaluate",
    "compare",
    "card",
    "export",
    "doctor",
]
# Modules of Python's own that Windows does not have.
POSIX_ONLY = ("fcntl", "resource")


class Door(TyperGroup):
    """A command group in which the faults that users can cause become sentences."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The commands along the way of the data."""
        return sorted(super().list_commands(ctx), key=ORDER.index)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; BemercError -> its sentence and exit 1, Ctrl-C -> a sentence and exit 130."""
        try:
            return super().invoke(ctx)
        except BemercError as error:
            typer.echo(printable_lines(error), err=True)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            typer.echo("\nInterrupted. What was finished is kept; the same command goes on from there.", err=True)
            raise typer.Exit(130) from None
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] == "bemerc":
                raise
            if error.name in POSIX_ONLY:
                typer.echo(
                    "bemerc runs on Linux and macOS; on Windows, in WSL (the Linux that comes with it).", err=True
                )
                raise typer.Exit(1) from None
            typer.echo(f'{error.name} is not installed: pip install "bemerc[all]", or see `bemerc doctor`.', err=True)
            raise typer.Exit(1) from None


app = typer.Typer(
    cls=Door,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"max_content_width": 120},
)
corpus_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look at a corpus before the work begins.")
app.add_typer(corpus_app, name="corpus")
app.add_typer(cache_app, name="cache")
app.add_typer(model_app, name="model")
app.command()(cli_model.export)
app.command()(cli_model.card)

_LISTED = 10


def _named(text: str | Path) -> Path:
    """A path that was said. An empty one is a shell's unset variable, and would be the folder that one is in."""
    if not str(text):
        raise typer.BadParameter("it is empty, as an unset variable is; for the folder that you are in say '.'")
    return Path(text)


VideoDir = Annotated[
    Path,
    typer.Option("--video-dir", parser=_named, metavar="PATH", help="Folder of clips; a subfolder is a dialogue."),
]
OutDir = Annotated[
    Path,
    typer.Option(
        "--out", parser=_named, metavar="PATH", help="Folder for face.h5, pose.h5, audio.h5 and finished work."
    ),
]
MaybeOut = Annotated[
    Path | None, typer.Option("--out", help="Folder for what is made; default: features, or the folder of --caches.")
]
ModelDir = Annotated[Path, typer.Option("--model", help="Model folder, such as models/merc/TVB.")]
MaybeModel = Annotated[Path | None, typer.Option("--model", help="Model folder to take train's references from.")]
MaybeClips = Annotated[
    Path | None,
    typer.Option("--video-dir", parser=_named, metavar="PATH", help="Folder of clips; a subfolder is a dialogue."),
]
CachesDir = Annotated[
    Path | None,
    typer.Option(
        "--caches",
        parser=_named,
        metavar="PATH",
        help="Use the caches in this folder (imported, say) and measure nothing.",
    ),
]
MaybeParams = Annotated[
    Path | None, typer.Option("--params", help="Params file; sections and keys that it lacks hold the defaults.")
]
ParamsFile = Annotated[Path, typer.Option("--params", help="Params file.")]
AnyParams = Annotated[
    Path | None,
    typer.Option("--params", help="Params file; else params.yaml here, or the defaults where there is none."),
]
Asr = Annotated[
    str | None, typer.Option("--asr", help="A Whisper (name or folder) that transcribes what has no subtitles.")
]
Teacher = Annotated[
    str | None, typer.Option("--teacher", help="A vision-language model (Qwen2-VL family, name or folder).")
]
Workers = Annotated[int, typer.Option("--workers", min=0, max=256, help="Worker processes; 0 = one per core.")]


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"bemerc {version('bemerc')}")
        raise typer.Exit


@app.callback()
def door(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Emotion recognition in conversation from cached behavior tokens: extract once, then tune an LLM."""


@app.command()
def extract(
    video_dir: VideoDir,
    out: OutDir = Path("features"),
    workers: Workers = 0,
    params: MaybeParams = None,
    asr: Asr = None,
    landmarks: Annotated[
        bool | None,
        typer.Option(
            "--landmarks/--no-landmarks",
            help="Keep raw face points; they can identify people. Default: as said of this folder before, else yes.",
        ),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again the clips that failed before, and are known to fail.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Measure face, body and voice of every clip in a folder, once.

    Leaves face.h5, pose.h5 and audio.h5 in the out folder, and speech.h5 where the params file asks for a speech encoder
    or openSMILE (extract_audio.speech_backend). Interrupted work goes on where it stopped, and a new clip
    costs one clip. A long video with subtitles beside it, or transcribed by --asr, becomes one utterance per cue.

    Exit code 0: the caches are there, and the last lines say what is in them. 1: they are not, for the reason that is
    printed, and what was finished is kept. 2: the command line is wrong. 130: Ctrl-C.

    Example: bemerc extract --video-dir clips --out features
    """
    from shlex import join

    from bemerc import api

    found = api.extract(
        video_dir, out, params=params, workers=workers, asr=asr, landmarks=landmarks, retry_failed=retry_failed
    )
    if json:
        from bemerc.extraction.validate import as_json

        unheard = {str(path): reason for path, reason in found.unheard.items()}
        folder = {"left_out": found.left_out, "repaired": found.repaired, "not_transcribed": unheard}
        typer.echo(as_json({"measured": [outcome.as_json() for outcome in found.outcomes], **folder}))
        return
    _tell_unheard(found.unheard)
    for name, reason in list(found.left_out.items())[:_LISTED]:
        typer.echo(f"{printable(name)}: left out. {printable(reason, 500)}")
    if len(found.left_out) > _LISTED:
        typer.echo(f"and {len(found.left_out) - _LISTED} more things that were left out (--json lists all)")
    for name, reason in list(found.repaired.items())[:_LISTED]:
        typer.echo(f"{printable(name)}: {printable(reason, 500)}")
    for outcome in found.outcomes:
        _list("nothing to measure", outcome.absent)
        _list("measured with a note", outcome.partly)
        _list("failed", outcome.failures)
        _list("not measured this time", outcome.passing)
        typer.echo(outcome.sentence())
    if found.left_out:
        typer.echo(f"Left out of the folder, as listed above: {len(found.left_out)}.")
    if any(outcome.failures for outcome in found.outcomes):
        typer.echo("What failed is not tried again; to do so, after a repair, add --retry-failed.")
    measured = _measured(found)
    one = measured[0] if measured else "ID"
    typer.echo(f"What is in them:  {join(['bemerc', 'cache', 'info', str(out)])}")
    command = ["bemerc", "inspect", str(out / "face.h5"), one, "--video-dir", str(video_dir)]
    typer.echo(f"A picture of one: {join(command)}")
    typer.echo(f"As tables:        {join(['bemerc', 'cache', 'export', str(out), 'tables', '--to', 'csv'])}")


def _list(what: str, reasons: Mapping[str, str]) -> None:
    for id, reason in sorted(reasons.items())[:_LISTED]:
        typer.echo(f"{printable(id)}: {printable(reason, 500)} [{what}]")
    if len(reasons) > _LISTED:
        typer.echo(f"and {len(reasons) - _LISTED} more: {what} (--json and 'bemerc cache info --json' list all)")


def _measured(found: Measured) -> list[str]:
    """Ids that a picture can be made of; none that the shell would take for an option."""
    faces = found.outcomes[0]
    without = faces.failures.keys() | faces.passing.keys() | faces.absent.keys()
    return [u.id for u in found.manifest.utterances if u.id not in without and u.id == printable(u.id).lstrip("-")]


@app.command()
def describe(
    video_dir: MaybeClips = None,
    out: MaybeOut = None,
    model: MaybeModel = None,
    workers: Workers = 0,
    params: MaybeParams = None,
    caches: CachesDir = None,
    teacher: Teacher = None,
    student: Annotated[
        Path | None, typer.Option("--student", help="An align model (models/align) that describes, from its tokens.")
    ] = None,
) -> None:
    """Say in plain English what face, body and voice do in every clip of a folder.

    Strong and weak are judged against the people that the model was trained on where --model names one, else against
    general references. Extracts what is not extracted yet, unless --caches names a folder of caches to use. With --teacher
    a vision-language model watches the clips; its answers are kept, and interrupted work goes on. The sentences lie in --out:
    features, or the folder that --caches names, so that one source's never replace another's.

    Example: bemerc describe --video-dir clips
    """
    from bemerc import api
    from bemerc.behavior.describe.rules import EVENTS
    from bemerc.corpus.reading import natural_id

    if teacher is not None and (student is not None or video_dir is None):
        raise BemercError("A teacher watches clips: name --teacher with --video-dir, and without --student.")
    out = out or api.beside(caches)
    file = "teacher.jsonl" if teacher else "student.jsonl" if student else "descriptions.jsonl"
    found = api.describe(
        video_dir, out, caches=caches, model=model, params=params, workers=workers, teacher=teacher, student=student
    )
    for id, description in sorted(found.items(), key=lambda item: natural_id(item[0])):
        typer.echo("\n  ".join(printable(line, 1000) for line in (id, *description.lines())))
    if teacher is not None:
        from json import loads

        for id, reason in loads((out / "teacher_dropped.json").read_text(encoding="utf-8")).items():
            typer.echo(f"{printable(id)}: dropped. {printable(reason, 1000)}")
    typer.echo(f"\nDescriptions are in {out / file}, micro-expressions and blinks with their times in {out / EVENTS}")


@app.command()
def inspect(
    cache: Annotated[Path, typer.Argument(metavar="CACHE", help="A frame cache: face.h5, pose.h5 or audio.h5.")],
    id: Annotated[
        str | None, typer.Argument(metavar="ID", help="An utterance's id; without it, what the cache holds.")
    ] = None,
    video_dir: Annotated[Path | None, typer.Option("--video-dir", help="Where the clips lie, for the frame.")] = None,
    manifest: Annotated[
        Path | None,
        typer.Option("--manifest", help="The corpus's manifest.jsonl, which knows the clips, for the frame."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The picture; default: ID.png here.")] = None,
) -> None:
    """What is in a cache; or a picture of one utterance: frame with landmarks, units over time, pitch and energy.

    The frame comes from the clips in --video-dir, cues of subtitles included, or from those of a manifest.

    Example: bemerc inspect features/face.h5 talk_01 --video-dir clips
    """
    from bemerc.cache import open_cache

    with open_cache(cache) as opened:
        if id is None:
            from bemerc.extraction.validate import in_words

            typer.echo(in_words(opened))
            return
    from bemerc.cli.cache import corpus_of
    from bemerc.corpus.manifest import MODALITIES
    from bemerc.interop.filenames import file_of
    from bemerc.view import inspect_plot

    beside = {m: cache.with_name(f"{m}.h5") for m in MODALITIES if cache.with_name(f"{m}.h5").is_file()}
    path = out or file_of(Path(), id.replace("/", "_"), ".png")
    typer.echo(printable_lines(inspect_plot.save(id, beside, path, corpus_of(cache, manifest, video_dir))))


@app.command()
def predict(
    model: ModelDir,
    video_dir: MaybeClips = None,
    out: OutDir = Path("features"),
    workers: Workers = 0,
    params: MaybeParams = None,
    caches: CachesDir = None,
    asr: Asr = None,
    teacher: Teacher = None,
    backbone: cli_model.Backbone = None,
) -> None:
    """Clips in, emotions out: extract, make tokens as the model's train had them, score its labels.

    Words come from subtitles beside a video (talk.srt, talk.vtt), or from --asr; clips without any are judged by
    behavior alone, and one without words of which nothing was measured gets no label. Leaves predictions.jsonl and, for
    spreadsheets, utterances.csv in the out folder.

    Example: bemerc predict --video-dir clips --model models/merc/TVB
    """
    from bemerc import api
    from bemerc.language.predict.records import write_predictions, write_table

    settings: dict[str, Any] = {"params": params, "workers": workers, "asr": asr, "teacher": teacher}
    answer = api.predict(model, video_dir, out, caches=caches, backbone=backbone, **settings)
    _tell_unheard(answer.unheard)
    file, table = out / "predictions.jsonl", out / "utterances.csv"
    write_predictions(file, answer.predictions, answer.without)
    write_table(table, cli_model.beside_utterances(answer))
    for line in cli_model.prediction_lines(answer):
        typer.echo(line)
    typer.echo(
        f"\n{len(answer.predictions)} predictions in {file}, with words and times for a spreadsheet in {table}. They say what "
        "emotion people would perceive, not what one feels."
    )
    if "sample" in answer.facts.corpora:
        typer.echo("This model was trained on the embedded sample, a warped portrait: on real people it says nothing.")


@app.command()
def train(
    stage: Annotated[int, typer.Option("--stage", min=1, max=2, help="1 = align, 2 = merc.")],
    variant: Annotated[str, typer.Option("--variant", help="Stage 2: T, TV, TB, TVB, or a name of variants.")] = "TVB",
    data: Annotated[Path, typer.Option("--data", help="Folder with manifest.jsonl and tokens.h5.")] = Path("data"),
    models: Annotated[Path, typer.Option("--models", help="Folder for align/ and merc/VARIANT/.")] = Path("models"),
    params: ParamsFile = Path("params.yaml"),
    tensorboard: Annotated[Path | None, typer.Option("--tensorboard", help="Folder for TensorBoard's events.")] = None,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Say what the stage would need of a GPU, and load nothing.")
    ] = False,
    tflops: Annotated[
        float, typer.Option("--tflops", min=0.001, help="What the device does in earnest, for --estimate.")
    ] = 120.0,
) -> None:
    """Tune the LLM on cached behavior tokens: stage 1 says what the behavior is, stage 2 names the emotion.

    Stage 2 starts from what stage 1 left in the models folder. `dvc repro` runs both, and everything before them. Killed,
    the same command goes on where it stood. Several GPUs: accelerate launch --multi_gpu -m bemerc train --stage 2

    Example: bemerc train --stage 2 --variant TVB
    """
    from bemerc.behavior.describe import rules
    from bemerc.behavior.tokens import file as tokens
    from bemerc.core.config import load
    from bemerc.core.jsonfile import read_json
    from bemerc.corpus.manifest import read_manifest
    from bemerc.language.inputs import prompts
    from bemerc.language.inputs import variants as named
    from bemerc.language.model import behavior_model as model
    from bemerc.language.train import align, merc
    from bemerc.language.train.loop import Params, leads

    if estimate:
        typer.echo(cli_model.estimate(stage, variant, data, params, tflops))
        return
    manifest, references = read_manifest(data / "manifest.jsonl"), read_json(data / "references.json")
    shape = load(params, "model", model.Params)
    with tokens.open_tokens(data / "tokens.h5") as read:
        align.check_inputs(manifest, read, references)
        if stage == 1:
            source = load(params, "describe", rules.Params).source
            descriptions = rules.read_descriptions(data / named.FILES[source])
            tuning = load(params, "align", Params)
            out = models / "align"
            best = align.run(manifest, read, descriptions, references, shape, tuning, out, tensorboard)
        else:
            tuning, wording = load(params, "merc", Params), load(params, "prompt", prompts.Params)
            out, start = models / "merc" / variant, models / "align"
            inputs = named.named(named.read(params), variant)
            said = named.read_described(inputs, data, manifest)
            best = merc.run(
                variant, manifest, read, references, start, wording, shape, tuning, out, tensorboard, inputs, said
            )
            if "student" in inputs.sources:
                merc.keep_student(start, out)
    if not leads():
        return
    numbers = ", ".join(f"{name} {value:.3f}" for name, value in best.dev.items())
    typer.echo(f"Best epoch on dev: {best.epoch} ({numbers}). The model is in {out}")


@app.command()
def evaluate(
    predictions: Annotated[
        list[Path] | None, typer.Argument(metavar="PREDICTIONS", help="Prediction files, one per variant.")
    ] = None,
    data: Annotated[Path, typer.Option("--data", help="Folder with manifest.jsonl and tokens.h5.")] = Path("data"),
    out: Annotated[Path, typer.Option("--out", help="Folder for metrics.json, plots/ and report.md.")] = Path(
        "results"
    ),
    show: Annotated[bool, typer.Option("--show", help="Print the metrics that are there, and judge nothing.")] = False,
    params: AnyParams = None,
) -> None:
    """Judge predictions on test: accuracy and F1 with intervals, plain regressions beside them, a report with pictures.

    Example: bemerc evaluate results/predictions/TV.jsonl results/predictions/TVB.jsonl --out judged
    """
    from bemerc.evaluate import report_text as wording
    from bemerc.evaluate import results

    if show:
        metrics = results.read_metrics(out / results.METRICS_FILE)
    else:
        from dataclasses import replace

        from bemerc.core.config import load_or_default
        from bemerc.evaluate import metrics as judge
        from bemerc.evaluate import report
        from bemerc.language.inputs import prompts

        if not predictions:
            raise BemercError("Name the prediction files to judge, or --show to see the metrics that are there.")
        given = {path.stem: path for path in predictions}
        if len(given) < len(predictions):
            raise BemercError("Two prediction files have one name; the name is the variant's, so rename one.")
        judging = replace(load_or_default(params, "evaluate", judge.Params), variants=tuple(given))
        if faults := judging.check():
            raise BemercError("\n".join(faults))
        faces = data / "cache" / "face.h5"
        metrics = report.run(
            data / "manifest.jsonl",
            given,
            data / "tokens.h5",
            out,
            judging,
            load_or_default(params, "prompt", prompts.Params),
            face_cache=faces if faces.is_file() else None,
        )
    typer.echo(wording.format_table(metrics))
    typer.echo(f"The report is in {out / 'report.md'}")


@app.command()
def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN",
            help="Predictions files, or folders with one per training seed; the first is the baseline.",
        ),
    ],
    data: Annotated[Path, typer.Option("--data", help="Folder with manifest.jsonl.")] = Path("data"),
    latex: Annotated[bool, typer.Option("--latex", help="A table for a paper (booktabs).")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    params: AnyParams = None,
) -> None:
    """Is a run better than the first one? Differences with intervals, Holm's p, and what could have been found at all.

    Example: bemerc compare results/predictions/TV.jsonl results/predictions/TVB.jsonl --latex
    """
    from json import dumps

    from bemerc import api
    from bemerc.evaluate import compare as judge

    params = Path("params.yaml") if params is None and Path("params.yaml").is_file() else params
    found = api.compare(data / "manifest.jsonl", runs, params)
    if json:
        typer.echo(dumps(found.to_plain(), indent=2))
    else:
        typer.echo(judge.latex(found) if latex else judge.markdown(found))


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
    name: Annotated[
        str, typer.Argument(metavar="CORPUS", help="A corpus of the section prepare: sample, meld, iemocap, ...")
    ],
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
    from bemerc.core.config import load
    from bemerc.corpus import check, prepare

    report = check.run(load(params, "prepare", prepare.Params), name, clips=clips, deep=deep, quiet=json)
    typer.echo(report.to_json() if json else report.format_text())
    if report.exit_code:
        raise typer.Exit(report.exit_code)


def _tell_unheard(unheard: Mapping[Path, str]) -> None:
    for video, reason in unheard.items():
        typer.echo(f"{printable(video)}: {printable(reason, 500)}")


def main() -> None:
    """The console script ``bemerc``."""
    app(prog_name="bemerc")
