"""The embedded sample: a small conversation corpus in MELD's shape, made from a portrait and a speech synthesiser.

Downloading a corpus takes a licence and a day; this takes a minute and tells one more thing: the truth. Every utterance
comes with what each modality was made to show, the facial intensities frame by frame, and the planted events. That truth
lies beside the corpus (truth.jsonl, truth.h5) and in nothing that a model is given: clips are dealt a length before they
are dealt an emotion, all files have one size, and labels are tied to no speaker, turn, length or name.

What the sample is not: evidence about people. It checks that the pipeline carries signals from end to end.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import multiprocessing
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bemerc.core.errors import BemercError, CorpusError
from bemerc.corpus.manifest import SPLITS, Split
from bemerc.sample.cases import SILENT, Roles, ceilings, ceilings_of, deal
from bemerc.sample.words import sentence

MELD_HEADER = (
    "Sr No.", "Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID",
    "Season", "Episode", "StartTime", "EndTime",
)  # fmt: skip
NAMES = ("Ada", "Bo", "Cleo", "Dov", "Eve", "Finn", "Gia", "Hal", "Iris", "Jun", "Kim", "Leo")
TRUTH_SCHEMA = "bemerc-sample-truth"


@dataclass(frozen=True)
class Params:
    """Section ``sample`` of params.yaml.

    dialogues, turns     how many conversations, and utterances in each
    dev_share, test_share  of the dialogues; the rest is train
    speakers             faces and voices; unseen_speakers of them speak in test alone
    min_s, max_s         shortest and longest clip
    fps, width, height   of the picture, pixels; at about 320 the face is 95 pixels wide
    hint_share           in a conflict the words tell the true emotion with this probability, else a random one
    micro_share          of the utterances hold a micro-expression
    weakest              the weakest expression of a face; strengths are uniform from here to 1
    weakest_voice        the same for the voice
    seed                 of everything
    """

    dialogues: int = 60
    turns: int = 6
    dev_share: float = 0.15
    test_share: float = 0.25
    speakers: int = 12
    unseen_speakers: int = 3
    min_s: float = 1.2
    max_s: float = 2.0
    fps: int = 25
    width: int = 320
    height: int = 320
    hint_share: float = 0.3
    micro_share: float = 0.1
    weakest: float = 0.6
    weakest_voice: float = 0.75
    seed: int = 7

    def check(self) -> list[str]:
        """Faults that types cannot tell; empty when all is well."""
        rules = (
            (self.dialogues >= 3, f"dialogues: {self.dialogues}; at least 3 are needed, one for each split."),
            (self.turns >= 1, f"turns: {self.turns}; a dialogue has at least 1."),
            (self.dev_share > 0 < self.test_share, "dev_share, test_share: both must be above 0."),
            (self.dev_share + self.test_share < 1, "dev_share, test_share: nothing is left for train."),
            (self.unseen_speakers >= 1, f"unseen_speakers: {self.unseen_speakers}; test needs at least 1."),
            (self.speakers >= self.unseen_speakers + 2, "speakers: at least 2 more than unseen_speakers."),
            (0.8 <= self.min_s <= self.max_s <= 20, "min_s, max_s: from 0.8 to 20 seconds, min_s first."),
            (10 <= self.fps <= 60, f"fps: {self.fps}; from 10 to 60."),
            (self.min_s * self.fps >= 15, "min_s, fps: a clip needs at least 15 frames."),
            (self.width % 4 == 0 == self.height % 4, "width, height: multiples of 4, for the encoder."),
            (160 <= self.width <= 1280 and 160 <= self.height <= 1280, "width, height: from 160 to 1280."),
            (0 <= self.hint_share <= 1, f"hint_share: {self.hint_share}; from 0 to 1."),
            (0 <= self.micro_share <= 1, f"micro_share: {self.micro_share}; from 0 to 1."),
            (0 < self.weakest <= 1 >= self.weakest_voice > 0, "weakest, weakest_voice: above 0, at most 1."),
        )
        return [fault for good, fault in rules if not good]


@dataclass(frozen=True)
class Planned:
    """One utterance before it is drawn and spoken: everything random about it is here or follows from ``seed``."""

    split: Split
    dialogue: int
    turn: int
    speaker: int
    frames: int
    start_s: float
    season: int
    episode: int
    roles: Roles
    text: str
    face_strength: float
    voice_strength: float
    micro: bool
    seed: int

    @property
    def name(self) -> str:
        """MELD's clip name without its suffix."""
        return f"dia{self.dialogue}_utt{self.turn}"

    @property
    def id(self) -> str:
        """As in the manifest: sample/train/dia3_utt1."""
        return f"sample/{self.split}/{self.name}"


