"""A conversation as it comes: what measures it, the model that labels it, and where it comes from, put together."""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bemerc.behavior.describe import rules
from bemerc.core.errors import BemercError, MediaError
from bemerc.corpus.manifest import NOBODY, Utterance
from bemerc.corpus.readers import recording
from bemerc.extraction.audio import prosody
from bemerc.extraction.extractor_pool import ExtractorPool
from bemerc.extraction.face import extractor as face
from bemerc.extraction.jobs import extractor_spec
from bemerc.extraction.params import AudioParams, VideoParams
from bemerc.extraction.pose import body
from bemerc.live import recorded
from bemerc.live.conversation import Conversation, Listener, Measuring, Recogniser
from bemerc.live.cuts import ByCueAlone, ByCues, BySilence, Cutter
from bemerc.live.inbox import Inbox
from bemerc.live.onlooker import Onlooker
from bemerc.live.turns import Turns
from bemerc.pipeline import clip_descriptions
from bemerc.pipeline.project import Project

if TYPE_CHECKING:
    from bemerc.language.predict.score_labels import MercModel
    from bemerc.live.labelling import Labeller


@dataclass(frozen=True)
class Setup:
    """How a conversation is measured and labelled.

    model    folder of a trained model; None: utterances are measured and described alone
    asr      a Whisper that makes words of each utterance's sound; None: words come with cues
    speaker  whose utterances these are, where no subtitles say so; a name lets turns be judged against earlier ones
    """

    params: Project
    model: Path | None = None
    backbone: str | None = None
    asr: str | None = None
    speaker: str = NOBODY


@contextlib.contextmanager
def conversation(
    setup: Setup, name: str, cutter: Cutter, listener: Listener, loaded: MercModel | None = None
) -> Iterator[Conversation]:
    """A conversation that is ready to begin: models are loaded. BemercError where one cannot be."""
    video, audio = setup.params.load("extract_video", VideoParams), setup.params.load("extract_audio", AudioParams)
    if video.face_backend != "mesh":
        raise BemercError(
            "Live measures faces with the mesh that comes with bemerc: set extract_video.face_backend: mesh."
        )
    specs = (
        extractor_spec("face", face.__name__, video.face, video.track),
        extractor_spec("pose", body.__name__, video.pose),
    )
    pool = ExtractorPool(specs)
    pool.warm_up()
    references = None if setup.model is None else clip_descriptions.references_of(setup.model)
    spec = extractor_spec("audio", prosody.__name__, audio.audio, audio.track)
    with tempfile.TemporaryDirectory(prefix="bemerc-live-") as folder:
        describing = setup.params.load("describe", rules.Params)
        turns = Turns(name, specs, spec, Path(folder), describing, references)
        labeller = None if setup.model is None else _labeller(setup, loaded or load(setup, setup.model), Path(folder))
        measuring = Measuring(pool, Onlooker(video), audio.audio)
        yield Conversation(measuring, cutter, turns, labeller, listener, _recogniser(setup.asr))


def load(setup: Setup, model: Path) -> MercModel:
    """The model in a folder. ModelError where there is none."""
    from bemerc.language.predict.score_labels import MercModel, Params

    return MercModel(model, setup.backbone, setup.params.load("predict", Params).device)


def _labeller(setup: Setup, loaded: MercModel, folder: Path) -> Labeller:
    from bemerc.language.predict.score_labels import Params
    from bemerc.live.labelling import Labeller

    return Labeller(loaded, setup.params.load("predict", Params), folder)


def _recogniser(asr: str | None) -> Recogniser | None:
    if asr is None:
        return None
    from bemerc.corpus.transcribe import is_audible, whisper

    cues_of = whisper(asr)
    return lambda waveform: " ".join(cue.text for cue in cues_of(waveform)) if is_audible(waveform) else ""


Tell = Callable[[dict[str, Any]], None]


def play_file(
    setup: Setup,
    path: Path,
    tell: Tell,
    every_frame: bool = False,
    clock: recorded.Clock | None = None,
) -> dict[str, Any]:
    """A file at real speed; its subtitles, where it has some beside it, are its utterances. Returns the figures.

    ``tell`` gets every event (bemerc.live.events), as JSON can hold it, from one thread at a time.
    ``every_frame``: none is dropped, and the file waits where this machine is too slow. MediaError where the file cannot be read.
    """
    if not path.exists():
        raise BemercError(
            "there is no such file. Name a video, or a camera with --camera 0, or use --serve.", path=path, missing=True
        )
    try:
        return _play(setup, path, tell, Inbox(every_frame), clock or recorded.RealClock())
    except MediaError as error:  # whose words are those that a cache keeps beside the clip's id
        raise MediaError(str(error), path=path) from error


