"""Descriptions by a vision-language model that watches the clips: BeMERC's way, beside the rules.

The usual script runs the model over a corpus, keeps whatever text comes and starts again when it dies. Here every answer is
kept as it is, under what it follows from (clip, model, question, params), so that a kill costs one answer and a better
reader of answers costs none; answers are read strictly (answers.py), asked for once more where they cannot be used, and an
utterance without a usable one is left out with its reason. The model sees frames and what was said, never a label. It
cannot hear: the voice's sentence stays the rules'. The parts of the question are BeMERC's, the rest is ours.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bemerc.behavior.describe.description import Description, write_descriptions, write_lines
from bemerc.core import atomic, huggingface
from bemerc.core.errors import BemercError, MachineError, MediaError
from bemerc.core.hashing import model_identity, sha256
from bemerc.core.jsonfile import JsonError, read_json
from bemerc.core.progress import bar, transformers_quiet
from bemerc.corpus.manifest import Dialogue, Manifest, Utterance
from bemerc.language.inputs.prompts import TEACHER_AGAIN, WATCHED, teacher_prompt
from bemerc.language.teacher import answers
from bemerc.media.video import Frame, Video

# Families whose processors put a picture into the words in the same way; others would silently be asked wrongly.
FAMILIES = ("qwen2_vl", "qwen2_5_vl")
Picture = NDArray[np.uint8]
# Pictures and the conversation so far (question, answer, question, ...) -> the next answer.
Ask = Callable[[Sequence[Picture], Sequence[str]], str]


class TeacherError(BemercError):
    """The vision-language model cannot be had, is of another family, or has no usable answers."""


@dataclass(frozen=True)
class Params:
    """params.yaml: teacher.

    frames, side       pictures per clip, evenly spread, and their longest side in pixels
    history            turns before the one in question that are told
    asks               how often one utterance may be asked about, the first time included
    max_new_tokens     of one answer
    dtype, device      of the model; auto: as it was saved, and a GPU where there is one
    max_dropped_share  above this share of utterances without a usable answer the work stops with a sentence
    """

    frames: int = 4
    side: int = 448
    history: int = 6
    asks: int = 2
    max_new_tokens: int = 256
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    max_dropped_share: float = 0.5

    def check(self) -> Iterator[str]:
        """What is wrong with these values, a sentence each."""
        for name, least in (("frames", 1), ("side", 28), ("history", 0), ("asks", 1), ("max_new_tokens", 1)):
            if getattr(self, name) < least:
                yield f"{name}: must be at least {least}, not {getattr(self, name)}."
        if not 0 <= self.max_dropped_share <= 1:
            yield f"max_dropped_share: must lie between 0 and 1, not {self.max_dropped_share}."


@dataclass(frozen=True)
class Taught:
    """What came of it.

    descriptions  utterance id -> description; those without a usable answer are left out
    dropped       id -> why
    counts        of answers: asked (now), kept (from before), again (asked once more), repaired, emotional (sentences)
    """

    descriptions: Mapping[str, Description]
    dropped: Mapping[str, str]
    counts: Mapping[str, int]

    def sentence(self) -> str:
        """How it went."""
        of = Counter(self.counts)
        some = "; ".join(f"{id}: {why}" for id, why in list(self.dropped.items())[:3])
        return (
            f"The teacher described {len(self.descriptions)} of {len(self.descriptions) + len(self.dropped)} utterances "
            f"({of['asked']} answers now, {of['kept']} kept from before; {of['again']} asked once more, {of['repaired']} "
            f"repaired, {of['emotional']} sentences that named an emotion left out)."
            + (f" Dropped, such as: {some}" if some else "")
        )


def run(
    manifest: Manifest,
    model: str,
    params: Params,
    store: Path,
    voices: Mapping[str, str],
    load: Callable[[str, Params], Ask] | None = None,
) -> Taught:
    """Descriptions of every utterance with a clip by the vision-language model ``model`` (a folder or a name).

    store   folder of answers by fingerprint: interrupted, the same call goes on where it stood
    voices  utterance id -> the voice's sentence, since the model cannot hear
    load    what makes the model ready to be asked; it is called when the first question is open

    Raises TeacherError where the model cannot be had, or more than ``max_dropped_share`` of the utterances got no usable
    answer. A clip that cannot be read costs itself alone.
    """
    asking = _Asking(model, params, store, load or qwen)
    descriptions, dropped = {}, {}
    with bar("Asking the teacher", len(manifest.utterances), "utterances") as advance:
        for clip, turns in _by_clip(manifest).items():
            for utterance, said in asking.of_clip(clip, turns):
                if isinstance(said, str):
                    dropped[utterance.id] = said
                else:
                    watched = {slot: said.get(slot, "") for slot in WATCHED} | {"voice": voices.get(utterance.id, "")}
                    descriptions[utterance.id] = Description(**watched, reasons={})
                advance(1)
    taught = Taught(descriptions, dropped, asking.counts)
    if len(dropped) > params.max_dropped_share * max(1, len(manifest.utterances)):
        raise TeacherError(
            f"{taught.sentence()}\nThat is more than teacher.max_dropped_share ({params.max_dropped_share:g}) allows: name "
            "another model, raise teacher.max_new_tokens, or allow more."
        )
    return taught


Turn = tuple[Dialogue, int]


def _by_clip(manifest: Manifest) -> dict[Path | None, list[Turn]]:
    """Clip -> its utterances, each as its dialogue and its place there; None: those without a clip."""
    found: dict[Path | None, list[Turn]] = {}
    for dialogue in manifest.dialogues():
        for index, utterance in enumerate(dialogue.utterances):
            found.setdefault(manifest.clip_path(utterance), []).append((dialogue, index))
    return found


class _Dropped(Exception):
    """No usable answer, and why."""


@dataclass(frozen=True)
class _Question:
    """What is asked about one utterance: the times of its pictures, the words, and the file of its answers."""

    utterance: Utterance
    times_s: Sequence[float]
    text: str
    file: Path


class _Asking:
    """Questions to one model, with the answers that are known already."""

    def __init__(self, model: str, params: Params, store: Path, load: Callable[[str, Params], Ask]) -> None:
        self.params, self.store, self.counts = params, store, Counter[str]()
        self._identity = model_identity(model)
        self._ask = cache(lambda: load(model, params))

    def of_clip(self, clip: Path | None, turns: Sequence[Turn]) -> Iterator[tuple[Utterance, dict[str, str] | str]]:
        """Each utterance of one clip with slot -> sentence, or the reason why it has none. The clip is decoded once,
        however many utterances are cut from it, and not at all where every answer is known."""
        utterances = [dialogue.utterances[index] for dialogue, index in turns]
        try:
            if clip is None:
                raise _Dropped("There is no clip.")
            content = content_of(clip)
            questions = [self._question(clip, content, *turn) for turn in turns]
        except (MediaError, MachineError, _Dropped) as reason:
            yield from ((utterance, str(reason)) for utterance in utterances)
            return
        open_ = [q for q in questions if self._lacks(q)]
        for question in questions:
            if question not in open_:
                yield question.utterance, self._settled(question, [])
        for question, seen in _watched(clip, open_, self.params.side):
            yield question.utterance, str(seen) if isinstance(seen, BemercError) else self._settled(question, seen)

    def _question(self, clip: Path, content: str, dialogue: Dialogue, index: int) -> _Question:
        utterance = dialogue.utterances[index]
        times = _times(clip, utterance, self.params.frames)
        text = teacher_prompt(dialogue, index, [t - (utterance.start_s or 0) for t in times], self.params.history)
        return _Question(utterance, times, text, self.store / f"{self._key(content, utterance, text)}.json")

    def _lacks(self, question: _Question) -> bool:
        """Whether the model must be asked: no known answer is usable, and not all that are allowed were given."""
        known = read_answers(question.file)[: self.params.asks]
        return len(known) < self.params.asks and all(answers.read(text).fault for text in known)

    def _settled(self, question: _Question, pictures: Sequence[Picture]) -> dict[str, str] | str:
        try:
            return self._about(question, pictures)
        except _Dropped as reason:
            return str(reason)

    def _about(self, question: _Question, pictures: Sequence[Picture]) -> dict[str, str]:
        """Slot -> sentence. Raises _Dropped."""
        known = read_answers(question.file)
        self.counts["kept"] += len(known)
        said: dict[str, str] = {}
        fault = ""
        for number in range(self.params.asks):
            if number == len(known):
                again = [known[-1], TEACHER_AGAIN.format(fault=fault)] if number else []
                known.append(self._ask()(pictures, [question.text, *again]))
                write_answers(question.file, question.utterance.id, known)
                self.counts["asked"] += 1
            answer = answers.read(known[number])
            fault = answer.fault
            said |= {slot: text for slot, text in answer.sentences.items() if slot not in said or not fault}
            self._count(number, answer)
            if not fault:
                break
        if not said:
            raise _Dropped(f"No usable answer: {fault}.")
        return said

    def _count(self, number: int, answer: answers.Answer) -> None:
        self.counts["again"] += number > 0
        self.counts["repaired"] += answer.repaired
        self.counts["emotional"] += answer.emotional

    def _key(self, content: str, utterance: Utterance, question: str) -> str:
        """Of all that an answer follows from; how often may be asked changes none that is known."""
        settings = {k: v for k, v in asdict(self.params).items() if k not in ("asks", "max_dropped_share", "device")}
        told = [content, utterance.start_s, utterance.end_s, utterance.crop, self._identity, question, settings]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]


def content_of(clip: Path) -> str:
    """SHA-256 of a file; MediaError where it cannot be read."""
    try:
        return sha256(clip)
    except OSError as error:
        raise MediaError(f"The clip cannot be read ({error.strerror}).") from None


def read_answers(file: Path) -> list[str]:
    """The answers that are known, oldest first; none where the machine's crash left half a file."""
    if not file.is_file():
        return []
    try:
        return [str(text) for text in read_json(file)["answers"]]
    except (JsonError, KeyError, TypeError):
        return []


