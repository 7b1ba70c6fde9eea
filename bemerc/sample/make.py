"""Make the embedded sample: a small synthetic corpus in MELD's shape, from a portrait and a speech synthesiser.

It needs no download and no licence, and its truth is known: what each modality shows, the facial intensities per
frame, the planted events. That truth lies beside the corpus (truth.jsonl, truth.h5) and in nothing that a model reads:
clips get a length before they get an emotion, all files have one size, and labels are independent of speaker, turn,
length and name.

The sample is no evidence about people. It checks that the pipeline carries signals from end to end.
"""

from __future__ import annotations

import csv
import importlib.util
import multiprocessing
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bemerc.core.errors import BemercError, CorpusError
from bemerc.corpus.manifest import SPLITS
from bemerc.sample.plan import Params, Planned, plan_corpus, speaker_name, summary
from bemerc.sample.recipes import BODY_NAMES, UNIT_NAMES, Performance, perform
from bemerc.sample.truth import write_truth

MELD_HEADER = (
    "Sr No.", "Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID",
    "Season", "Episode", "StartTime", "EndTime",
)  # fmt: skip


def make(
    params: Params, out: Path, *, workers: int = 1, progress: Callable[[int, int], None] | None = None
) -> dict[str, dict[str, float]]:
    """Write the corpus to the folder ``out``, which appears when it is complete; an older sample there is replaced.

    progress  is called with the numbers of finished and of all clips

    Writes {split}_sent_emo.csv, {split}/dia{D}_utt{U}.mp4, truth.jsonl and truth.h5, whose bytes depend on ``params``
    alone. Returns ``plan.summary``. Raises CorpusError if ``out`` holds something else, BemercError if a library is
    missing.
    """
    _must_have_libraries()
    _must_be_ours(out)
    plan = plan_corpus(params)
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    for split in SPLITS:
        (partial / split).mkdir(parents=True)
        _write_csv(partial / f"{split}_sent_emo.csv", [p for p in plan if p.split == split], params)
    performances = _draw_all(plan, params, partial, workers, progress)
    _pad_all(partial)
    write_truth(partial, plan, performances)
    if out.exists():
        shutil.rmtree(out)
    partial.rename(out)
    return summary(plan, params)


def _must_have_libraries() -> None:
    wanted = {"espeakng_loader": "espeak-ng", "skimage": "scikit-image", "av": "PyAV", "cv2": "OpenCV"}
    missing = [name for module, name in wanted.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise BemercError(f'The sample is made with {", ".join(missing)}: pip install "bemerc[extract,sample]".')


def _must_be_ours(out: Path) -> None:
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / "truth.jsonl").exists())):
        raise CorpusError("there is something here that is not a sample. Name another folder, or remove it.", path=out)


def _draw_all(
    plan: Sequence[Planned],
    params: Params,
    out: Path,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> dict[str, Performance]:
    """Performance by id. One process synthesises all speech in order; ``workers`` processes draw, dialogue by
    dialogue."""
    dialogues: dict[tuple[str, int], list[Planned]] = {}
    for planned in plan:
        dialogues.setdefault((planned.split, planned.dialogue), []).append(planned)
    spawn = multiprocessing.get_context("spawn")
    performances: dict[str, Performance] = {}
    with ProcessPoolExecutor(1, spawn) as booth, ProcessPoolExecutor(workers, spawn) as stages:
        sounds = [booth.submit(speak_dialogue, turns, params) for turns in dialogues.values()]
        drawn: list[Future[list[Performance]]] = [
            stages.submit(draw_dialogue, turns, sound.result(), params, out)
            for turns, sound in zip(dialogues.values(), sounds, strict=True)
        ]
        for turns, future in zip(dialogues.values(), drawn, strict=True):
            performances.update(zip((p.id for p in turns), future.result(), strict=True))
            if progress is not None:
                progress(len(performances), len(plan))
    return performances


def speak_dialogue(turns: Sequence[Planned], params: Params) -> list[NDArray[np.int16]]:
    """The sounds of a dialogue; called in a process of its own (see speech.py)."""
    from bemerc.sample.speech import RATE_HZ, Line, speak, voices

    cast = voices(params.speakers, params.seed)
    return speak(
        [
            Line(
                p.text, cast[p.speaker], p.roles.voice, p.voice_strength, round(p.frames / params.fps * RATE_HZ), p.seed
            )
            for p in turns
        ]
    )


def draw_dialogue(
    turns: Sequence[Planned], sounds: Sequence[NDArray[np.int16]], params: Params, out: Path
) -> list[Performance]:
    """Draw and encode the clips of a dialogue into ``out``/split."""
    import cv2

    from bemerc.sample.looks import looks
    from bemerc.sample.portrait import Sitter

    cv2.setNumThreads(1)  # the workers are what runs in parallel
    faces = looks(params.speakers, params.seed)
    sitters = {speaker: Sitter(faces[speaker], params.width, params.height) for speaker in {p.speaker for p in turns}}
    return [_draw(p, sound, sitters[p.speaker], params, out) for p, sound in zip(turns, sounds, strict=True)]


def _draw(planned: Planned, sound: NDArray[np.int16], sitter: Any, params: Params, out: Path) -> Performance:
    from bemerc.sample.clip import write_clip
    from bemerc.sample.speech import RATE_HZ, envelope

    rng = np.random.default_rng([planned.seed, 14])
    loudness = envelope(sound, params.fps, planned.frames)
    performance = perform(planned.roles.face, planned.face_strength, loudness, params.fps, planned.micro, rng)
    frames = (
        sitter.draw(dict(zip(UNIT_NAMES, unit, strict=True)), dict(zip(BODY_NAMES, body, strict=True)))
        for unit, body in zip(performance.units.tolist(), performance.body.tolist(), strict=True)
    )
    path = out / planned.split / f"{planned.name}.mp4"
    write_clip(path, frames, sound, size=(params.width, params.height), fps=params.fps, rate_hz=RATE_HZ)
    return performance


def _pad_all(out: Path) -> None:
    from bemerc.sample.clip import pad, padded_size

    clips = sorted(out.glob("*/*.mp4"))
    size = padded_size(clip.stat().st_size for clip in clips)
    for clip in clips:
        pad(clip, size)


def _write_csv(path: Path, plan: Sequence[Planned], params: Params) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\r\n")
        table.writerow(MELD_HEADER)
        for number, p in enumerate(plan, 1):
            end = p.start_s + p.frames / params.fps
            table.writerow(
                (number, p.text, speaker_name(p.speaker), p.roles.label, _sentiment(p), p.dialogue, p.turn,
                 p.season, p.episode, _meld_time(p.start_s), _meld_time(end))
            )  # fmt: skip


def _sentiment(planned: Planned) -> str:
    """MELD's column Sentiment, which follows from the label; its surprises are of either kind."""
    if planned.roles.label == "surprise":
        return ("positive", "negative")[planned.seed % 2]
    return {"neutral": "neutral", "joy": "positive"}.get(planned.roles.label, "negative")


def _meld_time(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d},{rest % 1000:03d}"