def _play(setup: Setup, path: Path, tell: Tell, inbox: Inbox, clock: recorded.Clock) -> dict[str, Any]:
    sound = recorded.read_sound(path, setup.params.load("extract_video", VideoParams).track)
    utterances = _subtitles(path)
    cutter: Cutter
    if utterances:
        cutter = ByCues(utterances)
    else:
        cutter = ByCueAlone(setup.speaker) if sound is None else BySilence(setup.speaker)
    with conversation(setup, _name(path, utterances), cutter, _listener(tell)) as going_on:
        player = threading.Thread(target=recorded.play, args=(path, sound, inbox, clock), name="player", daemon=True)
        player.start()
        try:
            return going_on.run(inbox)
        finally:
            inbox.close()
            player.join()


def _listener(tell: Tell) -> Listener:
    """Who gets the events, one after the other."""
    lock = threading.Lock()

    def event(one: dict[str, Any]) -> None:
        with lock:
            tell(one)

    return Listener(event)


def _subtitles(path: Path) -> tuple[Utterance, ...]:
    """The utterances of the subtitles beside a clip; none where there are none."""
    reading = recording.read_dir(path)
    return tuple(u for u in reading.utterances if u.end_s is not None)


def _name(path: Path, utterances: Sequence[Utterance]) -> str:
    """What the ids of utterances begin with: as of subtitles, so that they are those of ``bemerc extract``."""
    return utterances[0].id.rpartition("/")[0] if utterances else path.stem


def record(setup: Setup, number: int, microphone: bool, tell: Tell, cues: Callable[[Inbox], None]) -> dict[str, Any]:
    """A camera and the microphone of this machine, until Ctrl-C. ``cues``: gets the inbox, into which it puts cues.

    MachineError where one of them is not there.
    """
    from bemerc.live import camera

    inbox, stopped = Inbox(), threading.Event()
    cutter: Cutter = BySilence(setup.speaker) if microphone else ByCueAlone(setup.speaker)
    with contextlib.ExitStack() as stack:
        device = stack.enter_context(camera.opened(number))
        going_on = stack.enter_context(conversation(setup, "live", cutter, _listener(tell)))
        start_s = time.monotonic()
        if microphone:
            stack.enter_context(camera.listening(inbox, start_s))
        recorder = threading.Thread(target=camera.record, args=(device, inbox, start_s, stopped), daemon=True)
        recorder.start()
        cues(inbox)
        try:
            return _until_interrupted(going_on, inbox, stopped)
        finally:
            stopped.set()
            recorder.join()


def _until_interrupted(going_on: Conversation, inbox: Inbox, stopped: threading.Event) -> dict[str, Any]:
    """Run it in a thread of its own, so that Ctrl-C ends the recording and not the last utterance."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(going_on.run(inbox))
        except BaseException as error:
            outcome.append(error)

    running = threading.Thread(target=run, name="measuring", daemon=True)
    running.start()
    try:
        while running.is_alive():
            running.join(0.2)
    except KeyboardInterrupt:
        stopped.set()
        running.join()
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    figures: dict[str, Any] = outcome[0]
    return figures


@contextlib.contextmanager
def page(setup: Setup, tell: Tell) -> Iterator[str]:
    """Within it a page with the browser's camera and microphone is served; its address. See ``bemerc.live.browser``."""
    from bemerc.live import browser

    loaded = None if setup.model is None else load(setup, setup.model)
    report = _listener(tell).event

    @contextlib.contextmanager
    def begin(sound: bool, listener: Listener) -> Iterator[Conversation]:
        cutter: Cutter = BySilence(setup.speaker) if sound else ByCueAlone(setup.speaker)

        def event(one: dict[str, Any]) -> None:
            report(one)
            listener.event(one)

        with conversation(setup, "live", cutter, replace(listener, event=event), loaded) as going_on:
            yield going_on

    name = None if setup.model is None else setup.model.resolve().name
    about = browser.About(name, () if loaded is None else loaded.labels)
    with browser.opened(about, begin) as address:
        yield address


def serve(setup: Setup, ready: Callable[[str], None], tell: Tell) -> None:
    """Serve the page until KeyboardInterrupt. ``ready`` is called with its address."""
    with page(setup, tell) as address:
        ready(address)
        threading.Event().wait()
