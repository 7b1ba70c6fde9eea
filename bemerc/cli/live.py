"""The command ``bemerc live``: a camera and a microphone, or a file at real speed, measured and labelled as they come."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from bemerc.cli import output
from bemerc.cli.app import App
from bemerc.cli.options import AsJson, Backbone, ParamsFile, Settings, path_of, read_params
from bemerc.core.errors import BemercError
from bemerc.core.terminal import printable

if TYPE_CHECKING:
    from bemerc.live.inbox import Inbox

_BEST = 3


def register(app: App) -> None:
    """Add this command to ``app``."""
    app.command()(live)


def live(
    file: Annotated[
        Path | None, typer.Argument(parser=path_of, metavar="FILE", help="A video, played at real speed.")
    ] = None,
    camera: Annotated[
        int | None, typer.Option("--camera", min=0, help="The number of a camera of this machine.")
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="A page on this machine, with the browser's camera and microphone.")
    ] = False,
    model: Annotated[
        Path | None,
        typer.Option("--model", help="Model folder, such as models/merc/TVB. Without: nothing is labelled."),
    ] = None,
    speaker: Annotated[
        str, typer.Option("--speaker", help="Who speaks: turns are then judged against this person's earlier ones.")
    ] = "",
    asr: Annotated[
        str | None, typer.Option("--asr", help="A Whisper (name or folder) that writes down what is said.")
    ] = None,
    microphone: Annotated[
        bool, typer.Option("--microphone/--no-microphone", help="With --camera: the microphone too.")
    ] = True,
    every_frame: Annotated[
        bool, typer.Option("--every-frame", help="Of FILE drop no frame; it waits where this machine is too slow.")
    ] = False,
    keep: Annotated[
        Literal["target", "all"] | None,
        typer.Option(
            "--keep", help="all: the rows of everybody in sight in the JSON lines; default: of the largest face."
        ),
    ] = None,
    backbone: Backbone = None,
    params: ParamsFile = None,
    settings: Settings = None,
    json: AsJson = False,
) -> None:
    """Faces, body and voice as they come, an emotion when an utterance ends.

    An utterance ends with 0.6 s of silence or a cue: Enter in the page; with --camera a line on standard input, whose
    words are what was said. The subtitles beside FILE are its utterances. With --json a line per frame, moment of
    voice and utterance, for programs, and with --keep all the rows of everybody in a frame. Of frames that come too fast the newest is measured, and the others are counted.
    Nothing leaves this machine.

    Example: bemerc live --serve --model models/merc/TVB
    """
    from bemerc.pipeline import live as run_live
    from bemerc.pipeline.project import Project

    if [file is not None, camera is not None, serve].count(True) != 1:
        raise typer.BadParameter("name FILE, --camera 0 or --serve, one of them")
    if every_frame and file is None:
        raise BemercError("--every-frame is for a FILE: a camera does not wait.")
    wanted = [f"extract_video.face.keep={keep}"] if keep is not None else []
    document = read_params(params, [*(settings or ()), *wanted])
    setup = run_live.Setup(Project(document), model, backbone, asr, speaker)
    tell = _print_json if json else _print_line
    if serve:
        with output.until_ctrl_c():
            run_live.serve(
                setup, lambda address: typer.echo(f"Open {address} in a browser. Ctrl-C ends it.", err=json), tell
            )
    elif file is not None:
        with output.until_ctrl_c():
            run_live.play_file(setup, file, tell, every_frame)
    else:
        assert camera is not None
        run_live.record(setup, camera, microphone, tell, _read_cues)


def _print_json(event: dict[str, Any]) -> None:
    from json import dumps

    typer.echo(dumps(event, ensure_ascii=False))


def _print_line(event: dict[str, Any]) -> None:
    """What people read: utterances, and the figures at the end."""
    if event["event"] == "utterance":
        typer.echo(_utterance_line(event))
    elif event["event"] == "summary":
        typer.echo(_summary_line(event))


def _utterance_line(event: dict[str, Any]) -> str:
    who = f"{printable(event['speaker'], 40)} " if event["speaker"] else ""
    words = f'"{printable(event["text"], 60)}"  ' if event["text"] else ""
    times = f"{_clock(event['start_s'])}-{_clock(event['end_s'])}"
    return f"{printable(event['id'])}  {times}  {who}{words}{_answer(event)}"


def _answer(event: dict[str, Any]) -> str:
    if event["label"] is None:
        return str(event.get("reason") or " ".join(event["description"].values()))
    best = sorted(event["scores"].items(), key=lambda item: -item[1])[:_BEST]
    return "  ".join(f"{printable(label, 40)} {chance:.2f}" for label, chance in best)


def _summary_line(event: dict[str, Any]) -> str:
    lines = [f"{event['seconds']} s: {event['frames']} frames measured, {event['dropped']} dropped."]
    if event["dropped_sound_s"]:
        lines.append(f"{event['dropped_sound_s']} s of sound came too fast to be measured, and is silence here.")
    for name, key in (("capture to overlay", "overlay_ms"), ("end of utterance to emotion", "emotion_ms")):
        if event[key]:
            lines.append(f"{name}: half within {event[key]['p50']:.0f} ms, 95 % within {event[key]['p95']:.0f} ms.")
    lines.append(f"Processor: {event['cores']} cores; memory: {event['memory_mb']} MB.")
    return "\n".join(lines)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60:02d}:{seconds % 60:04.1f}"


def _read_cues(inbox: "Inbox") -> None:
    """Lines on standard input end the utterance that goes on; a terminal's and a program's alike."""
    import sys
    import threading

    from bemerc.live.inbox import Cue

    def read() -> None:
        for line in sys.stdin:
            inbox.put(Cue(line.strip()[:LONGEST]))

    from bemerc.corpus.manifest import LONGEST_TEXT as LONGEST

    threading.Thread(target=read, name="cues", daemon=True).start()
