"""Prompts: every text that the language model reads, and the way back from its answers to labels.

A prompt is a sequence of parts: head (role, labels), one part per turn of the history, branch (which turn, its behavior, the
question) and target. Constant parts come first, so that the utterances of a dialogue share everything up to their branch and
a whole dialogue is packed as one tree (packing.py). Behavior is a Placeholder between texts, never a marker inside one:
nothing that a speaker says can be mistaken for it.

Roles, history between ### marks and the question at the end follow InstructERC; the wording, the order and the anchored
window are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from types import MappingProxyType
from typing import Literal

from bemerc.core.renames import formerly
from bemerc.corpus.manifest import LISTENER, MODALITIES, Dialogue, Modality, Utterance, listener_id

# What a reader of a rendered prompt sees where behavior tokens will stand, and the word that introduces them.
MARKS: dict[Modality, str] = {"face": "<face>", "pose": "<pose>", "audio": "<audio>"}
LEADS: dict[Modality, str] = {"face": "Face", "pose": "Body", "audio": "Voice"}

# Words that introduce a sentence of a description; "Voice" already introduces the voice's tokens.
SENTENCE_LEADS: dict[str, str] = {
    "facial_expression": "Facial expression",
    "body_language": "Body language",
    "posture": "Posture",
    "voice": "Speech",
}

# The same of the listener, who is seen and not heard.
LISTENER_LEADS = {
    f"{LISTENER}_{slot}": f"Listener's {SENTENCE_LEADS[slot].lower()}"
    for slot in ("facial_expression", "body_language", "posture")
}

# Slots of a description -> what the align prompt asks for, and the modality without which nobody could answer.
SLOTS: dict[str, tuple[str, Modality]] = {
    "facial_expression": ("facial expression", "face"),
    "body_language": ("body language", "pose"),
    "posture": ("posture", "pose"),
    "voice": ("voice", "audio"),
}

# The slots of a description that the vision-language teacher can answer, which hears nothing.
VISIBLE_SLOTS = tuple(slot for slot, (_, needed) in SLOTS.items() if needed != "audio")
TEACHER_ROLE = (
    "You are an anatomist who watches people in conversations and writes down what is visible: which parts of the face move "
    "and how, the head, the gaze, the hands, the trunk. You never say what somebody feels or means."
)
TEACHER_CONSTRAINT = (
    "Answer with one JSON object and nothing else, with exactly these keys, each a text of one or two short sentences: {keys}. "
    "Name no emotion, mood or intention, and no expression that is named after one; say what moves, which way, how much and "
    'when. Where a part cannot be seen, write "Not visible."'
)
TEACHER_AGAIN = "That cannot be used: {fault}. Answer again, with the JSON object alone."

MERC_ROLE = "Name the emotion that the speaker of the last line is perceived to show, by words and behavior."
OPENING = "The conversation so far:\n###\n"
ALIGN_ROLE = "Describe what a person shows, by behavior."


@dataclass(frozen=True)
class Params:
    """params.yaml: prompt.

    window    turns of history, the target's included: ``sliding`` holds at most so many, ``anchored`` up to twice as many
    windowing ``anchored``: the window moves in steps of its own length, so that a block of turns shares one history;
              ``sliding``: always the last ``window`` turns, one computation per utterance
    template  ``plain`` text, or ``chat``: inside the tokenizer's own chat template
    repeat_target_utterance  whether the question repeats the speaker's name and words, as InstructERC does. Without, it is
              shorter, since that line stands right before it: quicker, and learned worse from little data
    """

    window: int = 12
    windowing: Literal["anchored", "sliding"] = "anchored"
    template: Literal["plain", "chat"] = "plain"
    repeat_target_utterance: bool = field(default=True, metadata=formerly("restate"))

    def check(self) -> list[str]:
        return [] if self.window >= 1 else [f"window: must be at least 1, not {self.window}."]


@dataclass(frozen=True)
class Placeholder:
    """Where the K behavior tokens of one utterance and modality stand.

    brief   two tokens that stand for all of them
    hidden  they read as if nothing had been measured
    without token columns that read as if nothing of them had been measured
    """

    modality: Modality
    utterance: str
    brief: bool = False
    hidden: bool = False
    without: tuple[str, ...] = ()


@dataclass(frozen=True)
class Markup:
    """Words of a chat template: the only text in which the tokenizer may see its special tokens."""

    text: str


Piece = str | Markup | Placeholder
Part = tuple[Piece, ...]
BehaviorOf = Literal["target", "same_speaker", "all", "partner"]
NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Prompt:
    """One question to the model.

    id       of the utterance that it asks about
    head     what is the same for every utterance
    history  one part per turn, oldest first; the last one is never dropped, the others from the oldest
    branch   what belongs to this utterance alone, up to the word before the answer
    target   the answer
    splits   where the branch may be cut, so that another question shares what is before: indices of its placeholders
    """

    id: str
    head: Part
    history: tuple[Part, ...]
    branch: Part
    target: str
    splits: tuple[int, ...] = ()

    @property
    def branch_parts(self) -> tuple[Part, ...]:
        """The branch, cut at ``splits``."""
        return tuple(self.branch[start:stop] for start, stop in pairwise((0, *self.splits, len(self.branch))))

    @property
    def text(self) -> str:
        """The prompt as people read it, with a mark for every placeholder, without the target."""
        return "".join(_readable(piece) for part in (self.head, *self.history, self.branch) for piece in part)


def merc_prompt(
    dialogue: Dialogue,
    index: int,
    labels: Sequence[str],
    modalities: Sequence[Modality],
    params: Params,
    *,
    behavior_of: BehaviorOf = "target",
    described: Mapping[str, str] = NOTHING,
) -> Prompt:
    """Ask for the emotion of turn ``index``; the target is its label, or empty where the corpus has none.

    behavior_of  of which turns of the history there is behavior, in brief; partner: of none, and of the listener during
                 the turn in question
    described  slot -> sentence about the turn in question
    """
    turn, partner = dialogue.utterances[index], behavior_of == "partner"
    first = history_start(index, params)
    history = tuple(
        _turn(u, modalities, _shows_behavior(u, turn, behavior_of)) for u in dialogue.utterances[first : index + 1]
    )
    branch = (
        f"###\nThe last line, by {_name(turn)}: {_quoted(turn)}\n" if params.repeat_target_utterance else "###\n",
        *_sentences(described),
        *behavior(turn.id, modalities, joined=not params.repeat_target_utterance),
        *(partner_behavior(turn.id, modalities, not params.repeat_target_utterance) if partner else ()),
        "Emotion:" if params.repeat_target_utterance or not modalities else " Emotion:",
    )
    return Prompt(turn.id, (merc_head(labels),), history, branch, label_target(turn.label) if turn.label else "")


def align_prompts(id: str, description: Mapping[str, str], modalities: Sequence[Modality]) -> tuple[Prompt, ...]:
    """Ask for every slot of one description that the modalities can answer, one prompt per slot.

    The words that were said are not in it: they could give the description away. The behavior stands in the history, so
    that the slots share it.
    """
    head, tokens = (align_head(),), behavior(id, modalities)
    return tuple(
        Prompt(id, head, (tokens,), (slot_question(slot),), " " + _one_line(description[slot]))
        for slot, (_, needed) in SLOTS.items()
        if needed in modalities and description.get(slot)
    )


def teacher_prompt(dialogue: Dialogue, index: int, times_s: Sequence[float], history: int) -> str:
    """Ask a vision-language model what the speaker of turn ``index`` does, in frames taken at ``times_s``.

    BeMERC's four parts: title (the role), context (up to ``history`` turns before), objective, constraint. The labels of
    the turns are nowhere in it. The wording is ours.
    """
    turn = dialogue.utterances[index]
    before = dialogue.utterances[max(0, index - history) : index]
    earlier = "".join(f"{_name(u)}: {_quoted(u)}\n" for u in before)
    context = f"The conversation so far:\n{earlier}" if earlier else "The conversation begins here.\n"
    shown = ", ".join(f"{time:.1f}" for time in times_s)
    objective = (
        f"Now {_name(turn)} says {_quoted(turn)} The pictures show it, at {shown} s from its beginning. Describe this speaker's "
        "facial expression, body language (head, gaze, hands, movement) and posture."
    )
    keys = ", ".join(f'"{slot}"' for slot in VISIBLE_SLOTS)
    return "\n\n".join([TEACHER_ROLE, context.rstrip(), objective, TEACHER_CONSTRAINT.format(keys=keys)])


def with_own_behavior(prompt: Prompt, change: Callable[[Placeholder], Placeholder]) -> Prompt:
    """The same question with the behavior of its utterance changed: in the branch, and in the utterance's own line, where it
    may stand in brief. The turns before stay, so that questions share them."""

    def changed(part: Part) -> Part:
        return tuple(change(p) if isinstance(p, Placeholder) and p.utterance == prompt.id else p for p in part)

    history = (*prompt.history[:-1], changed(prompt.history[-1]))
    return replace(prompt, history=history, branch=changed(prompt.branch))


def without_behavior(prompt: Prompt) -> Prompt:
    """The same question as if nothing had been measured of the utterance, under a name of its own: what the words alone say."""
    return replace(with_own_behavior(prompt, lambda of: replace(of, hidden=True)), id=f"{prompt.id}\0")


def with_sentences(prompt: Prompt, own: Mapping[str, str], other: Mapping[str, str]) -> Prompt:
    """The same question with the sentences ``other`` in place of its ``own``; slot -> sentence."""
    first, rest = prompt.branch[:1], prompt.branch[1 + len(_sentences(own)) :]
    return replace(prompt, branch=(*first, *_sentences(other), *rest), splits=())


def _sentences(described: Mapping[str, str]) -> tuple[str, ...]:
    leads = {slot: SENTENCE_LEADS[slot] for slot in SLOTS} | LISTENER_LEADS
    return tuple(f"{lead}: {_one_line(described[slot])}\n" for slot, lead in leads.items() if slot in described)


def merc_head(labels: Sequence[str]) -> str:
    """Role and label set, up to the mark that opens the history."""
    return f"{MERC_ROLE}\nLabels: {', '.join(labels)}.\n{OPENING}"


def align_head() -> str:
    """Role of the align prompt."""
    return f"{ALIGN_ROLE}\n###\n"


def slot_question(slot: str) -> str:
    """The branch of the align prompt for one slot of the description."""
    return f"###\nDescribe the {SLOTS[slot][0]}.\nDescription:"


def behavior(id: str, modalities: Sequence[Modality], joined: bool = False) -> Part:
    """One line per modality, always in the same order; nothing for a variant that has words only.

    ``joined``: one line for all, and for what comes after it.
    """
    pieces: list[Piece] = []
    for modality in MODALITIES:
        if modality in modalities and joined:
            pieces += [f" {LEADS[modality]}:" if pieces else f"{LEADS[modality]}:", Placeholder(modality, id)]
        elif modality in modalities:
            pieces += [f"{LEADS[modality]}:", Placeholder(modality, id), "\n"]
    return tuple(pieces)


def partner_behavior(id: str, modalities: Sequence[Modality], joined: bool = False) -> Part:
    """The behavior of the listener during a turn, who does not speak; as ``behavior`` writes the speaker's."""
    before, after = (" ", ()) if joined else ("", ("\n",))
    pieces: list[Piece] = []
    for modality in MODALITIES:
        if modality in modalities and modality != "audio":
            lead = f"{before}Listener's {LEADS[modality].lower()}:"
            pieces += [lead, Placeholder(modality, listener_id(id)), *after]
    return tuple(pieces)