def make(
    params: Params, out: Path, *, workers: int = 1, progress: Callable[[int, int], None] | None = None
) -> dict[str, dict[str, float]]:
    """Write the corpus to ``out``, which appears when it is complete; an older sample there is replaced.

    out/{split}_sent_emo.csv, out/{split}/dia{D}_utt{U}.mp4, out/truth.jsonl, out/truth.h5. The bytes depend on
    ``params`` alone, not on ``workers``. ``progress(done, total)`` counts clips. Returns ``summary``'s two rows.

    Raises CorpusError if ``out`` holds something else, BemercError if a library of the extra is missing.
    """
    _must_have_libraries()
    _must_be_ours(out)
    plan = plan_corpus(params)
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    for split in SPLITS:
        (partial / split).mkdir(parents=True)
        _write_csv(partial / f"{split}_sent_emo.csv", [p for p in plan if p.split == split], params)
    acts = _draw_all(plan, params, partial, workers, progress)
    _pad_all(partial)
    _write_truth(partial, plan, acts)
    if out.exists():
        shutil.rmtree(out)
    partial.rename(out)
    return summary(plan, params)


def summary(plan: Sequence[Planned], params: Params) -> dict[str, dict[str, float]]:
    """Ceilings of T, TV, TB, TVB: ``possible`` for a perfect reader of endless utterances, ``test`` on these ones."""
    test = [p.roles for p in plan if p.split == "test"]
    return {"possible": ceilings(params.hint_share), "test": ceilings_of(test, params.hint_share)}


def _must_have_libraries() -> None:
    wanted = {"espeakng_loader": "espeak-ng", "skimage": "scikit-image", "av": "PyAV", "cv2": "OpenCV"}
    missing = [name for module, name in wanted.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise BemercError(f'The sample is made with {", ".join(missing)}: pip install "bemerc[extract,sample]".')


def _must_be_ours(out: Path) -> None:
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / "truth.jsonl").exists())):
        raise CorpusError(f"{out}: there is something here that is not a sample. Name another folder, or remove it.")


# ---- the plan --------------------------------------------------------------------------------------------------------


def plan_corpus(params: Params) -> list[Planned]:
    """Every utterance, split by split in id order. Lengths, speakers and turns are fixed before the emotions are."""
    return [planned for split in SPLITS for planned in _plan_split(split, params)]


def split_sizes(params: Params) -> dict[Split, int]:
    """Dialogues in each split."""
    dev = max(1, round(params.dev_share * params.dialogues))
    test = max(1, round(params.test_share * params.dialogues))
    return {"train": params.dialogues - dev - test, "dev": dev, "test": test}


def casts(params: Params) -> dict[Split, list[tuple[int, int]]]:
    """Two speakers for every dialogue. Test's pairs come half from speakers that train and dev never see."""
    rng = np.random.default_rng([params.seed, 1])
    order = rng.permutation(params.speakers).tolist()
    unseen, seen = order[: params.unseen_speakers], order[params.unseen_speakers :]
    copies = max(1, round(len(seen) / len(unseen)))
    pools: dict[Split, list[int]] = {"train": seen, "dev": seen, "test": unseen * copies + seen}
    return {split: _pairs(pools[split], count, rng) for split, count in split_sizes(params).items()}


