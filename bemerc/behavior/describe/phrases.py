"""Every word that describes behavior, and the way back from a sentence to what it states.

The plain choice is free prose, which nobody can score. These sentences are built of few, regular pieces (what, how
strongly, when), so that a small language model can learn to say them and ``statements`` can read them back. The units are
named as MER-Factory names them, turned into what one sees; no word tells an emotion, and a test holds a lexicon to it.
Left and right are those of the picture, but for hands, which are the person's own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bemerc.behavior.describe.description import SLOTS, Description
from bemerc.behavior.describe.references import Item

STRENGTHS = ("slightly", "clearly", "strongly")
TIMES = ("early", "in the middle", "late", "throughout")
CLASSES = ("very low", "low", "moderate", "high", "very high")
COUNTS = ("no", "one", "two", "several")
NO_FACE = "No face was visible."
NO_BODY = "No body was visible."
NO_VOICE = "No voice was heard."
NOTHING = {
    "facial_expression": "no facial movement stands out",
    "body_language": "no gesture stands out",
    "posture": "no change of posture stands out",
}
UNSEEN = "out of sight for a part"
HAND_STATES = ("at the face", "open", "closed")
NO_HANDS = "no hands in sight"
TOO_SHORT = "The clip is too short to describe the {}."


@dataclass(frozen=True)
class Act:
    """Something done: what, how strongly (index in STRENGTHS), when (index in TIMES), and whether it was over quickly."""

    phrase: str
    strength: int
    time: int
    brief: bool = False


def _unit(number: int, phrase: str) -> Item:
    # 0.8 of 5 is MER-Factory's threshold; 1.6 and 2.6 are ours.
    return Item(f"AU{number:02d}_r", 1, phrase, True, (0.8, 1.6, 2.6))


def _both(column: str, rising: str, falling: str, least: tuple[float, float, float]) -> tuple[Item, Item]:
    return Item(column, 1, rising, False, least), Item(column, -1, falling, False, least)


UNITS: tuple[Item, ...] = (
    _unit(1, "inner brows raised"),
    _unit(2, "outer brows raised"),
    _unit(4, "brows lowered"),
    _unit(5, "upper lids raised"),
    _unit(6, "cheeks raised"),
    _unit(7, "lids tightened"),
    _unit(9, "nose wrinkled"),
    _unit(10, "upper lip raised"),
    _unit(12, "lip corners pulled up"),
    _unit(14, "cheeks dimpled"),
    _unit(15, "lip corners pulled down"),
    _unit(17, "chin raised"),
    _unit(20, "lips stretched"),
    _unit(23, "lips tightened"),
    _unit(25, "lips parted"),
    _unit(26, "jaw dropped"),
    _unit(28, "lips sucked in"),
)
HEAD: tuple[Item, ...] = (
    *_both("pose_yaw_deg", "head turned right", "head turned left", (5.0, 10.0, 20.0)),
    *_both("pose_pitch_deg", "head lowered", "head raised", (5.0, 10.0, 18.0)),
    *_both("pose_roll_deg", "head tilted right", "head tilted left", (4.0, 8.0, 16.0)),
    *_both("gaze_x_deg", "gaze to the right", "gaze to the left", (10.0, 18.0, 27.0)),
    *_both("gaze_y_deg", "gaze lowered", "gaze raised", (10.0, 18.0, 27.0)),
)
HANDS: tuple[Item, ...] = (
    Item("left_hand_height", 1, "left hand raised", False, (0.4, 0.8, 1.2)),
    Item("right_hand_height", 1, "right hand raised", False, (0.4, 0.8, 1.2)),
)
TRUNK: tuple[Item, ...] = (
    *_both("lean_deg", "leaning forward", "leaning back", (5.0, 10.0, 18.0)),
    *_both("sway_deg", "leaning right", "leaning left", (6.0, 11.0, 18.0)),
    *_both("slump", "slumping", "sitting up", (0.08, 0.16, 0.3)),
    *_both("shoulder_tilt_deg", "right shoulder lowered", "left shoulder lowered", (6.0, 11.0, 18.0)),
)
ITEMS = UNITS + HEAD + HANDS + TRUNK


def act(done: Act) -> str:
    """An act as it stands in a sentence: "brows lowered clearly and briefly in the middle"."""
    brief = " and briefly" if done.brief else ""
    return f"{done.phrase} {STRENGTHS[done.strength]}{brief} {TIMES[done.time]}"


def flash(phrase: str, time: int) -> str:
    """A micro-expression: "a flash of brows lowered late"."""
    return f"a flash of {phrase} {TIMES[time]}"


def count(number: int, noun: str) -> str:
    """A number of events: "no blinks", "one blink", "two blinks", "several blinks"."""
    return f"{COUNTS[min(number, 3)]} {noun}{'' if number == 1 else 's'}"


def movement(place: int) -> str:
    """Movement energy by its place among train's quantiles (0 to 4)."""
    return f"{('little', 'little', 'some', 'much', 'much')[place]} movement"


