"""The phrases that describe behavior, and ``statements``, which reads sentences back into what they state.

Sentences are built of few, regular pieces (what, how strongly, when), so that a small language model can learn them
and they can be scored, which free prose cannot. Units are named as by MER-Factory, reworded to what is visible; no
word names an emotion (a test checks that against a lexicon). Left and right are the person's own.
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
NO_SHOULDERS = "The shoulders were not both visible."
HARDLY_ANY = "Hardly any {} was visible."
TURNING = "The head kept turning, so that posture was not measured."
NO_VOICE = "No voice was heard."
NOTHING = {
    "facial_expression": "no facial movement stands out",
    "body_language": "no gesture stands out",
    "posture": "no change of posture stands out",
}
PARTLY_MISSING = "out of sight for a part"
PARTLY_TURNED = "turned aside for a part"
EYES_SHUT = "eyes shut or lowered"
LIDS = {"blink": "blink", "eyes shut": EYES_SHUT}  # an event's kind in words
HAND_STATES = ("at the face", "open", "closed")
NO_HANDS = "no hands in sight"
TOO_SHORT = "The clip is too short to describe the {}."


@dataclass(frozen=True)
class Act:
    """An act in words: its phrase, strength (index in STRENGTHS), time (index in TIMES), and whether it was brief."""

    phrase: str
    strength: int
    time: int
    brief: bool = False


def _unit(number: int, phrase: str, trust: float) -> Item:
    # 0.8 of 5 is MER-Factory's threshold; 1.6 and 2.6 are ours.
    return Item(f"AU{number:02d}_r", 1, phrase, True, (0.8, 1.6, 2.6), trust)


def _both(column: str, rising: str, falling: str, least: tuple[float, float, float]) -> tuple[Item, Item]:
    return Item(column, 1, rising, False, least), Item(column, -1, falling, False, least)


# The last number is how far a unit is to be trusted on real people (docs/measurements/action_units.md, descriptions.md).
UNITS: tuple[Item, ...] = (
    _unit(1, "inner brows raised", 0.5),
    _unit(2, "outer brows raised", 0.6),
    _unit(4, "brows lowered", 0.7),
    _unit(5, "upper lids raised", 0.3),
    _unit(6, "cheeks raised", 0.8),
    _unit(7, "lids tightened", 0.2),
    _unit(9, "nose wrinkled", 0.2),
    _unit(10, "upper lip raised", 0.6),
    _unit(12, "lip corners pulled up", 1.0),
    _unit(14, "cheeks dimpled", 0.6),
    _unit(15, "lip corners pulled down", 0.5),
    _unit(17, "chin raised", 0.3),
    _unit(20, "lips stretched", 0.3),
    _unit(23, "lips tightened", 0.3),
    _unit(25, "lips parted", 0.9),
    _unit(26, "jaw dropped", 0.6),
    _unit(28, "lips sucked in", 0.2),
)
# Two units that move together have one phrase, and the first one's strength and time.
JOINED = {("AU12_r", "AU06_r"): "smiling", ("AU01_r", "AU02_r"): "brows raised"}
# A unit -> the one beside which nobody can see it: a smile folds the lips' corners itself.
HIDDEN = {"AU14_r": "AU12_r"}
# Columns grow to the picture's right, which is the person's left.
HEAD: tuple[Item, ...] = (
    *_both("pose_yaw_deg", "head turned left", "head turned right", (5.0, 10.0, 20.0)),
    *_both("pose_pitch_deg", "head lowered", "head raised", (5.0, 10.0, 18.0)),
    *_both("pose_roll_deg", "head tilted left", "head tilted right", (4.0, 8.0, 16.0)),
    *_both("gaze_x_deg", "gaze to the left", "gaze to the right", (10.0, 18.0, 27.0)),
    *_both("gaze_y_deg", "gaze lowered", "gaze raised", (10.0, 18.0, 27.0)),
)
OSCILLATIONS = {"pose_pitch_deg": "nod", "pose_yaw_deg": "head shake"}
HANDS: tuple[Item, ...] = (
    Item("left_hand_height", 1, "left hand raised", False, (0.4, 0.8, 1.2)),
    Item("right_hand_height", 1, "right hand raised", False, (0.4, 0.8, 1.2)),
)
TRUNK: tuple[Item, ...] = (
    *_both("lean_deg", "leaning forward", "leaning back", (5.0, 10.0, 18.0)),
    *_both("sway_deg", "leaning left", "leaning right", (6.0, 11.0, 18.0)),
    *_both("slump", "slumping", "sitting up", (0.08, 0.16, 0.3)),
    *_both("shoulder_tilt_deg", "left shoulder lowered", "right shoulder lowered", (6.0, 11.0, 18.0)),
)
ITEMS = UNITS + HEAD + HANDS + TRUNK


def act(one: Act) -> str:
    """An act as it stands in a sentence: "brows lowered clearly and briefly in the middle"."""
    brief = " and briefly" if one.brief else ""
    return f"{one.phrase} {STRENGTHS[one.strength]}{brief} {TIMES[one.time]}"


def brief_act(phrase: str, time: int) -> str:
    """A micro-expression: "a flash of brows lowered late"."""
    return f"a flash of {phrase} {TIMES[time]}"


def count(number: int, noun: str) -> str:
    """A number of events: "no blinks", "one blink", "two blinks", "several blinks"."""
    return f"{COUNTS[min(number, 3)]} {noun}{'' if number == 1 else 's'}"


def movement(level: int) -> str:
    """Movement energy by its class among train's quantiles (0 to 4)."""
    return f"{('little', 'little', 'some', 'much', 'much')[level]} movement"