def _pairs(pool: Sequence[int], count: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """``count`` pairs of two different speakers, everyone in ``pool`` about equally often."""
    pairs: list[tuple[int, int]] = []
    rest: list[int] = []
    while len(pairs) < count:
        if len(set(rest)) < 2:
            rest += rng.permutation(np.array(pool)).tolist()
        first = rest.pop(0)
        second = next(i for i, speaker in enumerate(rest) if speaker != first)
        pairs.append((first, rest.pop(second)))
    return pairs


def _plan_split(split: Split, params: Params) -> Iterator[Planned]:
    number = SPLITS.index(split)
    stage, emotions = (np.random.default_rng([params.seed, 2 + k, number]) for k in (0, 1))
    pairs = casts(params)[split]
    count = len(pairs) * params.turns
    frames = np.round(stage.uniform(params.min_s, params.max_s, count) * params.fps).astype(int).tolist()
    speakers = [pair[turn % 2] for pair in pairs for turn in range(params.turns)]
    thirds = np.argsort(np.argsort(frames, kind="stable"), kind="stable") * 3 // count
    ties = [(i % params.turns, speakers[i], int(thirds[i])) for i in range(count)]
    dealt = deal(count, params.hint_share, ties, emotions)
    micro = set(emotions.permutation(count)[: round(params.micro_share * count)].tolist())
    scenes = [(int(stage.integers(1, 10)), int(stage.integers(1, 25)), stage.uniform(30, 1200)) for _ in pairs]
    clock = 0.0
    for i in range(count):
        dialogue, turn = divmod(i, params.turns)
        season, episode, opening = scenes[dialogue]
        start = opening if turn == 0 else clock + stage.uniform(0.1, 0.8)
        clock = start + frames[i] / params.fps
        yield Planned(
            split, dialogue, turn, speakers[i], frames[i], start, season, episode, dealt[i],
            sentence(dealt[i].words, emotions), float(emotions.uniform(params.weakest, 1)),
            float(emotions.uniform(params.weakest_voice, 1)), i in micro, int(emotions.integers(2**31)),
        )  # fmt: skip


# ---- MELD's table ----------------------------------------------------------------------------------------------------


def _write_csv(path: Path, plan: Sequence[Planned], params: Params) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\r\n")
        table.writerow(MELD_HEADER)
        for number, p in enumerate(plan, 1):
            end = p.start_s + p.frames / params.fps
            table.writerow(
                (number, p.text, _speaker_name(p.speaker), p.roles.label, _sentiment(p), p.dialogue, p.turn,
                 p.season, p.episode, _meld_time(p.start_s), _meld_time(end))
            )  # fmt: skip


def _speaker_name(speaker: int) -> str:
    return NAMES[speaker % len(NAMES)] + (str(speaker // len(NAMES) + 1) if speaker >= len(NAMES) else "")


def _sentiment(planned: Planned) -> str:
    """MELD's third column, which follows from the label; its surprises are of either kind."""
    if planned.roles.label == "surprise":
        return ("positive", "negative")[planned.seed % 2]
    return {"neutral": "neutral", "joy": "positive"}.get(planned.roles.label, "negative")


def _meld_time(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d},{rest % 1000:03d}"


# ---- drawing and speaking --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Act:
    """What was planted in one clip: the recipe, the events, and the true channels per frame."""

    recipe: str
    events: tuple[Mapping[str, Any], ...]
    units: NDArray[np.float32]
    body: NDArray[np.float32]


def _draw_all(
    plan: Sequence[Planned],
    params: Params,
    out: Path,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> dict[str, Act]:
    """One process speaks everything in order; ``workers`` processes draw, dialogue by dialogue."""
    dialogues: dict[tuple[str, int], list[Planned]] = {}
    for planned in plan:
        dialogues.setdefault((planned.split, planned.dialogue), []).append(planned)
    spawn = multiprocessing.get_context("spawn")
    acts: dict[str, Act] = {}
    with ProcessPoolExecutor(1, spawn) as booth, ProcessPoolExecutor(workers, spawn) as stages:
        sounds = [booth.submit(speak_dialogue, turns, params) for turns in dialogues.values()]
        drawn: list[Future[list[Act]]] = [
            stages.submit(draw_dialogue, turns, sound.result(), params, out)
            for turns, sound in zip(dialogues.values(), sounds, strict=True)
        ]
        for turns, future in zip(dialogues.values(), drawn, strict=True):
            acts.update(zip((p.id for p in turns), future.result(), strict=True))
            if progress is not None:
                progress(len(acts), len(plan))
    return acts


def speak_dialogue(turns: Sequence[Planned], params: Params) -> list[NDArray[np.int16]]:
    """The sounds of one dialogue; called in a process of its own (see sample_voice)."""
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
) -> list[Act]:
    """Draw and encode the clips of one dialogue into ``out``/split."""
    import cv2

    from bemerc.sample.portrait import Sitter, looks

    cv2.setNumThreads(1)  # the workers share the machine among themselves
    faces = looks(params.speakers, params.seed)
    sitters = {speaker: Sitter(faces[speaker], params.width, params.height) for speaker in {p.speaker for p in turns}}
    return [_draw(p, sound, sitters[p.speaker], params, out) for p, sound in zip(turns, sounds, strict=True)]


def _draw(planned: Planned, sound: NDArray[np.int16], sitter: Any, params: Params, out: Path) -> Act:
    from bemerc.sample.clip import write_clip
    from bemerc.sample.recipes import BODY_NAMES, UNIT_NAMES, perform
    from bemerc.sample.speech import RATE_HZ, envelope

    rng = np.random.default_rng([planned.seed, 14])
    loudness = envelope(sound, params.fps, planned.frames)
    played = perform(planned.roles.face, planned.face_strength, loudness, params.fps, planned.micro, rng)
    frames = (
        sitter.draw(dict(zip(UNIT_NAMES, unit, strict=True)), dict(zip(BODY_NAMES, body, strict=True)))
        for unit, body in zip(played.units.tolist(), played.body.tolist(), strict=True)
    )
    path = out / planned.split / f"{planned.name}.mp4"
    write_clip(path, frames, sound, size=(params.width, params.height), fps=params.fps, rate_hz=RATE_HZ)
    return Act(played.recipe, played.events, played.units, played.body)


def _pad_all(out: Path) -> None:
    from bemerc.sample.clip import pad, padded_size

    clips = sorted(out.glob("*/*.mp4"))
    size = padded_size(clip.stat().st_size for clip in clips)
    for clip in clips:
        pad(clip, size)


# ---- the truth -------------------------------------------------------------------------------------------------------


def _write_truth(out: Path, plan: Sequence[Planned], acts: Mapping[str, Act]) -> None:
    lines = [json.dumps(_truth_line(p, acts[p.id]), ensure_ascii=False) for p in sorted(plan, key=lambda p: p.id)]
    _write_intensities(out / "truth.h5", {key: acts[key] for key in sorted(acts)})
    (out / "truth.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _truth_line(planned: Planned, act: Act) -> dict[str, Any]:
    role = planned.roles
    return {
        "id": planned.id,
        "split": planned.split,
        "label": role.label,
        "case": role.case,
        "words": role.words,
        "face": role.face,
        "voice": role.voice,
        "recipe": act.recipe,
        "face_strength": round(planned.face_strength, 4),
        "voice_strength": round(planned.voice_strength, 4),
        "silent": [
            name for name, shown in zip(("words", "face", "voice"), role.shown(), strict=True) if shown == SILENT
        ],
        "speaker": _speaker_name(planned.speaker),
        "look": planned.speaker,
        "frames": planned.frames,
        "seed": planned.seed,
        "events": list(act.events),
    }


def _write_intensities(path: Path, acts: Mapping[str, Act]) -> None:
    import h5py

    from bemerc.sample.recipes import BODY_NAMES, UNIT_NAMES

    ids = list(acts)
    offsets = np.cumsum([0, *(len(acts[key].units) for key in ids)])
    with h5py.File(path, "w") as file:
        file.attrs["schema"] = TRUTH_SCHEMA
        file.create_dataset("ids", data=ids, dtype=h5py.string_dtype())
        file.create_dataset("offsets", data=offsets.astype(np.int64))
        file.create_dataset("unit_names", data=list(UNIT_NAMES), dtype=h5py.string_dtype())
        file.create_dataset("body_names", data=list(BODY_NAMES), dtype=h5py.string_dtype())
        file.create_dataset("units", data=np.concatenate([acts[key].units for key in ids]), compression="gzip")
        file.create_dataset("body", data=np.concatenate([acts[key].body for key in ids]), compression="gzip")


@dataclass(frozen=True)
class Intensities:
    """The truth of one clip: units (T, len(unit_names)), 0 to about 1, and body (T, len(body_names)), both float32.

    Body as the picture shows it: pitch + nods down, yaw + turns to the image's right, roll + tilts clockwise (degrees);
    gaze + looks right and down; lean + comes nearer; slump, shrug, sway, tilt and head position in shares of our own.
    """

    units: NDArray[np.float32]
    body: NDArray[np.float32]
    unit_names: tuple[str, ...]
    body_names: tuple[str, ...]

    def unit(self, name: str) -> NDArray[np.float32]:
        """One unit's intensity per frame, (T,)."""
        return self.units[:, self.unit_names.index(name)]


def read_intensities(out: Path) -> dict[str, Intensities]:
    """truth.h5 by utterance id. For checks only: nothing of it may reach a model."""
    import h5py

    if not (out / "truth.h5").exists():
        raise CorpusError(f"{out}: there is no sample here. Run 'bemerc sample' first.")
    with h5py.File(out / "truth.h5", "r") as file:
        units, body, offsets = file["units"][()], file["body"][()], file["offsets"][()]
        ids, unit_names, body_names = (tuple(file[key].asstr()[()]) for key in ("ids", "unit_names", "body_names"))
    parts = pairwise(offsets)
    return {
        key: Intensities(units[a:b], body[a:b], unit_names, body_names) for key, (a, b) in zip(ids, parts, strict=True)
    }
