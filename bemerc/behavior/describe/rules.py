"""Frames -> four sentences about an utterance: facial expression, body language, posture, voice.

The plain choice asks a vision-language model, which names emotions where it should name movements, and costs a GPU.
These are rules over columns by name (acts.py): which units, how strongly, when, how long, flashes, blinks, nods; the voice by
train's quantiles. What is strong is judged against train (references.py) and against the speaker's earlier turns, never
against later ones. The same sentences serve as pseudo-labels of align and as text for people. BeMERC's four-way split
of behavior is the paper's; the rules are ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bemerc.behavior.describe import acts, gestures, micro_expressions, phrases, references
from bemerc.behavior.describe.acts import Clip, Levels
from bemerc.behavior.describe.description import SLOTS, write_lines
from bemerc.behavior.describe.description import Description as Description
from bemerc.behavior.describe.description import read_descriptions as read_descriptions
from bemerc.behavior.describe.description import write_descriptions as write_descriptions
from bemerc.behavior.describe.phrases import statements as statements
from bemerc.behavior.describe.references import GENERAL, Item, Measures
from bemerc.behavior.describe.references import References as References
from bemerc.behavior.signals import events, voice
from bemerc.behavior.tokens.calibration import earlier_turns
from bemerc.cache import NO_TRACK, Features, FrameCache, Kind, open_cache, same_person
from bemerc.core.errors import CacheError
from bemerc.core.progress import bar
from bemerc.corpus import provenance
from bemerc.corpus.manifest import MODALITIES, Manifest, Modality, Utterance

SEEN = 0.8  # below this share of frames the sentence says that something was out of sight
MIN_FRAMES = 3
FLASHES = 2  # named at most
EVENTS = "events.jsonl"
NOT_LOOKED_FOR = "It was not looked for: there is no such cache."
Reasons = Mapping[Modality, str]


@dataclass(frozen=True)
class Params:
    """params.yaml: describe.

    items    how many acts a sentence names at most, strongest first
    min_s    clips shorter than this are not described (SpeechCueLLM: 0.5)
    source   whose descriptions align learns to say: rules | teacher
    teacher  a vision-language model, by name or folder, that describes every clip too (teacher.py); None: nobody
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


def run(
    manifest: Manifest,
    cache_paths: Mapping[Kind, Path | None],
    out: Path,
    params: Params,
    known: References | None = None,
) -> References:
    """Caches -> descriptions of every utterance in ``out``, and events.jsonl beside it; returns the references used.

    known  train's references, of a model folder; None: they are fitted on the manifest's train utterances, and where it has
           none, general ones stand in
    """
    with ExitStack() as stack:
        paths: dict[Modality, Path | None] = {m: cache_paths.get(m) for m in MODALITIES}  # speech says nothing in words
        caches = {m: stack.enter_context(open_cache(path, m)) for m, path in paths.items() if path is not None}
        usual = known or fit(manifest, caches)
        earlier, levels, described = earlier_turns(manifest), dict[str, Levels](), dict[str, Description]()
        with bar("descriptions", len(manifest.utterances), "utterances") as advance:
            for utterance in _in_turn(manifest):
                clip, reasons = read_clip(caches, utterance.id)
                levels[utterance.id] = acts.levels(clip)
                before = [levels[u.id] for u in earlier[utterance.id]]
                described[utterance.id] = describe(clip, usual, before, params, reasons)
                advance(1)
        clips = ((u.id, read_clip(caches, u.id)[0]) for u in sorted(manifest.utterances, key=lambda u: u.id))
        spotted = [
            micro_expressions.to_line(key, clip["face"], _covered(clip)) for key, clip in clips if "face" in clip
        ]
    write_descriptions(out, described)
    write_lines(out.with_name(EVENTS), spotted)
    return usual


def fit(manifest: Manifest, caches: Mapping[Modality, FrameCache]) -> References:
    """Train's references; dev and test are not looked at. GENERAL where there is no train utterance."""
    train = [u for u in _in_turn(manifest) if u.split == "train"]
    if not train:
        return GENERAL
    levels = {u.id: acts.levels(read_clip(caches, u.id)[0]) for u in train}
    rest = references.fit_rest((u.speaker, levels[u.id]) for u in train)
    earlier = earlier_turns(manifest)
    reached, measured = [], []
    with bar("references", len(train), "utterances") as advance:
        for utterance in train:
            clip, before = read_clip(caches, utterance.id)[0], [levels[u.id] for u in earlier[utterance.id]]
            reached.append(acts.reached(clip, acts.rests(levels[utterance.id], before, References(rest, {}, {}))))
            measured.append(measures(clip))
            advance(1)
    reaches = references.fit_reaches(phrases.ITEMS, reached)
    return References(rest, reaches, references.fit_quantiles(measured), provenance.fitted(manifest))