def write(taught: Taught, folder: Path) -> None:
    """Leave teacher.jsonl in ``folder``, and teacher_dropped.json with the reasons."""
    write_descriptions(folder / "teacher.jsonl", taught.descriptions)
    write_lines(
        folder / "teacher_dropped.json",
        [json.dumps(dict(sorted(taught.dropped.items())), indent=1, ensure_ascii=False)],
    )


def write_answers(file: Path, id: str, known: Sequence[str]) -> None:
    """Keep answers; the file is whole or not there. DiskError where the disk refuses."""
    atomic.write_text(file, json.dumps({"id": id, "answers": list(known)}, ensure_ascii=False))


# -------------------------------------------------------------------------------------------------------------- pictures


def _times(clip: Path, utterance: Utterance, count: int) -> list[float]:
    """The middles of ``count`` equal parts of the utterance, seconds on the clip's clock."""
    start_s, end_s = utterance.start_s or 0.0, utterance.end_s
    if end_s is None:
        with Video(clip) as video:
            end_s = video.duration_s
            if not math.isfinite(end_s):
                end_s = max((frame.timestamp_s for frame in video), default=start_s)
    return [start_s + (i + 0.5) / count * max(0.0, end_s - start_s) for i in range(count)]


def frames(clip: Path, utterance: Utterance, times_s: Sequence[float], side: int) -> list[Picture]:
    """The first frame at or after each time, (H, W, 3) uint8 RGB; the last frame for times after it.

    Raises MediaError where the clip has no picture, or none from the utterance's beginning on.
    """
    ((_, seen),) = _watched(clip, [_Question(utterance, times_s, "", clip)], side)
    if isinstance(seen, BemercError):
        raise seen
    return seen


