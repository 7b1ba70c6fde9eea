"""Utterance, Dialogue and Manifest; the manifest's file has one JSON line per utterance.

Later stages read nothing else of a corpus. A new corpus is a module in readers/, named in corpora.py and, with its
settings, in prepare.py (Params, READERS).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from bemerc.core import atomic
from bemerc.core.errors import CorpusError
from bemerc.core.jsonfile import JsonError, read_json_lines
from bemerc.core.objects import is_url
from bemerc.core.terminal import printable

Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = ("train", "dev", "test")
Modality = Literal["face", "pose", "audio"]
MODALITIES: tuple[Modality, ...] = ("face", "pose", "audio")

# Fields of Utterance with the emotion of one modality alone, where people labelled each; face stands for face and body.
SIDE_LABELS = ("label_text", "label_voice", "label_face")

# Fields of Utterance that a recording with participants.csv has; a manifest's line has only those that are there.
PARTICIPANTS = ("sound", "track", "listeners")
_EXTRAS = (*SIDE_LABELS, *PARTICIPANTS)
# Between an utterance's id and a listener's name; and what tokens and descriptions of the listener are called.
LISTENER_MARK = "#"
LISTENER = "listener"

# The speaker of turns without a name. They may be several people, so they are never calibrated on earlier turns.
NOBODY = ""


@dataclass(frozen=True)
class Utterance:
    """One turn of a dialogue.

    id       unique in the manifest; opens with corpus and split because MELD restarts its numbers in each split
    dialogue id of the dialogue, unique in the manifest; a dialogue lies in one split
    index    position in the dialogue, from 0, without gaps
    label    canonical name from the label set, None where unknown (such turns serve as history only)
    clip     path of the video or sound file, relative to the manifest's folder or absolute; None where there is none
    start_s, end_s  the part of ``clip`` that is this utterance, None = all of it
    crop     (left, top, right, bottom) as fractions of the frame, None = all of it
    label_text, label_voice, label_face  what the words, the voice, and face and body show, each on its own, where
             people labelled them so; a manifest's line has only those that are there
    sound    file with this speaker's own sound, a path as ``clip``; None = the clip's sound
    track    number, from 1, of the sound track that is this speaker's own; None = the one with a voice
    listeners  everybody else's name and crop, where they have parts of the picture of their own
    """

    id: str
    dialogue: str
    index: int
    speaker: str
    text: str
    label: str | None
    split: Split
    clip: str | None
    start_s: float | None = None
    end_s: float | None = None
    crop: tuple[float, float, float, float] | None = None
    label_text: str | None = None
    label_voice: str | None = None
    label_face: str | None = None
    sound: str | None = None
    track: int | None = None
    listeners: tuple[tuple[str, tuple[float, float, float, float]], ...] | None = None

    def all_labels(self) -> tuple[str, ...]:
        """The label and those of single modalities, as far as there are any."""
        every = (self.label, self.label_text, self.label_voice, self.label_face)
        return tuple(label for label in every if label is not None)


def listener_id(utterance: str) -> str:
    """The id of the tokens and descriptions of an utterance's listener."""
    return f"{utterance}{LISTENER_MARK}{LISTENER}"


@dataclass(frozen=True)
class Dialogue:
    """The utterances of a dialogue, in order."""

    id: str
    utterances: tuple[Utterance, ...]


@dataclass(frozen=True)
class Manifest:
    """All utterances of the corpora in use, sorted by id (of a folder of clips, in natural order), and their label
    set."""

    utterances: tuple[Utterance, ...]
    labels: tuple[str, ...]
    corpora: tuple[str, ...]
    folder: Path

    def dialogues(self) -> tuple[Dialogue, ...]:
        """Dialogues sorted by id, each with its turns in order."""
        turns: dict[str, list[Utterance]] = {}
        for utterance in self.utterances:
            turns.setdefault(utterance.dialogue, []).append(utterance)
        return tuple(Dialogue(key, tuple(sorted(turns[key], key=lambda u: u.index))) for key in sorted(turns))

    def by_split(self, split: Split) -> tuple[Utterance, ...]:
        """The utterances of one split, sorted by id."""
        return tuple(u for u in self.utterances if u.split == split)

    def clip_path(self, utterance: Utterance) -> Path | None:
        """Where the clip of ``utterance`` lies, or None where the corpus has no clip for it. CorpusError where it lies in an
        object store."""
        if utterance.clip is not None and is_url(utterance.clip):
            raise CorpusError("this clip lies in an object store; copy it to this machine.", path=utterance.clip)
        return None if utterance.clip is None else self.folder / utterance.clip

    def local_clip(self, utterance: Utterance) -> Path | None:
        """As ``clip_path``, and None where the clip lies in an object store: for who shows it where it is at hand."""
        return None if utterance.clip is None or is_url(utterance.clip) else self.clip_path(utterance)

    def sound_path(self, utterance: Utterance) -> Path | None:
        """The file with the speaker's own sound, or None where it is the clip's."""
        return None if utterance.sound is None else self.folder / utterance.sound


