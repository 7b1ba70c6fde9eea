"""Rules: the frames of one clip -> four sentences on facial expression, body language, posture and voice.

Which units moved, how strongly, when and how long, micro-expressions, blinks, nods (acts.py); the hands' states
(gestures.py); the voice by train's quantiles. Strength is judged against the train split (references.py) and the
speaker's earlier turns, never against later ones. The sentences are what stage 1 (align) learns to write, and text for
people. Unlike a
vision-language model the rules name movements and no emotions, and need no GPU. The split of behavior in four is
BeMERC's; the rules are ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np

from bemerc.behavior.describe import acts, eyes, gestures, phrases
from bemerc.behavior.describe.acts import Levels
from bemerc.behavior.describe.clip import Clip, ClipFeatures
from bemerc.behavior.describe.description import SLOTS, Description
from bemerc.behavior.describe.references import GENERAL, Item, Measures, References
from bemerc.behavior.describe.series import any_measured, duration_s, mean_of, sound_of
from bemerc.behavior.describe.speaking import settled
from bemerc.behavior.signals import voice
from bemerc.cache import VISIBLE, Features
from bemerc.corpus.manifest import MODALITIES, Modality

MOSTLY_MEASURED = 0.8  # below this share of frames the sentence says that something was out of sight
MIN_FRAMES = 3
NAN_WHILE_TURNED = ("lean_deg", "sway_deg", "slump")  # the columns of the trunk that depend on the apparent head
MAX_BRIEF_ACTS = 2
NOT_LOOKED_FOR = "It was not looked for: there is no such cache."
Reasons = Mapping[Modality, str]


@dataclass(frozen=True)
class Params:
    """params.yaml: describe.

    items    how many acts a sentence names at most, what is certain and strong first
    min_s    clips shorter than this are not described (SpeechCueLLM: 0.5)
    source   the descriptions that align is trained on: rules | teacher
    teacher  a vision-language model, by name or folder, that describes every clip too (language/teacher); None: none
    """

    items: int = 4
    min_s: float = 0.5
    source: Literal["rules", "teacher"] = "rules"
    teacher: str | None = None

    def check(self) -> list[str]:
        faults = [] if self.items >= 1 else [f"items: must be at least 1, not {self.items}."]
        if self.source == "teacher" and self.teacher is None:
            faults.append("source: 'teacher', but describe.teacher names no model.")
        return faults + ([] if self.min_s >= 0 else [f"min_s: must not be negative, not {self.min_s}."])


def describe(
    clip: ClipFeatures,
    references: References = GENERAL,
    earlier: Sequence[Levels] = (),
    params: Params = Params(),
    reasons: Reasons = MappingProxyType({}),
) -> Description:
    """One clip's frames -> its description; the slot of a modality that is not in the clip is empty.

    earlier  acts.levels of the speaker's earlier turns in this dialogue
    reasons  why a modality is not in the clip
    """
    clip = Clip.of(clip)
    at_rest = acts.rests(acts.levels(clip), earlier, references)
    face, pose, audio = (settled(clip).get(m) for m in MODALITIES)
    sentences = {
        "facial_expression": _face(clip, at_rest, references, params),
        "body_language": _body(face, pose, at_rest, references, params),
        "posture": _posture(pose, at_rest, references, params),
        "voice": _voice(audio, references, params),
    }
    why = {m: reasons.get(m, NOT_LOOKED_FOR) for m in MODALITIES if m not in clip}
    needed: dict[str, Modality] = dict(zip(SLOTS, ("face", "pose", "pose", "audio"), strict=True))
    missing = {slot: why[needed[slot]] for slot, text in sentences.items() if not text}
    return Description(**sentences, reasons=missing)


def measures(clip: ClipFeatures) -> Measures:
    """The measures that are judged by quantiles: the voice's five, the body's movement and the hands'."""
    result: dict[str, float] = {}
    audio, pose = clip.get("audio"), clip.get("pose")
    if audio is not None and (sound := sound_of(audio)) is not None:
        result |= asdict(voice.measure(sound))
    if pose is not None and "movement" in pose.columns:
        result["movement"] = mean_of(pose, "movement")
    if pose is not None and gestures.has_hands(pose):
        result["hands_movement"] = gestures.movement(pose)
    return result


def _face(clip: ClipFeatures, at_rest: Measures, references: References, params: Params) -> str:
    face = clip.get("face")
    if face is None:
        return ""
    problem = _problem(face, phrases.UNITS, "face", phrases.NO_FACE, params)
    if problem:
        return problem
    lasting_face = settled(clip)["face"]
    detected, brief = acts.join(acts.detect(lasting_face, phrases.UNITS, at_rest, references)), acts.brief_acts(clip)
    lasting = [one.act for one in detected if not any(short.is_all_of(one) for short in brief)]
    separate = [short for short in brief if not any(short.is_part_of(one) for one in detected)]
    brief_phrases = [phrases.brief_act(short.item.phrase, short.time) for short in separate]
    others = _lids(face) + _partly_missing(face, phrases.UNITS)
    return phrases.sentence("facial_expression", lasting[: params.items], brief_phrases[:MAX_BRIEF_ACTS], others)


