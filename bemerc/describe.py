"""Frames -> four sentences about an utterance: facial expression, body language, posture, voice.

The plain choice asks a vision-language model, which names emotions where it should name movements, and costs a GPU.
These are rules over columns by name: which units, how strongly, when, how long, flashes, blinks, nods; the voice by
train's quantiles. What is strong is judged against train (references.py) and against the speaker's earlier turns, never
against later ones. The same sentences serve as pseudo-labels of align and as text for people. BeMERC's four-way split
of behavior is the paper's; the rules are ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bemerc import events, phrases, references, voice
from bemerc.cache import Features, FrameCache, open_cache
from bemerc.calibration import earlier_turns
from bemerc.corpus import Manifest, Modality, Utterance
from bemerc.description import Description as Description
from bemerc.description import read_descriptions as read_descriptions
from bemerc.description import write_descriptions as write_descriptions
from bemerc.phrases import Act
from bemerc.phrases import slots as slots
from bemerc.progress import bar
from bemerc.references import GENERAL, Item, Level, Measures, References

Array = NDArray[np.float64]
Clip = Mapping[Modality, Features]
Levels = Mapping[str, Level]

THROUGHOUT = 0.75  # active for this share of what was seen
BRIEF_S = 0.4
SEEN = 0.8  # below this share of frames the sentence says that something was out of sight
MIN_FRAMES = 3
BLINK = 1.0
FLASH = 0.8
FLASHES = 2  # named at most
NOD_DEG, NOD_S = 2.5, 0.5  # each way of a nod or a shake is at least this far and takes at most this long
# Lids and lips move with every blink and every syllable; that is no micro-expression.
RESTLESS_UNITS = {"AU05_r", "AU07_r", "AU25_r", "AU26_r"}
# While the lids are shut, how high they are and where the eyes look is not to be seen.
UNDER_LIDS = {"AU05_r", "AU07_r", "gaze_x_deg", "gaze_y_deg"}


@dataclass(frozen=True)
class Params:
    """params.yaml: describe.

    items  how many acts a sentence names at most, strongest first
    min_s  clips shorter than this are not described (SpeechCueLLM: 0.5)
    """

    items: int = 4
    min_s: float = 0.5

    def check(self) -> list[str]:
        faults = [] if self.items >= 1 else [f"items: must be at least 1, not {self.items}."]
        return faults + ([] if self.min_s >= 0 else [f"min_s: must not be negative, not {self.min_s}."])


def run(
    manifest: Manifest,
    cache_paths: Mapping[Modality, Path | None],
    out: Path,
    params: Params,
    known: References | None = None,
) -> References:
    """Caches -> descriptions of every utterance in ``out``. Without references they are fitted on the manifest's train
    utterances; where there are none of these either, general ones stand in. Returns the references used."""
    with ExitStack() as stack:
        caches = {m: stack.enter_context(open_cache(p, m)) for m, p in cache_paths.items() if p is not None}
        usual = known or fit(manifest, caches)
        earlier, levels, described = earlier_turns(manifest), dict[str, Levels](), dict[str, Description]()
        with bar("descriptions", len(manifest.utterances), "utterances") as advance:
            for utterance in _in_turn(manifest):
                clip = read_clip(caches, utterance.id)
                levels[utterance.id] = clip_levels(clip)
                before = [levels[u.id] for u in earlier[utterance.id]]
                described[utterance.id] = describe(clip, usual, before, params)
                advance(1)
    write_descriptions(out, described)
    return usual


def fit(manifest: Manifest, caches: Mapping[Modality, FrameCache]) -> References:
    """Train's references; dev and test are not looked at. GENERAL where there is no train utterance."""
    train = [u for u in _in_turn(manifest) if u.split == "train"]
    if not train:
        return GENERAL
    levels = {u.id: clip_levels(read_clip(caches, u.id)) for u in train}
    usual = References(references.fit_rest((u.speaker, levels[u.id]) for u in train), {}, {})
    earlier = earlier_turns(manifest)
    reached, measured = [], []
    with bar("references", len(train), "utterances") as advance:
        for utterance in train:
            clip = read_clip(caches, utterance.id)
            rests = clip_rests(levels[utterance.id], [levels[u.id] for u in earlier[utterance.id]], usual)
            reached.append({i.key: references.reach(_away(s, i, rests)) for i, s in _items_of(clip)})
            measured.append(measures(clip))
            advance(1)
    return References(usual.rest, references.fit_reaches(phrases.ITEMS, reached), references.fit_quantiles(measured))


def _in_turn(manifest: Manifest) -> list[Utterance]:
    return [u for dialogue in manifest.dialogues() for u in dialogue.utterances]


def read_clip(caches: Mapping[Modality, FrameCache], key: str) -> Clip:
    """What the caches hold of one utterance; a modality that knows nothing of it is left out."""
    return {m: cache[key] for m, cache in caches.items() if key in cache}


# ------------------------------------------------------------------------------------------------------------ one clip


@dataclass(frozen=True)
class _Done:
    """An act, the item that did it, and the frames (T,) in which it was under way."""

    item: Item
    act: Act
    active: NDArray[np.bool_]