def hand(side: str, state: str, time: int) -> str:
    """A hand's state (side: left, right, both; state: of HAND_STATES): "left hand at the face late"."""
    return f"{side} hand{'s' if side == 'both' else ''} {state} {TIMES[time]}"


def hands_movement(level: int) -> str:
    """Movement of the hands by its class among train's quantiles (0 to 4)."""
    return f"{movement(level)} of the hands"


def sentence(slot: str, acts: Sequence[Act], events: Sequence[str], others: Sequence[str]) -> str:
    """Acts, strongest first, then events (micro-expressions, nods), then everything else, as one sentence."""
    first = ", ".join(act(a) for a in acts) or ("" if events else NOTHING[slot])
    text = "; ".join(piece for piece in (first, *events, *others) if piece)
    return f"{text[0].upper()}{text[1:]}."


def voice_sentence(levels: Mapping[str, int]) -> str:
    """The sentence of the voice's measures as classes (0 to 4), as in SpeechCueLLM; missing ones are left out."""
    pairs = (("volume", "volume_db", "volume_variation_db"), ("pitch", "pitch_st", "pitch_variation_st"))
    parts = []
    for noun, measure, variation in pairs:
        level = f" {CLASSES[levels[measure]]}" if measure in levels else ""
        varies = f" with {CLASSES[levels[variation]]} variation" if variation in levels else ""
        parts += [noun + level + varies] if level or varies else []
    if "rate_hz" in levels:
        parts.append(f"speaking rate {CLASSES[levels['rate_hz']]}")
    text = ", ".join(parts)
    return f"{text[0].upper()}{text[1:]}." if text else NO_VOICE


_ACT = re.compile(rf"(.+) ({'|'.join(STRENGTHS)})( and briefly)? ({'|'.join(TIMES)})")
_BRIEF_ACT = re.compile(rf"a flash of (.+) ({'|'.join(TIMES)})")
_HAND = re.compile(rf"((?:left|right) hand|both hands) ({'|'.join(HAND_STATES)}) ({'|'.join(TIMES)})")
_VOICE = re.compile(r"(volume|pitch|speaking rate)(?: ((?:very )?(?:low|high)|moderate))?(?: with (.+) variation)?")


def statements(description: Description) -> set[tuple[str, ...]]:
    """What the sentences state, as tuples that can be counted. Any text is accepted, also a model's own.

    The tuples are (slot, what, strength, time), (slot, "flash", what, time), (slot, hand, state, time), (slot,
    measure, class), and (slot, piece) for every other piece.
    """
    result: set[tuple[str, ...]] = set()
    for slot in SLOTS:
        text = getattr(description, slot).strip().removesuffix(".")
        pieces = [piece.strip() for part in text.split(";") for piece in part.split(",") if piece.strip()]
        result |= {one for piece in pieces for one in _statements(slot, piece[0].lower() + piece[1:])}
    return result


def _statements(slot: str, piece: str) -> set[tuple[str, ...]]:
    if match := _BRIEF_ACT.fullmatch(piece):
        return {(slot, "flash", match[1], match[2])}
    if match := _ACT.fullmatch(piece):
        return {(slot, match[1], match[2], match[4])}
    if match := _HAND.fullmatch(piece):
        return {(slot, match[1], match[2], match[3])}
    if slot == "voice" and (match := _VOICE.fullmatch(piece)):
        level = {(slot, match[1], match[2])} if match[2] else set()
        return level | ({(slot, f"{match[1]} variation", match[3])} if match[3] else set())
    return {(slot, piece)}