def _watched(
    clip: Path, questions: Sequence[_Question], side: int
) -> Iterator[tuple[_Question, list[Picture] | BemercError]]:
    """The pictures of each question, or why there are none, in one pass over the clip, each as soon as it is complete: of a
    recording with hundreds of utterances only those under way are in memory."""
    waiting = sorted((_Watching(q, side) for q in questions), key=lambda one: one.start_s)
    begun: list[_Watching] = []
    fault: BemercError | None = None
    try:
        if waiting:
            with Video(clip) as video:
                for frame in video:
                    while waiting and waiting[0].start_s <= frame.timestamp_s:
                        begun.append(waiting.pop(0))
                    for one in begun:
                        one.see(frame)
                    yield from ((one.question, one.pictures()) for one in begun if one.done)
                    begun = [one for one in begun if not one.done]
                    if not begun and not waiting:
                        return
    except (MediaError, MachineError) as error:
        fault = error
    for one in [*begun, *waiting]:
        yield one.question, fault or one.pictures()


class _Watching:
    """The pictures of one utterance, while its clip goes by."""

    def __init__(self, question: _Question, side: int) -> None:
        self.question, self.side, self.done = question, side, False
        self.start_s, self._end_s = question.utterance.start_s or 0.0, question.utterance.end_s
        self._wanted, self._found = list(question.times_s), list[Picture]()
        self._last: Frame | None = None

    def see(self, frame: Frame) -> None:
        """Take note of the next frame, at or after the utterance's beginning."""
        if self._last is not None and self._end_s is not None and frame.timestamp_s > self._end_s:
            self.done = True
            return
        self._last = frame
        while self._wanted and frame.timestamp_s >= self._wanted[0]:
            self._found.append(frame.rgb(self.question.utterance.crop, self.side))
            self._wanted.pop(0)
        self.done = not self._wanted

    def pictures(self) -> list[Picture] | MediaError:
        """What was found, the last frame standing for times after it."""
        if self._last is None:
            return MediaError("The clip ends before this utterance begins.")
        last = self._last.rgb(self.question.utterance.crop, self.side) if self._wanted else None
        return [*self._found, *([last] * len(self._wanted) if last is not None else [])]