@dataclass(frozen=True)
class _Flashed:
    item: Item
    run: events.Run


def describe(
    clip: Clip, usual: References = GENERAL, earlier: Sequence[Levels] = (), params: Params = Params()
) -> Description:
    """One clip's frames -> its description.

    earlier  clip_levels of the speaker's earlier turns in this dialogue, in any number
    """
    rests = clip_rests(clip_levels(clip), earlier, usual)
    return Description(
        _face(clip.get("face"), rests, usual, params),
        _body(clip, rests, usual, params),
        _posture(clip.get("pose"), rests, usual, params),
        _voice(clip.get("audio"), usual, params),
    )


def clip_levels(clip: Clip) -> Levels:
    """Where each described column rests in this clip: what later turns of the speaker are judged against."""
    return {item.column: references.level(series, item.intensity) for item, series in _items_of(clip)}


def clip_rests(own: Levels, earlier: Sequence[Levels], usual: References) -> Measures:
    """Where each column is at rest in this clip, as far as the speaker's earlier turns and train lead one to expect."""
    return {
        column: references.rest(value, [e[column][1] for e in earlier if column in e], usual.rest.get(column))
        for column, value in own.items()
    }


def measures(clip: Clip) -> Measures:
    """The clip's measures that are judged by quantiles: the voice's five, and movement."""
    found: dict[str, float] = {}
    audio, pose = clip.get("audio"), clip.get("pose")
    if audio is not None and {"pitch_hz", "energy_db"} <= set(audio.columns):
        found |= asdict(_measured_voice(audio))
    if pose is not None and "movement" in pose.columns:
        moved = _series(pose, "movement")
        found["movement"] = float(moved[np.isfinite(moved)].mean()) if np.isfinite(moved).any() else float("nan")
    return found


def _face(face: Features | None, rests: Measures, usual: References, params: Params) -> str:
    told = _problem(face, phrases.UNITS, "face", phrases.NO_FACE, params)
    if told or face is None:
        return told
    found, flashed = _done(face, phrases.UNITS, rests, usual), _flashes(face, usual)
    acts = [d.act for d in found if not any(f.item == d.item and _is_all_of(f.run, d.active) for f in flashed)]
    others = [
        phrases.flash(f.item.phrase, _third(float(face.timestamps_s[f.run.apex]), face))
        for f in flashed
        if not any(f.item == d.item and d.active[f.run.apex] and not _is_all_of(f.run, d.active) for d in found)
    ]
    blinks = [phrases.count(len(_blinks(face)), "blink")] if "AU45_r" in face.columns else []
    return phrases.sentence(
        "facial_expression",
        acts[: params.items],
        others[:FLASHES] + blinks + _out_of_sight(face, phrases.UNITS),
    )


def _is_all_of(flash: events.Run, active: NDArray[np.bool_]) -> bool:
    """Whether an act was nothing but this flash: then it is told as a flash."""
    inside = active[max(0, flash.first - 2) : flash.last + 3].sum()
    return bool(active[flash.apex]) and int(inside) == int(active.sum())


def _body(clip: Clip, rests: Measures, usual: References, params: Params) -> str:
    face, pose = clip.get("face"), clip.get("pose")
    no_head = _problem(face, phrases.HEAD, "body", phrases.NO_BODY, params)
    no_body = _problem(pose, phrases.HANDS + phrases.TRUNK, "body", phrases.NO_BODY, params)
    if no_head and no_body:
        return no_head if face is not None and len(face.values) else no_body
    done = [] if no_head or face is None else _done(face, phrases.HEAD, rests, usual)
    others = [] if no_head or face is None else _nods(face)
    if not no_body and pose is not None:
        done += _done(pose, phrases.HANDS, rests, usual)
        place = _place(measures({"pose": pose}).get("movement"), usual, "movement")
        others += [] if place is None else [phrases.movement(place)]
    return phrases.sentence("body_language", [d.act for d in done[: params.items]], others)


def _posture(pose: Features | None, rests: Measures, usual: References, params: Params) -> str:
    told = _problem(pose, phrases.TRUNK, "posture", phrases.NO_BODY, params)
    if told or pose is None:
        return told
    acts = [d.act for d in _done(pose, phrases.TRUNK, rests, usual)]
    return phrases.sentence("posture", acts[: params.items], _out_of_sight(pose, phrases.TRUNK))


def _voice(audio: Features | None, usual: References, params: Params) -> str:
    if audio is None or not len(audio.values):
        return phrases.NO_VOICE
    if _duration_s(audio) < params.min_s:
        return phrases.TOO_SHORT.format("voice")
    found = {name: _place(value, usual, name) for name, value in measures({"audio": audio}).items()}
    return phrases.voice_sentence({name: place for name, place in found.items() if place is not None})


def _problem(frames: Features | None, items: Sequence[Item], noun: str, absent: str, params: Params) -> str:
    """Why there is nothing to describe, as a sentence; empty where there is something."""
    if frames is None or _seen(frames, items).sum() == 0:
        return absent
    if _duration_s(frames) < params.min_s or _seen(frames, items).sum() < MIN_FRAMES:
        return phrases.TOO_SHORT.format(noun)
    return ""