def _lids(face: Features) -> list[str]:
    """Phrases on blinks, and on eyes that are shut or lowered, beside which "no blinks" is left out."""
    if eyes.CLOSURE not in face.columns:
        return []
    blinking, part = len(eyes.blinks(face)), eyes.shut_share(face)
    down = [phrases.EYES_SHUT + (" throughout" if part >= acts.THROUGHOUT else " for a part")] if part else []
    return ([phrases.count(blinking, "blink")] if blinking or not down else []) + down


def _body(
    face: Features | None, pose: Features | None, at_rest: Measures, references: References, params: Params
) -> str:
    """The sentence on head, eyes (of the face's frames) and hands (of the body's)."""
    no_head = _problem(face, phrases.HEAD, "body", phrases.NO_BODY, params)
    no_body = _problem(pose, phrases.HANDS + phrases.TRUNK, "body", _no_body(pose), params)
    hands = _hands(pose, references, params)
    if no_head and no_body and not (hands and hands[0]):
        problem = no_body if no_head == phrases.NO_BODY else no_head
        # Without a pose cache nothing says that there was no body.
        return "" if pose is None and problem == phrases.NO_BODY else problem
    detected, gesturing, moving = [], list[str](), list[str]()
    if face is not None and not no_head:
        detected += acts.detect(face, phrases.HEAD, at_rest, references)
        counts = {
            noun: max((one.count for one in acts.oscillations(face, column)), default=0)
            for column, noun in phrases.OSCILLATIONS.items()
        }
        gesturing = [phrases.count(number, noun) for noun, number in counts.items() if number]
    if pose is not None and not no_body:
        detected += acts.detect(pose, phrases.HANDS, at_rest, references)
        level = _class_of(measures({"pose": pose}).get("movement"), references, "movement")
        moving = [] if level is None else [phrases.movement(level)]
    if hands:
        gesturing, moving = hands[0] + gesturing, moving + hands[1]
    return phrases.sentence("body_language", [one.act for one in detected[: params.items]], gesturing, moving)


def _hands(pose: Features | None, references: References, params: Params) -> tuple[list[str], list[str]] | None:
    """Phrases on the states of the hands, and on how much they moved; None where hands were not measured.

    Hands may be visible where the body's keypoints are not.
    """
    if pose is None or not gestures.has_hands(pose) or duration_s(pose) < params.min_s:
        return None
    visible = gestures.visible(pose)
    if not visible.any():  # the pose model may see a wrist where the hand model sees no hand
        return [], [] if any_measured(pose, phrases.HANDS).any() else [phrases.NO_HANDS]
    states = gestures.describe_hands(pose, visible | any_measured(pose, phrases.HANDS + phrases.TRUNK))
    speed = gestures.movement(pose)
    if not np.isfinite(speed):
        return states, []
    level = _class_of(speed, references, "hands_movement")
    return states, [phrases.hands_movement(gestures.movement_class(speed) if level is None else level)]


def _posture(pose: Features | None, at_rest: Measures, references: References, params: Params) -> str:
    if pose is None:
        return ""
    problem = _problem(pose, phrases.TRUNK, "posture", _no_body(pose), params)
    if problem:
        return problem
    upright = [item for item in phrases.TRUNK if item.column in NAN_WHILE_TURNED]
    shoulders, straight = any_measured(pose, phrases.TRUNK), any_measured(pose, upright)
    if straight.sum() < MIN_FRAMES:
        return phrases.TURNING
    named = [one.act for one in acts.detect(pose, phrases.TRUNK, at_rest, references)]
    turned = [phrases.PARTLY_TURNED] if straight.sum() < MOSTLY_MEASURED * shoulders.sum() else []
    return phrases.sentence("posture", named[: params.items], [], _partly_missing(pose, phrases.TRUNK) + turned)


def _no_body(pose: Features | None) -> str:
    """What is said where nothing of the trunk was measured: a close-up shows a head."""
    if pose is None or "nose_visibility" not in pose.columns:
        return phrases.NO_BODY
    return phrases.NO_SHOULDERS if (pose.column("nose_visibility") >= VISIBLE).any() else phrases.NO_BODY


def _voice(audio: Features | None, references: References, params: Params) -> str:
    if audio is None:
        return ""
    if not len(audio.values):
        return phrases.NO_VOICE
    if duration_s(audio) < params.min_s:
        return phrases.TOO_SHORT.format("voice")
    levels = {name: _class_of(value, references, name) for name, value in measures({"audio": audio}).items()}
    return phrases.voice_sentence({name: level for name, level in levels.items() if level is not None})


def _problem(frames: Features | None, items: Sequence[Item], noun: str, missing: str, params: Params) -> str:
    """Why there is nothing to describe, as a sentence; empty where there is something."""
    there = 0 if frames is None else int(any_measured(frames, items).sum())
    if frames is None or there == 0:
        return missing
    if duration_s(frames) < params.min_s or len(frames.values) < MIN_FRAMES:
        return phrases.TOO_SHORT.format(noun)
    return phrases.HARDLY_ANY.format(noun if noun == "face" else "body") if there < MIN_FRAMES else ""


def _partly_missing(frames: Features, items: Sequence[Item]) -> list[str]:
    return [phrases.PARTLY_MISSING] if any_measured(frames, items).mean() < MOSTLY_MEASURED else []


def _class_of(value: float | None, references: References, name: str) -> int | None:
    """The class of a measure by train's quantiles, 0 to 4; None without a value or without quantiles."""
    if value is None or not np.isfinite(value) or name not in references.quantiles:
        return None
    return int(np.searchsorted(references.quantiles[name], value, side="right"))