# ----------------------------------------------------------------------------------------------------------- Qwen2-VL


def qwen(model: str, params: Params) -> Ask:
    """Load a model of the Qwen2-VL family; returns what asks it, the likeliest token at every step.

    transformers' processor for it wants torchvision, which must be built for the very torch that is installed; here the
    picture's and the words' own auto classes are used, and the places of a picture are counted as that processor counts.
    Raises TeacherError where the model cannot be had, or is of another family.
    """
    import torch
    from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

    if params.device == "cuda" and not torch.cuda.is_available():
        raise TeacherError("teacher.device: cuda, but torch sees no GPU here. Take auto or cpu.")
    try:
        folder = huggingface.folder_of(model)
        config = huggingface.load(AutoConfig, folder)
        if config.model_type not in FAMILIES:
            raise TeacherError(
                f"{model}: the teacher is a model of the Qwen2-VL family ({', '.join(FAMILIES)}), and this is a "
                f"{config.model_type} model. Name another, such as Qwen/Qwen2-VL-2B-Instruct."
            )
        with transformers_quiet(advice=False):
            eyes = huggingface.load(AutoImageProcessor, folder, backend="pil")
            tokenizer = huggingface.load(AutoTokenizer, folder)
            dtype = params.dtype if params.dtype == "auto" else getattr(torch, params.dtype)
            kind = AutoModelForImageTextToText
            network = huggingface.load(kind, folder, dtype=dtype, use_safetensors=True).eval()
    except huggingface.PretrainedError as error:
        raise TeacherError(
            f"{model}: the vision-language model cannot be loaded ({error.reason}). Give a folder that holds one with its "
            "tokenizer and image processor, or a name that this machine can download."
        ) from error
    if not getattr(tokenizer, "chat_template", None):
        raise TeacherError(
            f"{model}: its tokenizer has no chat template. Name a model that was tuned to answer (Instruct)."
        )
    where = ("cuda" if torch.cuda.is_available() else "cpu") if params.device == "auto" else params.device
    network.to(where)
    return lambda pictures, talk: _answer(network, tokenizer, eyes, pictures, talk, params.max_new_tokens)


def _answer(
    network: Any, tokenizer: Any, eyes: Any, pictures: Sequence[Picture], talk: Sequence[str], limit: int
) -> str:
    """The model's next words in the conversation ``talk``, whose first question comes with the pictures."""
    import torch

    seen = eyes(images=list(pictures), return_tensors="pt")
    mark = network.config.image_token_id
    ids = torch.tensor([encode(tokenizer, talk, places(seen, eyes.merge_size), mark)], device=network.device)
    given = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": (ids == mark).int(),
        "pixel_values": seen["pixel_values"].to(network.device, network.dtype),
        "image_grid_thw": seen["image_grid_thw"].to(network.device),
    }
    try:
        with torch.inference_mode(), transformers_quiet(advice=False):
            written = network.generate(**given, max_new_tokens=limit, do_sample=False)
    except torch.cuda.OutOfMemoryError:
        raise TeacherError(
            "The GPU's memory does not suffice for the teacher. Lower teacher.frames or teacher.side."
        ) from None
    return str(tokenizer.decode(written[0, ids.shape[1] :], skip_special_tokens=True)).strip()


def places(seen: Mapping[str, Any], merge: int) -> list[int]:
    """How many positions each picture takes: its patches, ``merge`` x ``merge`` of them to a position."""
    return [int(grid.prod()) // merge**2 for grid in seen["image_grid_thw"]]


def encode(tokenizer: Any, talk: Sequence[str], counts: Sequence[int], mark: int) -> list[int]:
    """Token ids of a conversation in the model's chat template, each picture as many ``mark`` as it takes.

    Nothing that a speaker says can be taken for a mark of the template.
    """
    words = [[{"type": "text", "text": text.replace("<|", "< |")}] for text in talk]
    words[0] = [*({"type": "image"} for _ in counts), *words[0]]
    messages = [{"role": "assistant" if i % 2 else "user", "content": said} for i, said in enumerate(words)]
    rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    ids: list[int] = tokenizer(rendered, add_special_tokens=False)["input_ids"]
    if ids.count(mark) != len(counts):
        raise TeacherError(
            f"{tokenizer.name_or_path}: its chat template shows {ids.count(mark)} pictures of {len(counts)}. Name a model of the Qwen2-VL family."
        )
    each = iter(counts)
    return [id for token in ids for id in ([token] * next(each) if token == mark else [token])]
