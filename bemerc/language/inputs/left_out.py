"""Prompts with one part of what the model reads left out: the questions behind the ledger (predict/ledger.py).

A part is left out as training knows absence. Where nothing is left of a modality's tokens they are masked, and the model
reads its learned embedding of a token without measurement, as in clips without a face and in token dropout. Where other
columns stay, those of the part read as train's mean, as an unmeasured column beside measured ones does. A past turn is
left out with its line, and with the behavior in it. Face, body and voice are the three modalities of the utterance in
question, wherever its behavior stands: head and gaze, which variants count as body language, are measured on the face.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from bemerc.corpus.manifest import Modality
from bemerc.language.inputs.prompts import Placeholder, Prompt, with_own_behavior

EXPLANATION, TURN = "explanation", "turn:"
# The modalities as prompts call them, and groups of their columns by the signal that a column is of; of FACS's units by where
# they are seen. Posture is the trunk's, as in descriptions and variants.
NAMES: Mapping[str, Modality] = {"face": "face", "body": "pose", "posture": "pose", "voice": "audio"}
GROUPS: Mapping[str, re.Pattern[str]] = {
    "face:brows": re.compile(r"AU0[124]_r"),
    "face:eyes": re.compile(r"AU(0[567]|45)_r"),
    "face:nose": re.compile(r"AU09_r"),
    "face:mouth": re.compile(r"AU(1\d|2[0-8])_r"),
    "face:head": re.compile(r"pose_(pitch|yaw|roll)_deg"),
    "face:gaze": re.compile(r"gaze_[xy]_deg"),
    "posture": re.compile(r"(lean|sway|shoulder_tilt)_deg|slump|shoulders_(dx|dy|width)"),
    "body:hands": re.compile(r"(left|right)_hand_\w+|hands_movement"),
    "body:movement": re.compile(r"movement"),
    "voice:pitch": re.compile(r"pitch_st|voicing|voice_pitch\w*"),
    "voice:loudness": re.compile(r"energy_db|voice_volume\w*"),
    "voice:rate": re.compile(r"voice_rate_hz"),
    "voice:timbre": re.compile(r"spectral_\w+|zero_crossing_rate|band_\d"),
    "voice:egemaps": re.compile(r"egemaps_.+"),
    "voice:encoder": re.compile(r"\w+_\d{4}"),
}


@dataclass(frozen=True)
class Choice:
    """Which parts are left out, one at a time, beside the cues and the explanation.

    groups  groups of a cue's columns, too
    turns   how many of the latest past turns
    """

    groups: bool = False
    turns: int = 0


@dataclass(frozen=True)
class Cue:
    """A modality's tokens, or a group of their columns: ``columns``, empty where it is the whole tokens."""

    name: str
    modality: Modality
    columns: tuple[str, ...]


def cues(read: Mapping[Modality, Sequence[str]], groups: bool) -> tuple[Cue, ...]:
    """The cues, and their groups, of which a model that reads these token columns reads any."""
    whole = [Cue(name, m, ()) for m in read for name, of in NAMES.items() if of == m and name not in GROUPS]
    if not groups:
        return tuple(whole)
    parts = []
    for name, group in GROUPS.items():
        modality = NAMES[name.split(":")[0]]
        columns = tuple(c for c in read.get(modality, ()) if group.fullmatch(c.split(".")[0]))
        if 0 < len(columns) < len(read.get(modality, ())):
            parts.append(Cue(name, modality, columns))
    return (*whole, *parts)


def whole_of(part: str) -> str | None:
    """The cue that a group of columns is of: face:brows -> face, posture -> body. None for whatever is no group."""
    if part not in GROUPS:
        return None
    modality = NAMES[part.split(":")[0]]
    return next(name for name, of in NAMES.items() if of == modality and name not in GROUPS)


def without_cue(prompt: Prompt, cue: Cue) -> Prompt:
    """The same question with the cue of its utterance not measured, in the branch and in the utterance's own line."""

    def left(of: Placeholder) -> Placeholder:
        return replace(of, hidden=not cue.columns, without=cue.columns) if of.modality == cue.modality else of

    return with_own_behavior(prompt, left)


def without_turns(prompt: Prompt, turns: Sequence[str], most: int) -> Iterator[tuple[str, Prompt]]:
    """Part and question without it, for the ``most`` latest past turns, oldest first.

    turns  the utterances whose lines stand in the prompt's history, the last one its own
    """
    for at in range(max(0, len(turns) - 1 - most), len(turns) - 1):
        yield f"{TURN}{turns[at]}", replace(prompt, history=prompt.history[:at] + prompt.history[at + 1 :], splits=())


def branching(prompt: Prompt, others: Sequence[tuple[str, Prompt]]) -> tuple[Prompt, list[tuple[str, Prompt]]]:
    """The question, and others that differ from it in behavior, cut so that a tree holds once what they have in common.

    Those that part from it first come first: then each stands right behind the node that it parts from, and a walk along
    the tree's paths (tree_attention.py) computes both in one go.
    """
    first = {
        name: next((i for i, (a, b) in enumerate(zip(prompt.branch, other.branch, strict=True)) if a != b), None)
        for name, other in others
    }
    cuts = sorted({at for at in first.values() if at is not None})
    ordered = sorted(others, key=lambda pair: first[pair[0]] or 0)
    cut = [
        (name, replace(other, splits=tuple(at for at in cuts if at <= (first[name] or 0)))) for name, other in ordered
    ]
    return replace(prompt, splits=tuple(cuts)), cut