def _in_turn(manifest: Manifest) -> list[Utterance]:
    return [u for dialogue in manifest.dialogues() for u in dialogue.utterances]


def read_clip(caches: Mapping[Modality, FrameCache], key: str) -> tuple[Clip, Reasons]:
    """What the caches hold of one utterance, without others' bodies; and of each modality that is left out of it, why.

    A clip without such a track has frames, none; one that failed, or whose rows are damaged, has not been measured.
    """
    clip: dict[Modality, Features] = {}
    reasons: dict[Modality, str] = {}
    for modality in MODALITIES:
        try:
            reasons[modality] = _unmeasured(caches.get(modality), key)
            if not reasons[modality]:
                clip[modality] = same_person.read(caches, modality, key)
        except CacheError as error:  # one damaged clip costs itself alone
            reasons[modality] = str(error)
    return clip, {modality: reason for modality, reason in reasons.items() if reason}


def _unmeasured(cache: FrameCache | None, key: str) -> str:
    """Why a cache knows nothing of an utterance; empty where it knows."""
    if cache is None:
        return NOT_LOOKED_FOR
    if key not in cache:
        return "The cache does not have it."
    failure = cache.failures.get(key, "")
    if failure:
        return "" if failure in NO_TRACK else failure
    return "" if cache.frames(key) else "No frame of it could be measured."


# ------------------------------------------------------------------------------------------------------------ one clip


def describe(
    clip: Clip,
    usual: References = GENERAL,
    earlier: Sequence[Levels] = (),
    params: Params = Params(),
    reasons: Reasons = MappingProxyType({}),
) -> Description:
    """One clip's frames -> its description. What is not in the clip was not measured, and nothing is said of it.

    earlier  acts.levels of the speaker's earlier turns in this dialogue, in any number
    reasons  why a modality is not in the clip
    """
    at_rest = acts.rests(acts.levels(clip), earlier, usual)
    face, pose, audio = (clip.get(m) for m in MODALITIES)
    said = {
        "facial_expression": _face(face, _covered(clip), at_rest, usual, params),
        "body_language": _body(face, pose, at_rest, usual, params),
        "posture": _posture(pose, at_rest, usual, params),
        "voice": _voice(audio, usual, params),
    }
    why = {m: reasons.get(m, NOT_LOOKED_FOR) for m in MODALITIES if m not in clip}
    needed: dict[str, Modality] = dict(zip(SLOTS, ("face", "pose", "pose", "audio"), strict=True))
    return Description(**said, reasons={slot: why[needed[slot]] for slot, text in said.items() if not text})


def measures(clip: Clip) -> Measures:
    """The clip's measures that are judged by quantiles: the voice's five, movement, and the hands' where they are measured."""
    found: dict[str, float] = {}
    audio, pose = clip.get("audio"), clip.get("pose")
    if audio is not None and {"pitch_hz", "energy_db"} <= set(audio.columns):
        found |= asdict(_measured_voice(audio))
    if pose is not None and "movement" in pose.columns:
        moved = micro_expressions.series_of(pose, "movement")
        found["movement"] = float(moved[np.isfinite(moved)].mean()) if np.isfinite(moved).any() else float("nan")
    if pose is not None and gestures.measured(pose):
        found["hands_movement"] = gestures.movement(pose)
    return found


def _measured_voice(audio: Features) -> voice.Voice:
    if not len(audio.values):
        return voice.UNHEARD
    return voice.measure(
        micro_expressions.series_of(audio, "pitch_hz"),
        micro_expressions.series_of(audio, "energy_db"),
        events.frame_s(audio.timestamps_s),
    )


def _covered(clip: Clip) -> NDArray[np.bool_] | None:
    return gestures.covered(clip["face"], clip.get("pose")) if "face" in clip else None


def _face(
    face: Features | None, covered: NDArray[np.bool_] | None, at_rest: Measures, usual: References, params: Params
) -> str:
    if face is None:
        return ""
    problem = _problem(face, phrases.UNITS, "face", phrases.NO_FACE, params)
    if problem:
        return problem
    done, flashes = acts.done(face, phrases.UNITS, at_rest, usual), acts.flashes(face, covered)
    named = [d.act for d in done if not any(flash.is_all_of(d) for flash in flashes)]
    flashed = [phrases.flash(f.item.phrase, f.time) for f in flashes if not any(f.is_part_of(d) for d in done)]
    blinked = [phrases.count(len(micro_expressions.blinks(face)), "blink")] if "AU45_r" in face.columns else []
    others = blinked + _out_of_sight(face, phrases.UNITS)
    return phrases.sentence("facial_expression", named[: params.items], flashed[:FLASHES], others)