def history_start(index: int, params: Params) -> int:
    """Index of the oldest turn that the prompt for turn ``index`` holds.

    Anchored: ``max(0, w * (floor(t / w) - 1))``, so between w + 1 and 2w turns once the dialogue is long enough, and the
    same start for w neighbours; sliding: the last w turns.
    """
    w = params.window
    return max(0, w * (index // w - 1) if params.windowing == "anchored" else index - w + 1)


def label_target(label: str) -> str:
    """The answer for a label: the space belongs to the word in most tokenizers."""
    return f" {label}"


def read_slot(text: str) -> str:
    """The way back for one slot of a description: the first line of the answer."""
    return text.strip().split("\n", 1)[0].strip()


def _turn(turn: Utterance, modalities: Sequence[Modality], shows_behavior: bool) -> Part:
    line = f"{_name(turn)}: {_quoted(turn)}"
    if not shows_behavior:
        return (f"{line}\n",)
    return (f"{line} ", *(Placeholder(m, turn.id, brief=True) for m in MODALITIES if m in modalities), "\n")


def _shows_behavior(turn: Utterance, asked: Utterance, behavior_of: BehaviorOf) -> bool:
    """Whether this turn of the history shows its behavior. Nobody's turns are those of a speaker without a name."""
    return behavior_of == "all" or (
        behavior_of == "same_speaker" and bool(turn.speaker) and turn.speaker == asked.speaker
    )


def _name(turn: Utterance) -> str:
    """Who speaks, as the prompt says it where the corpus does not."""
    return _one_line(turn.speaker) or "Speaker"


def _quoted(turn: Utterance) -> str:
    return f'"{_one_line(turn.text)}"'


def _one_line(text: str) -> str:
    """A line break inside what somebody said would look like the next turn."""
    return " ".join(text.split())


def _readable(piece: Piece) -> str:
    if isinstance(piece, Placeholder):
        return MARKS[piece.modality]
    return piece.text if isinstance(piece, Markup) else piece
