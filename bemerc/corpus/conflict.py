"""Conflict items: utterances whose face and voice show different emotions, and those where both agree, as one file.

A line per item, after a head that says from which manifest and how they were made. Subsets are CA-MER's (arXiv 2508.01181):
``consistent``: face and voice both show the label; ``video_aligned``: the face shows it and the voice another;
``audio_aligned``: the voice shows it and the face another; ``other``: neither does, or nobody knows the label, as in
recombined items. ``bemerc conflict build`` writes the file; training and evaluation read it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from bemerc.core import atomic
from bemerc.core.errors import CorpusError
from bemerc.core.jsonfile import JsonError, read_json_lines
from bemerc.core.terminal import printable
from bemerc.corpus import provenance
from bemerc.corpus.manifest import SPLITS, Manifest, Split

SCHEMA = "bemerc-conflict"
SCHEMA_VERSION = 1
# How an item came about: people labelled each modality; predictors of one modality each; face of one utterance, voice of another.
Way = Literal["labels", "predictors", "recombined"]
Subset = Literal["consistent", "video_aligned", "audio_aligned", "other"]
WAYS: tuple[Way, ...] = get_args(Way)
SUBSETS: tuple[Subset, ...] = get_args(Subset)
_AGAIN = "Run 'bemerc conflict build' again."


@dataclass(frozen=True)
class ConflictItem:
    """One utterance, or a recombination of two of one speaker.

    id           unique in the file: the utterance's own; of a recombination "VOICE ~ FACE"
    dialogue     of the utterance whose words and voice these are
    voice_of     utterance id whose words, history and voice are read
    face_of      utterance id whose face and body are read; the same as ``voice_of`` but in recombinations
    label        the emotion of the whole; None where nobody knows it
    label_voice, label_face  the emotion of each side
    confidence   0 to 1: the smaller of the two sides' calibrated probabilities; 1 where people labelled
    strength     0 to 1: Jensen-Shannon distance (base 2) of the two sides' distributions over the labels
    """

    id: str
    way: Way
    subset: Subset
    split: Split
    dialogue: str
    voice_of: str
    face_of: str
    label: str | None
    label_voice: str
    label_face: str
    confidence: float
    strength: float


@dataclass(frozen=True)
class ConflictSet:
    """The items, sorted by id, and how they were made.

    labels    of the manifest, in its order
    manifest  fingerprint of the manifest with its splits (provenance.learned)
    made      how: seed, counts, the predictors' accuracies, what was left out
    cuts      upper ends of the first three quartiles of ``strength``, measured on train's conflicts
    """

    items: tuple[ConflictItem, ...]
    labels: tuple[str, ...]
    manifest: str
    made: Mapping[str, Any]
    cuts: tuple[float, float, float]

    def of(self, split: Split, *ways: Way) -> tuple[ConflictItem, ...]:
        """The items of one split, made in one of these ways; all ways where none is named."""
        return tuple(item for item in self.items if item.split == split and (not ways or item.way in ways))

    def quartile(self, item: ConflictItem) -> int:
        """0 to 3: the quartile of its strength."""
        return sum(item.strength > cut for cut in self.cuts)


def subset_of(label: str | None, voice: str, face: str) -> Subset:
    """The subset of an utterance, by its label and by what its voice and its face show."""
    subsets: Mapping[tuple[bool, bool], Subset] = {
        (True, True): "consistent",
        (False, True): "video_aligned",
        (True, False): "audio_aligned",
    }
    return subsets.get((voice == label, face == label), "other")


def _fault(sentence: str, path: Path, line: int | None = None) -> CorpusError:
    return CorpusError(f"{sentence} {_AGAIN}", path=path, line=line)


def must_fit(conflicts: ConflictSet, manifest: Manifest, path: Path, *splits: Split) -> None:
    """StaleError where the items in ``path`` were made from another manifest; CorpusError where those of ``splits`` name
    utterances of another split, or the test split or the labels of a side have changed since."""
    provenance.must_match(path, conflicts.manifest, provenance.learned(manifest), "bemerc conflict build")
    if conflicts.labels != manifest.labels:
        raise _fault("its labels are not those of the manifest, in their order.", path)
    for split in splits:
        utterances = {u.id: u for u in manifest.by_split(split)}
        for item in conflicts.of(split):
            for id in (item.voice_of, item.face_of):
                if id not in utterances:
                    raise _fault(
                        f"{printable(item.id)} is an item of {split}, and {printable(id)} is not in {split}.", path
                    )
            u, made = utterances[item.voice_of], [item.dialogue]
            now: list[str | None] = [u.dialogue]
            if item.way != "recombined":
                made, now = [*made, item.label or ""], [*now, u.label]
            if item.way == "labels":
                made, now = [*made, item.label_voice, item.label_face], [*now, u.label_voice, u.label_face]
            if made != now:
                raise _fault(f"{printable(item.id)} has another dialogue or label in the manifest now.", path)


def write_conflict_set(path: Path, made: ConflictSet) -> None:
    """Write a conflict set; the file appears when it is complete. CorpusError where items are faulty."""
    head = {"schema": SCHEMA, "schema_version": SCHEMA_VERSION, "labels": list(made.labels), "manifest": made.manifest}
    head |= {"cuts": list(made.cuts), "made": dict(made.made)}
    ordered = sorted(made.items, key=lambda item: item.id)
    lines = [json.dumps(head, ensure_ascii=False)] + [json.dumps(asdict(item), ensure_ascii=False) for item in ordered]
    _check(path, ordered, made.labels)
    atomic.write_text(path, "\n".join(lines) + "\n")


def read_conflict_set(path: Path) -> ConflictSet:
    """Read a conflict set, and check every line. CorpusError with the number of a line that is wrong."""
    try:
        lines = read_json_lines(path)
        first = next(lines, None)
        head = first[1] if first else None
        labels, manifest, cuts, how = _head(path, head)
        items = [_item(path, number, value) for number, value in lines]
    except JsonError as error:
        missing = "there are no conflict items here. Run 'bemerc conflict build' first."
        raise error.become(CorpusError, missing, _AGAIN) from None
    _check(path, items, labels)
    return ConflictSet(tuple(sorted(items, key=lambda item: item.id)), labels, manifest, how, cuts)


def _head(path: Path, value: Any) -> tuple[tuple[str, ...], str, tuple[float, float, float], Mapping[str, Any]]:
    if not isinstance(value, dict) or (value.get("schema"), value.get("schema_version")) != (SCHEMA, SCHEMA_VERSION):
        raise _fault(f"this is no file of conflict items of version {SCHEMA_VERSION}.", path)
    labels, manifest, cuts, made = (value.get(key) for key in ("labels", "manifest", "cuts", "made"))
    if not isinstance(labels, list) or not all(isinstance(name, str) for name in labels) or not labels:
        raise _fault("labels must be a list of names.", path, 1)
    numbers = isinstance(cuts, list) and len(cuts) == 3 and all(_is_share(cut) for cut in cuts) and cuts == sorted(cuts)
    if not numbers or not isinstance(manifest, str) or not isinstance(made, dict):
        raise _fault("manifest, cuts or made are not what they must be.", path, 1)
    assert isinstance(cuts, list)
    return tuple(labels), manifest, (cuts[0], cuts[1], cuts[2]), made


_KEYS = frozenset(field.name for field in fields(ConflictItem))
_CHOICES: Mapping[str, tuple[str, ...]] = {"way": WAYS, "subset": SUBSETS, "split": SPLITS}


def _item(path: Path, number: int, value: Any) -> ConflictItem:
    if not isinstance(value, dict) or value.keys() != _KEYS:
        raise _fault("this is no conflict item.", path, number)
    for key, choices in _CHOICES.items():
        if value[key] not in choices:
            raise _fault(f"{key} must be one of {', '.join(choices)}.", path, number)
    texts = [value[key] for key in ("id", "dialogue", "voice_of", "face_of", "label_voice", "label_face")]
    if not all(isinstance(text, str) and text for text in texts) or not (
        value["label"] is None or isinstance(value["label"], str)
    ):
        raise _fault("an id, a dialogue or a label is no text.", path, number)
    if not (_is_share(value["confidence"]) and _is_share(value["strength"])):
        raise _fault("confidence and strength must lie between 0 and 1.", path, number)
    return ConflictItem(**value)


def _is_share(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and 0 <= value <= 1


def _check(path: Path, items: Iterable[ConflictItem], labels: tuple[str, ...]) -> None:
    """CorpusError where an id stands twice, a label is not in the set, or an item contradicts itself."""
    ids: set[str] = set()
    if len(set(labels)) < len(labels):
        raise _fault("a label stands twice in the label set.", path)
    for item in items:
        if item.id in ids:
            raise _fault(f"two items are called {printable(item.id)}.", path)
        ids.add(item.id)
        whole = item.way != "recombined"
        if (whole and {item.voice_of, item.face_of} != {item.id}) or not (whole or item.label is None):
            raise _fault(f"{printable(item.id)} is {item.way}, and its utterances or its label are not.", path)
        if item.subset != subset_of(item.label, item.label_voice, item.label_face):
            raise _fault(f"the subset of {printable(item.id)} is not that of its labels.", path)
        for label in (item.label, item.label_voice, item.label_face):
            if label is not None and label not in labels:
                raise _fault(
                    f"{printable(item.id)} has the label '{printable(label, 60)}', which is not in the "
                    f"label set ({printable(', '.join(labels))}).",
                    path,
                )