def _body(face: Features | None, pose: Features | None, at_rest: Measures, usual: References, params: Params) -> str:
    """What head, eyes and hands did; the head belongs to the face's frames, the hands to the body's. Without a pose nobody
    knows whether a body was there."""
    no_head = _problem(face, phrases.HEAD, "body", phrases.NO_BODY, params)
    no_body = _problem(pose, phrases.HANDS + phrases.TRUNK, "body", phrases.NO_BODY, params)
    hands = _hands(pose, usual, params)
    if no_head and no_body and not (hands and hands[0]):
        said = no_body if no_head == phrases.NO_BODY else no_head
        return "" if pose is None and said == phrases.NO_BODY else said
    done, swung, moved = [], list[str](), list[str]()
    if face is not None and not no_head:
        done += acts.done(face, phrases.HEAD, at_rest, usual)
        times = {"nod": acts.swings(face, "pose_pitch_deg"), "head shake": acts.swings(face, "pose_yaw_deg")}
        swung = [phrases.count(number, noun) for noun, number in times.items() if number]
    if pose is not None and not no_body:
        done += acts.done(pose, phrases.HANDS, at_rest, usual)
        place = _place(measures({"pose": pose}).get("movement"), usual, "movement")
        moved = [] if place is None else [phrases.movement(place)]
    if hands:
        swung, moved = hands[0] + swung, moved + hands[1]
    return phrases.sentence("body_language", [d.act for d in done[: params.items]], swung, moved)


def _hands(pose: Features | None, usual: References, params: Params) -> tuple[list[str], list[str]] | None:
    """What hands did, and how much they moved; None where they were not looked for. They may be in sight where the
    body's keypoints are not."""
    if pose is None or not gestures.measured(pose) or acts.duration_s(pose) < params.min_s:
        return None
    in_sight = gestures.seen(pose)
    if not in_sight.any():  # a wrist may still be: the pose model sees it where the hand model sees no hand
        return [], [] if acts.seen(pose, phrases.HANDS).any() else [phrases.NO_HANDS]
    did = gestures.told(pose, in_sight | acts.seen(pose, phrases.HANDS + phrases.TRUNK))
    speed = gestures.movement(pose)
    if not np.isfinite(speed):
        return did, []
    judged = _place(speed, usual, "hands_movement")
    return did, [phrases.hands_movement(gestures.place(speed) if judged is None else judged)]


def _posture(pose: Features | None, at_rest: Measures, usual: References, params: Params) -> str:
    if pose is None:
        return ""
    problem = _problem(pose, phrases.TRUNK, "posture", phrases.NO_BODY, params)
    if problem:
        return problem
    named = [d.act for d in acts.done(pose, phrases.TRUNK, at_rest, usual)]
    return phrases.sentence("posture", named[: params.items], [], _out_of_sight(pose, phrases.TRUNK))


def _voice(audio: Features | None, usual: References, params: Params) -> str:
    if audio is None:
        return ""
    if not len(audio.values):
        return phrases.NO_VOICE
    if acts.duration_s(audio) < params.min_s:
        return phrases.TOO_SHORT.format("voice")
    found = {name: _place(value, usual, name) for name, value in measures({"audio": audio}).items()}
    return phrases.voice_sentence({name: place for name, place in found.items() if place is not None})


def _problem(frames: Features | None, items: Sequence[Item], noun: str, absent: str, params: Params) -> str:
    """Why there is nothing to describe, as a sentence; empty where there is something."""
    if frames is None or acts.seen(frames, items).sum() == 0:
        return absent
    if acts.duration_s(frames) < params.min_s or acts.seen(frames, items).sum() < MIN_FRAMES:
        return phrases.TOO_SHORT.format(noun)
    return ""


def _out_of_sight(frames: Features, items: Sequence[Item]) -> list[str]:
    return [phrases.UNSEEN] if acts.seen(frames, items).mean() < SEEN else []


def _place(value: float | None, usual: References, name: str) -> int | None:
    """0 to 4 by the quantiles; None where there is no value or nothing to judge it by."""
    if value is None or not np.isfinite(value) or name not in usual.quantiles:
        return None
    return int(np.searchsorted(usual.quantiles[name], value, side="right"))
