"""Descriptions by a vision-language model that looks at frames of the clips: BeMERC's way, beside the rules.

The model is given frames and words, never a label, and cannot hear: the voice's sentence stays the rules'. Each answer is
kept under a hash of what it follows from (clip, model, question, params), so that interrupted work loses one answer at most.
Answers that cannot be used (answers.py) are asked for once more; an utterance without a usable one is left out with its
reason. The parts of the question are BeMERC's, the rest is ours.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from bemerc.behavior.describe.description import Description, write_descriptions, write_lines
from bemerc.core import atomic
from bemerc.core.errors import BemercError, MachineError, MediaError
from bemerc.core.hashing import model_identity, sha256
from bemerc.core.jsonfile import JsonError, read_json
from bemerc.core.progress import bar
from bemerc.corpus.manifest import Dialogue, Manifest, Utterance
from bemerc.language.inputs.prompts import TEACHER_AGAIN, VISIBLE_SLOTS, teacher_prompt
from bemerc.language.teacher import answers, frames, qwen
from bemerc.language.teacher.frames import Question
from bemerc.language.teacher.params import Ask as Ask
from bemerc.language.teacher.params import Params as Params
from bemerc.language.teacher.params import Picture as Picture
from bemerc.language.teacher.params import TeacherError as TeacherError


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
    asking = _Asking(model, params, store, load or qwen.load)
    descriptions, dropped = {}, {}
    with bar("Asking the teacher", len(manifest.utterances), "utterances") as advance:
        for clip, turns in _by_clip(manifest).items():
            for utterance, answer in asking.of_clip(clip, turns):
                if isinstance(answer, str):
                    dropped[utterance.id] = answer
                else:
                    watched = {slot: answer.get(slot, "") for slot in VISIBLE_SLOTS} | {
                        "voice": voices.get(utterance.id, "")
                    }
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
    turns_of: dict[Path | None, list[Turn]] = {}
    for dialogue in manifest.dialogues():
        for index, utterance in enumerate(dialogue.utterances):
            turns_of.setdefault(manifest.clip_path(utterance), []).append((dialogue, index))
    return turns_of


class _Dropped(Exception):
    """No usable answer, and why."""


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
        for question, pictures in frames.pictures_of(clip, open_, self.params.side):
            yield (
                question.utterance,
                str(pictures) if isinstance(pictures, BemercError) else self._settled(question, pictures),
            )

    def _question(self, clip: Path, content: str, dialogue: Dialogue, index: int) -> Question:
        utterance = dialogue.utterances[index]
        times = frames.times(clip, utterance, self.params.frames)
        text = teacher_prompt(dialogue, index, [t - (utterance.start_s or 0) for t in times], self.params.history)
        return Question(utterance, times, text, self.store / f"{self._key(content, utterance, text)}.json")

    def _lacks(self, question: Question) -> bool:
        """Whether the model must be asked: no known answer is usable, and not all that are allowed were given."""
        texts = read_answers(question.file)[: self.params.asks]
        return len(texts) < self.params.asks and all(answers.read(text).fault for text in texts)

    def _settled(self, question: Question, pictures: Sequence[Picture]) -> dict[str, str] | str:
        try:
            return self._about(question, pictures)
        except _Dropped as reason:
            return str(reason)

    def _about(self, question: Question, pictures: Sequence[Picture]) -> dict[str, str]:
        """Slot -> sentence. Raises _Dropped."""
        texts = read_answers(question.file)
        self.counts["kept"] += len(texts)
        sentences: dict[str, str] = {}
        fault = ""
        for number in range(self.params.asks):
            if number == len(texts):
                again = [texts[-1], TEACHER_AGAIN.format(fault=fault)] if number else []
                texts.append(self._ask()(pictures, [question.text, *again]))
                write_answers(question.file, question.utterance.id, texts)
                self.counts["asked"] += 1
            answer = answers.read(texts[number])
            fault = answer.fault
            sentences |= {slot: text for slot, text in answer.sentences.items() if slot not in sentences or not fault}
            self._count(number, answer)
            if not fault:
                break
        if not sentences:
            raise _Dropped(f"No usable answer: {fault}.")
        return sentences

    def _count(self, number: int, answer: answers.Answer) -> None:
        self.counts["again"] += number > 0
        self.counts["repaired"] += answer.repaired
        self.counts["emotional"] += answer.emotional

    def _key(self, content: str, utterance: Utterance, question: str) -> str:
        """Of all that an answer follows from; how often may be asked changes none that is known."""
        settings = {k: v for k, v in asdict(self.params).items() if k not in ("asks", "max_dropped_share", "device")}
        parts = [content, utterance.start_s, utterance.end_s, utterance.crop, self._identity, question, settings]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


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


def write_answers(file: Path, id: str, texts: Sequence[str]) -> None:
    """Keep answers; the file is whole or not there. DiskError where the disk refuses."""
    atomic.write_text(file, json.dumps({"id": id, "answers": list(texts)}, ensure_ascii=False))