def _done(frames: Features, items: Sequence[Item], rests: Measures, usual: References) -> list[_Done]:
    """What was done, strongest first."""
    found: list[tuple[float, _Done]] = []
    for item in items:
        if item.column not in frames.columns:
            continue
        away = _away(_open_series(frames, item.column), item, rests)
        limits = _limits(item, usual)
        height = references.reach(away)
        if height >= limits[0]:
            smooth = events.smooth(away)
            active = smooth >= min(max(height / 2, limits[0]), height)
            strength = int(np.searchsorted(limits, height, side="right")) - 1
            found.append((height / limits[1], _Done(item, _act(item.phrase, strength, active, frames), active)))
    return [done for _, done in sorted(found, key=lambda pair: -pair[0])]


def _limits(item: Item, usual: References) -> tuple[float, float, float]:
    return usual.reaches.get(item.key, item.least)


def _act(phrase: str, strength: int, active: NDArray[np.bool_], frames: Features) -> Act:
    share = active.sum() / max(int(_seen(frames, phrases.ITEMS).sum()), 1)
    if share >= THROUGHOUT:
        return Act(phrase, strength, phrases.TIMES.index("throughout"))
    time = _third(float(frames.timestamps_s[active].mean()), frames)
    return Act(phrase, strength, time, brief=bool(active.sum() * _frame_s(frames) < BRIEF_S))


def _third(moment_s: float, frames: Features) -> int:
    start = float(frames.timestamps_s[0])
    return min(2, int(3 * (moment_s - start) / max(_duration_s(frames), 1e-9)))


def _flashes(face: Features, usual: References) -> list[_Flashed]:
    """Micro-expressions, the largest first; what comes with a blink is the blink's."""
    blinking = _blinks(face)
    found = [
        _Flashed(item, run)
        for item in phrases.UNITS
        if item.column in face.columns and item.column not in RESTLESS_UNITS
        for run in events.flashes(_series(face, item.column), _frame_s(face), max(FLASH, _limits(item, usual)[0]))
        if not any(b.first - 1 <= run.apex <= b.last + 1 for b in blinking)
    ]
    return sorted(found, key=lambda flashed: -flashed.run.height)


def _blinks(face: Features) -> list[events.Run]:
    return events.blinks(_series(face, "AU45_r"), _frame_s(face), BLINK) if "AU45_r" in face.columns else []


def _nods(face: Features) -> list[str]:
    """Nods and shakes of the head: quick ways to and fro."""
    told = []
    for column, noun in (("pose_pitch_deg", "nod"), ("pose_yaw_deg", "head shake")):
        if column in face.columns:
            longest = round(NOD_S / _frame_s(face))
            times = events.swings(events.smooth(_series(face, column)), NOD_DEG, longest)
            told += [phrases.count(times, noun)] if times else []
    return told


def _out_of_sight(frames: Features, items: Sequence[Item]) -> list[str]:
    return [phrases.UNSEEN] if _seen(frames, items).mean() < SEEN else []


def _seen(frames: Features, items: Sequence[Item]) -> NDArray[np.bool_]:
    """(T,) frames in which any column of ``items`` was measured."""
    columns = [frames.columns.index(i.column) for i in items if i.column in frames.columns]
    return np.asarray(np.isfinite(frames.values[:, columns]).any(axis=1))


def _items_of(clip: Clip) -> list[tuple[Item, Array]]:
    """Every item that a clip's columns can tell of, with its series."""
    return [
        (item, _open_series(frames, item.column))
        for frames in clip.values()
        for item in phrases.ITEMS
        if item.column in frames.columns and len(frames.values)
    ]


def _away(series: Array, item: Item, rests: Measures) -> Array:
    return item.sign * (series - rests[item.column])


def _place(value: float | None, usual: References, name: str) -> int | None:
    """0 to 4 by the quantiles; None where there is no value or nothing to judge it by."""
    if value is None or not np.isfinite(value) or name not in usual.quantiles:
        return None
    return int(np.searchsorted(usual.quantiles[name], value, side="right"))


def _measured_voice(audio: Features) -> voice.Voice:
    if not len(audio.values):
        return voice.UNHEARD
    return voice.measure(_series(audio, "pitch_hz"), _series(audio, "energy_db"), _frame_s(audio))


def _series(frames: Features, name: str) -> Array:
    series = frames.column(name).astype(np.float64)
    return np.where(np.isfinite(series), series, np.nan)


def _open_series(frames: Features, name: str) -> Array:
    """A series without the frames in which shut lids keep it from being seen."""
    series = _series(frames, name)
    if name in UNDER_LIDS:
        for blink in _blinks(frames):
            series[max(0, blink.first - 1) : blink.last + 2] = np.nan
    return series


def _frame_s(frames: Features) -> float:
    return float(np.median(np.diff(frames.timestamps_s))) if len(frames.timestamps_s) > 1 else 0.0


def _duration_s(frames: Features) -> float:
    stamps = frames.timestamps_s
    return float(stamps[-1] - stamps[0]) + _frame_s(frames) if len(stamps) else 0.0