def write_manifest(path: Path, utterances: Iterable[Utterance], labels: Sequence[str], corpora: Sequence[str]) -> None:
    """Check and write a manifest: a line with the label set, then one utterance per line, sorted by id.

    Raises CorpusError, listing the faults: duplicate ids, labels outside the set, dialogues in two splits, indices
    other than 0, 1, 2, ... within a dialogue, and whatever read_manifest refuses.
    """
    ordered = sorted(utterances, key=lambda u: u.id)
    checked = ((u.id, _fault(_line(u) | {"crop": u.crop and list(u.crop)})) for u in ordered)
    faults = [
        f"{printable(id_)}: {fault} Correct it, or list the id under prepare.leave_out."
        for id_, fault in checked
        if fault
    ][:50]
    faults += _faults(ordered, labels)
    if faults:
        raise CorpusError("\n".join(faults))
    head = {"labels": list(labels), "corpora": list(corpora)}
    lines = [json.dumps(head, ensure_ascii=False)] + [json.dumps(_line(u), ensure_ascii=False) for u in ordered]
    atomic.write_text(path, "\n".join(lines) + "\n")


def read_manifest(path: Path) -> Manifest:
    """Read a manifest, and check keys, types and ranges of every line; CorpusError with the number of a line that is
    wrong."""
    if path.is_dir():
        within = path / "manifest.jsonl"
        way = f"Name {printable(within, 1000)}." if within.is_file() else "A folder of clips is named by --video-dir."
        raise CorpusError(f"this is a folder, and a manifest is a file, manifest.jsonl. {way}", path=path)
    try:
        lines = read_json_lines(path)
        first = next(lines, None)
        if first is None:
            raise CorpusError(f"the manifest is empty. {_AGAIN}", path=path)
        labels, corpora = _head(path, first[1])
        utterances = [_utterance(path, number, value) for number, value in islice(lines, MAX_UTTERANCES + 1)]
    except JsonError as error:
        raise error.become(CorpusError, "there is no manifest here. Run 'bemerc prepare' first.", _AGAIN) from None
    if len(utterances) > MAX_UTTERANCES:
        raise CorpusError(f"it has more than {MAX_UTTERANCES:,} utterances. {_AGAIN}", path=path)
    utterances.sort(key=lambda u: u.id)
    faults = _faults(utterances, labels)
    if faults:
        raise CorpusError("\n".join([*(f"{printable(path)}: {fault}" for fault in faults), _AGAIN]))
    return Manifest(tuple(utterances), labels, corpora, path.parent)


# Limits: utterances are all in memory, the file is read line by line.
MAX_UTTERANCES = 500_000
# Characters of one utterance's words, names and paths; the longest of MELD has 336.
LONGEST_TEXT, _LONGEST_NAME = 100_000, 4096
_AGAIN = "Run 'bemerc prepare' again."
# Limits of an index and of a time.
_MAX_TURNS, _MAX_SECONDS = 10**6, 10**7
# The most sound tracks and people of one recording.
MAX_TRACKS = 1000