def hand(side: str, state: str, time: int) -> str:
    """What a hand did (side: left, right, both; state: of HAND_STATES): "left hand at the face late"."""
    return f"{side} hand{'s' if side == 'both' else ''} {state} {TIMES[time]}"


def hands_movement(place: int) -> str:
    """How much hands moved, by its place among train's quantiles (0 to 4)."""
    return f"{movement(place)} of the hands"


def sentence(slot: str, acts: Sequence[Act], events: Sequence[str], others: Sequence[str]) -> str:
    """Acts strongest first, then events (flashes, nods), then everything else, as one sentence."""
    first = ", ".join(act(a) for a in acts) or ("" if events else NOTHING[slot])
    text = "; ".join(piece for piece in (first, *events, *others) if piece)
    return f"{text[0].upper()}{text[1:]}."


def voice_sentence(places: Mapping[str, int]) -> str:
    """The voice's measures as classes (0 to 4); what is missing is skipped (SpeechCueLLM)."""
    pairs = (("volume", "volume_db", "volume_variation_db"), ("pitch", "pitch_st", "pitch_variation_st"))
    parts = []
    for noun, measure, variation in pairs:
        level = f" {CLASSES[places[measure]]}" if measure in places else ""
        varies = f" with {CLASSES[places[variation]]} variation" if variation in places else ""
        parts += [noun + level + varies] if level or varies else []
    if "rate_hz" in places:
        parts.append(f"speaking rate {CLASSES[places['rate_hz']]}")
    text = ", ".join(parts)
    return f"{text[0].upper()}{text[1:]}." if text else NO_VOICE


_ACT = re.compile(rf"(.+) ({'|'.join(STRENGTHS)})( and briefly)? ({'|'.join(TIMES)})")
_FLASH = re.compile(rf"a flash of (.+) ({'|'.join(TIMES)})")
_HAND = re.compile(rf"((?:left|right) hand|both hands) ({'|'.join(HAND_STATES)}) ({'|'.join(TIMES)})")
_VOICE = re.compile(r"(volume|pitch|speaking rate)(?: ((?:very )?(?:low|high)|moderate))?(?: with (.+) variation)?")


def statements(description: Description) -> set[tuple[str, ...]]:
    """What the sentences say, as tuples that can be counted: (slot, what, strength, time), (slot, "flash", what, time),
    (slot, hand, state, time), (slot, measure, class), and (slot, piece) for every other piece. Any text is taken, also a
    model's own."""
    found: set[tuple[str, ...]] = set()
    for slot in SLOTS:
        text = getattr(description, slot).strip().removesuffix(".")
        pieces = [piece.strip() for part in text.split(";") for piece in part.split(",") if piece.strip()]
        found |= {said for piece in pieces for said in _statements(slot, piece[0].lower() + piece[1:])}
    return found


def _statements(slot: str, piece: str) -> set[tuple[str, ...]]:
    flashed, done, said = _FLASH.fullmatch(piece), _ACT.fullmatch(piece), _VOICE.fullmatch(piece)
    if flashed:
        return {(slot, "flash", flashed[1], flashed[2])}
    if done:
        return {(slot, done[1], done[2], done[4])}
    held = _HAND.fullmatch(piece)
    if held:
        return {(slot, held[1], held[2], held[3])}
    if slot == "voice" and said:
        level = {(slot, said[1], said[2])} if said[2] else set()
        return level | ({(slot, f"{said[1]} variation", said[3])} if said[3] else set())
    return {(slot, piece)}
