"""The nouns of a conversation, and the manifest: one JSON line per utterance, the only thing later stages read of a corpus.

Every reader in this package turns somebody's folder into Utterances. Everything after ``prepare`` sees the manifest
alone, so a new corpus is one new module here and nothing else.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from bemerc.errors import CorpusError

Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = ("train", "dev", "test")
Modality = Literal["face", "pose", "audio"]
MODALITIES: tuple[Modality, ...] = ("face", "pose", "audio")

# Nobody is named: what is not known to be one person is never measured against its own earlier turns.
NOBODY = ""

# Canonical names, in the order in which scores and tables list them; aliases are what other repositories write.
LABEL_SETS: dict[str, tuple[str, ...]] = {
    "meld": ("neutral", "joy", "sadness", "anger", "surprise", "fear", "disgust"),
    "iemocap6": ("happy", "sad", "neutral", "angry", "excited", "frustrated"),
    "iemocap4": ("happy", "sad", "neutral", "angry"),
}


@dataclass(frozen=True)
class Utterance:
    """One turn of a dialogue.

    id       unique in the manifest; opens with corpus and split because MELD restarts its numbers in each split
    dialogue id of the dialogue, unique in the manifest; a dialogue lies in one split
    index    position in the dialogue, from 0 without gaps
    label    canonical name from the label set, None where unknown (such turns serve as history only)
    clip     path of the video or sound file, relative to the manifest's folder or absolute; None where there is none
    start_s, end_s  the part of ``clip`` that is this utterance, None = all of it
    crop     (left, top, right, bottom) as fractions of the frame, None = all of it
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


@dataclass(frozen=True)
class Dialogue:
    """The utterances of one dialogue in their order."""

    id: str
    utterances: tuple[Utterance, ...]


@dataclass(frozen=True)
class Manifest:
    """All utterances of the corpora in use, sorted by id (those of a folder of clips as people number them), and
    the label set that their labels come from."""

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
        """Where the clip of ``utterance`` lies, or None where the corpus has no clip for it."""
        return None if utterance.clip is None else self.folder / utterance.clip


def write_manifest(path: Path, utterances: Iterable[Utterance], labels: Sequence[str], corpora: Sequence[str]) -> None:
    """Check and write a manifest: a first line with the label set, then one utterance per line, sorted by id.

    Raises CorpusError listing every fault: a duplicate id, a label outside the set, a dialogue in two splits, an index
    that is not 0, 1, 2, ... within its dialogue.
    """
    ordered = sorted(utterances, key=lambda u: u.id)
    faults = _faults(ordered, labels)
    if faults:
        raise CorpusError("\n".join(faults))
    head = {"labels": list(labels), "corpora": list(corpora)}
    lines = [json.dumps(head, ensure_ascii=False)] + [json.dumps(asdict(u), ensure_ascii=False) for u in ordered]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_manifest(path: Path) -> Manifest:
    """Read what write_manifest wrote. CorpusError names the line that is not as it must be."""
    try:
        # Not splitlines(): words may hold U+2028 or U+0085, which JSON leaves as they are and splitlines() cuts at.
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except FileNotFoundError:
        raise CorpusError(f"{path}: there is no manifest here. Run 'dvc repro prepare' first.") from None
    if lines == [""]:
        raise CorpusError(f"{path}: the manifest is empty. Run 'dvc repro prepare' again.")
    head = _json_line(path, 1, lines[0])
    if "labels" not in head or "corpora" not in head:
        raise CorpusError(
            f"{path}, line 1: a manifest opens with its labels and corpora. Run 'dvc repro prepare' again."
        )
    utterances = tuple(_utterance(path, number, line) for number, line in enumerate(lines[1:], 2))
    return Manifest(utterances, tuple(head["labels"]), tuple(head["corpora"]), path.parent)


def _json_line(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise CorpusError(
            f"{path}, line {number}: this is not JSON ({error}). Run 'dvc repro prepare' again."
        ) from None
    if not isinstance(value, dict):
        raise CorpusError(f"{path}, line {number}: must be a JSON object. Run 'dvc repro prepare' again.")
    return value


def _utterance(path: Path, number: int, line: str) -> Utterance:
    value = _json_line(path, number, line)
    known = {f.name for f in fields(Utterance)}
    if set(value) != known:
        odd = sorted(set(value) ^ known)
        raise CorpusError(
            f"{path}, line {number}: unknown or missing keys {', '.join(odd)}. Run 'dvc repro prepare' again."
        )
    crop = value.pop("crop")
    return Utterance(**value, crop=None if crop is None else tuple(crop))


def _faults(utterances: Sequence[Utterance], labels: Sequence[str]) -> list[str]:
    faults = [f"{b.id}: two utterances share this id." for a, b in itertools.pairwise(utterances) if a.id == b.id]
    split_of: dict[str, str] = {}
    indices: dict[str, list[int]] = {}
    for u in utterances:
        if u.label is not None and u.label not in labels:
            faults.append(f"{u.id}: the label '{u.label}' is not in the label set ({', '.join(labels)}).")
        if split_of.setdefault(u.dialogue, u.split) != u.split:
            faults.append(f"{u.id}: its dialogue '{u.dialogue}' lies in both {split_of[u.dialogue]} and {u.split}.")
        indices.setdefault(u.dialogue, []).append(u.index)
    for dialogue, found in indices.items():
        if sorted(found) != list(range(len(found))):
            faults.append(f"{dialogue}: the turns are numbered {sorted(found)}; they must be 0 to {len(found) - 1}.")
    return faults