def _head(path: Path, value: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    lists = []
    for key in ("labels", "corpora"):
        names = value.get(key) if isinstance(value, dict) else None
        if not isinstance(names, list) or not all(isinstance(name, str) and len(name) <= 200 for name in names):
            raise CorpusError(
                f"a manifest opens with its labels and corpora, each a list of names. {_AGAIN}", path=path, line=1
            )
        if len(set(names)) < len(names):
            raise CorpusError(f"a name stands twice in {key}. {_AGAIN}", path=path, line=1)
        lists.append(tuple(names))
    return lists[0], lists[1]


_KEYS = frozenset(field.name for field in fields(Utterance)) - frozenset(_EXTRAS)


def _line(utterance: Utterance) -> dict[str, Any]:
    """An utterance as a line holds it: a modality without a label of its own is not named, nor a sound, so that the
    manifest of a corpus without such has the bytes that it always had."""
    return {key: value for key, value in asdict(utterance).items() if key in _KEYS or value is not None}


def _utterance(path: Path, number: int, value: Any) -> Utterance:
    if fault := _fault(value):
        raise CorpusError(f"{fault} {_AGAIN}", path=path, line=number)
    crop, listeners = value.pop("crop"), value.pop("listeners", None)
    others = None if listeners is None else tuple((name, tuple(tile)) for name, tile in listeners)
    return Utterance(**value, crop=None if crop is None else tuple(crop), listeners=others)


_OPTIONAL = ("label", "clip", "sound", *SIDE_LABELS)


def _fault(value: Any) -> str | None:
    """A sentence on what is wrong with a line of a manifest; None where it is an utterance."""
    if not isinstance(value, dict):
        return "must be a JSON object."
    keys = value.keys() - frozenset(_EXTRAS)
    if keys != _KEYS:
        return f"unknown or missing keys {printable(', '.join(sorted(keys ^ _KEYS)))}."
    for key in ("id", "dialogue", "speaker", "text", *_OPTIONAL):
        written, longest = value.get(key), LONGEST_TEXT if key == "text" else _LONGEST_NAME
        if not (written is None and key in _OPTIONAL) and (not isinstance(written, str) or len(written) > longest):
            return f"{key} must be text of at most {longest} characters{' or null' * (key in _OPTIONAL)}."
        if written == "" and key in ("id", "dialogue", "clip", "sound"):
            return f"{key} is empty."
    if any("\0" in (value.get(key) or "") for key in ("id", "clip", "sound")):
        return "a zero stands in its id, clip or sound."
    if value["split"] not in SPLITS:
        return f"split must be one of {', '.join(SPLITS)}, not {printable(repr(value['split']), 40)}."
    if type(value["index"]) is not int or not 0 <= value["index"] < _MAX_TURNS:
        return f"index must be a whole number from 0, not {printable(repr(value['index']), 40)}."
    track, listeners = value.get("track"), value.get("listeners")
    if track is not None and (type(track) is not int or not 1 <= track < MAX_TRACKS):
        return f"track must be the number of a sound track, from 1, not {printable(repr(track), 40)}."
    return _segment_fault(value["start_s"], value["end_s"], value["crop"]) or listeners_fault(listeners)


def listeners_fault(listeners: Any) -> str | None:
    """What is wrong with the listeners of a line: they are pairs of a name and a crop."""
    if listeners is None:
        return None
    pairs = isinstance(listeners, list | tuple) and all(isinstance(p, list | tuple) and len(p) == 2 for p in listeners)
    if not pairs or len(listeners) > MAX_TRACKS:
        return "listeners must be pairs of a name and a crop."
    for name, crop in listeners:
        if not isinstance(name, str) or not name or len(name) > _LONGEST_NAME or LISTENER_MARK in name or "\0" in name:
            return f"a listener's name must be text without {LISTENER_MARK}, not {printable(repr(name), 40)}."
        if fault := _segment_fault(None, None, list(crop) if isinstance(crop, list | tuple) else 0):
            return fault
    if len({name for name, _ in listeners}) < len(listeners):
        return "two listeners have one name."
    return None


def _segment_fault(start_s: Any, end_s: Any, crop: Any) -> str | None:
    for name, time in (("start_s", start_s), ("end_s", end_s)):
        if time is not None and not (type(time) in (int, float) and 0 <= time < _MAX_SECONDS):
            return f"{name} must be seconds from the clip's start or null, not {printable(repr(time), 40)}."
    if end_s is not None and end_s <= (start_s or 0):
        return f"end_s = {end_s:g} is not after its start, {start_s or 0:g}."
    if crop is None:
        return None
    if not (isinstance(crop, list) and len(crop) == 4 and all(type(edge) in (int, float) for edge in crop)):
        return "crop must be null or four fractions: left, top, right, bottom."
    if not (0 <= crop[0] < crop[2] <= 1 and 0 <= crop[1] < crop[3] <= 1):
        return f"crop {printable(repr(crop), 80)} must be growing fractions from 0 to 1."
    return None


def _faults(utterances: Sequence[Utterance], labels: Sequence[str], most: int = 50) -> list[str]:
    """Faults between utterances, which are sorted by id: at most ``most`` sentences, and one that counts the others."""
    faults = [
        f"{printable(b.id)}: two utterances share this id." for a, b in itertools.pairwise(utterances) if a.id == b.id
    ]
    split_of: dict[str, str] = {}
    indices: dict[str, list[int]] = {}
    listed = ", ".join(labels)
    for u in utterances:
        faults += [
            f"{printable(u.id)}: the label '{printable(label, 60)}' is not in the label set ({printable(listed)})."
            for label in dict.fromkeys(u.all_labels())
            if label not in labels
        ]
        if split_of.setdefault(u.dialogue, u.split) != u.split:
            faults.append(
                f"{printable(u.id)}: its dialogue '{printable(u.dialogue)}' lies in both {split_of[u.dialogue]} and {u.split}."
            )
        indices.setdefault(u.dialogue, []).append(u.index)
    for dialogue, numbers in indices.items():
        if sorted(numbers) != list(range(len(numbers))):
            faults.append(
                f"{printable(dialogue)}: the turns are numbered {printable(sorted(numbers)[:20])}; "
                f"they must be 0 to {len(numbers) - 1}."
            )
    more = [f"and {len(faults) - most} more faults."] if len(faults) > most else []
    return faults[:most] + more
