"""The command ``bemerc predict``: a model's labels for clips, or for dev and test of a prepared corpus."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bemerc.cli import output
from bemerc.cli.app import App
from bemerc.cli.options import (
    AsJson,
    Asr,
    Backbone,
    Caches,
    OutDir,
    ParamsFile,
    Settings,
    Source,
    Teacher,
    VideoDir,
    Workers,
    read_params,
    source_of,
)
from bemerc.core.terminal import printable
from bemerc.corpus.corpora import caveat

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bemerc.language.inputs.left_out import Choice
    from bemerc.language.predict.records import Prediction, Unlabelled
    from bemerc.pipeline.clip_predictions import Predicted


def register(app: App) -> None:
    """Add this command to ``app``."""
    app.command()(predict)


def predict(
    model: Annotated[Path, typer.Option("--model", help="Model folder, such as models/merc/TVB.")],
    source: Source = None,
    video_dir: VideoDir = None,
    out: OutDir = None,
    caches: Caches = None,
    asr: Asr = None,
    teacher: Teacher = None,
    backbone: Backbone = None,
    workers: Workers = 0,
    evidence: Annotated[
        bool, typer.Option("--evidence", help="Also how much face, body and voice each count for the label.")
    ] = False,
    groups: Annotated[
        bool, typer.Option("--groups", help="With --evidence: brows, mouth, pitch and other groups, too.")
    ] = False,
    turns: Annotated[
        int, typer.Option("--turns", metavar="N", min=0, help="With --evidence: each of the N latest past turns, too.")
    ] = 0,
    params: ParamsFile = None,
    settings: Settings = None,
    json: AsJson = False,
) -> None:
    """Clips in, emotions out.

    Extracts, makes tokens as the model's training had them, and scores its labels. Words come from subtitles beside a
    video (talk.srt, talk.vtt), or from --asr; clips without any are judged by behavior alone, and one without words
    of which nothing was measured gets no label. Leaves predictions.jsonl and, for spreadsheets, utterances.csv in the
    out folder; and descriptions.jsonl anew, its "slightly" and "strongly" by the people whom the model learned from.
    Of a prepared corpus (SOURCE is its manifest.jsonl) dev and test are scored, into
    results/predictions/VARIANT.jsonl, and as a table into results/tables/VARIANT.csv. With --evidence (or --groups,
    --turns) every label is scored again with one part of the input left out at a time, into evidence.jsonl beside
    them, or results/evidence/VARIANT.jsonl; `bemerc evidence` shows it.

    Example: bemerc predict clips --model models/merc/TVB --evidence
    """
    from bemerc.language.inputs.left_out import Choice
    from bemerc.language.predict.evidence import write_evidence
    from bemerc.language.predict.records import write_predictions
    from bemerc.pipeline import clip_predictions, clip_table, clips

    path, document = source_of(source, video_dir, caches), read_params(params, settings)
    choice = Choice(groups, turns) if evidence or groups or turns else None
    if path is not None and clips.is_manifest(path) and caches is None:
        _predict_corpus(path, model, document, out, backbone, choice, json)
        return
    clip_table.check_replaceable(out or clips.beside(caches, path))
    how: dict[str, Any] = {"caches": caches, "workers": workers, "asr": asr, "teacher": teacher, "backbone": backbone}
    answer = clip_predictions.run(model, path, out, document, **how, evidence=choice)
    file = answer.folder / "predictions.jsonl"
    write_predictions(file, answer.predictions, answer.without)
    counted = answer.folder / "evidence.jsonl"
    if choice:
        write_evidence(counted, answer.evidence)
    else:
        counted.unlink(missing_ok=True)  # of another run, which is not this one's
    labels = answer.predictions, answer.without
    table = clip_table.write(answer.folder, answer.measured, answer.descriptions, *labels)
    if json:
        output.print_json(_json(answer, file, table) | ({"evidence": str(counted)} if choice else {}))
        return
    output.print_reasons(answer.measured.not_transcribed)
    for line in prediction_lines(answer):
        typer.echo(line)
    typer.echo(
        f"\n{len(answer.predictions)} predictions in {printable(file, 1000)}, with words and times for a spreadsheet in "
        f"{printable(table, 1000)}. They say what emotion people would perceive, not what one feels."
    )
    typer.echo("The sentences in descriptions.jsonl are now relative to the people whom the model learned from.")
    if choice:
        typer.echo(f"What each part counted for: bemerc evidence {printable(counted, 1000)}")
    if limits := caveat(answer.metadata.corpora):
        typer.echo(limits)


def _predict_corpus(
    manifest: Path,
    model: Path,
    params: Any,
    out: Path | None,
    backbone: str | None,
    choice: "Choice | None",
    json: bool,
) -> None:
    from dataclasses import asdict

    from bemerc.core.ownership import must_be_ours
    from bemerc.corpus import utterance_table
    from bemerc.language.predict import records
    from bemerc.language.predict.evidence import OURS, write_evidence
    from bemerc.pipeline import clip_table, clips, predict

    project, name = clips.project_of(manifest, params), model.resolve().name
    file = project.predictions(name) if out is None else out / f"{name}.jsonl"
    counted = project.evidence(name) if out is None else out / "evidence" / f"{name}.jsonl"
    tables = project.results / "tables" if out is None else out  # not where the report's inputs lie
    must_be_ours(file, records.OURS)
    must_be_ours(counted, OURS)
    utterance_table.check_replaceable(tables / f"{name}.csv")
    predictions, evidence = predict.run(project, model, file, backbone, choice)
    if choice:
        write_evidence(counted, evidence)
    else:
        counted.unlink(missing_ok=True)
    measured = clip_table.of_project(project, {one.id for one in predictions})
    table = clip_table.write(tables, measured, None, predictions, name=f"{name}.csv")
    if json:
        made = {"predictions": [asdict(one) for one in predictions], "file": str(file), "table": str(table)}
        output.print_json(made | ({"evidence": str(counted)} if choice else {}))
        return
    typer.echo(
        f"{len(predictions)} predictions in {printable(file, 1000)}, with words and times for a spreadsheet in "
        f"{printable(table, 1000)}"
    )
    if choice:
        typer.echo(f"What each part counted for: bemerc evidence {printable(counted, 1000)}")


def _json(answer: "Predicted", file: Path, table: Path) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "predictions": [asdict(one) for one in answer.predictions],
        "without": [asdict(one) for one in answer.without],
        "not_transcribed": output.strings(answer.measured.not_transcribed),
        "file": str(file),
        "table": str(table),
    }


def prediction_lines(answer: "Predicted") -> "Iterator[str]":
    """A line per utterance: id, when, who, what was said, the likeliest labels, what they lack; t2 before t10."""
    answers: dict[str, Prediction | Unlabelled] = {one.id: one for one in answer.predictions}
    answers |= {one.id: one for one in answer.without}
    utterances = answer.measured.manifest.utterances
    width = max((len(printable(u.id)) for u in utterances), default=0)
    for u in output.in_order(utterances):
        yield f"{output.utterance_line(u, width)}  {_answer(answers[u.id])}"


def _answer(one: "Prediction | Unlabelled") -> str:
    from bemerc.language.predict.records import Unlabelled

    if isinstance(one, Unlabelled):
        return f"no label. {one.reason}"
    best = sorted(one.scores.items(), key=lambda item: -item[1])[:3]
    lacks = [f"nothing measured of: {', '.join(one.unmeasured)}"] if one.unmeasured else []
    notes = [*lacks, *([one.note] if one.note else [])]
    shown = "  ".join(f"{printable(label, 40)} {chance:.2f}" for label, chance in best)
    return shown + (f"  ({'; '.join(notes)})" if notes else "")
