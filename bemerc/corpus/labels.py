"""Emotion labels: named sets, accepted spellings, and the mapping of one set into another.

Labels are always names: repositories number the same seven emotions in at least three orders. An unknown name is an
error, and merging corpora needs a map by the user for labels without a counterpart.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence

from bemerc.core.errors import CorpusError
from bemerc.core.terminal import printable

# Labels in the order of scores and tables.
LABEL_SETS: dict[str, tuple[str, ...]] = {
    "meld": ("neutral", "joy", "sadness", "anger", "surprise", "fear", "disgust"),
    "iemocap6": ("happy", "sad", "neutral", "angry", "excited", "frustrated"),
    "iemocap4": ("happy", "sad", "neutral", "angry"),
    "sentiment3": ("negative", "neutral", "positive"),
}

# Spellings that corpora and repositories use for a label. They count only within a set that has the label.
ALIASES: dict[str, tuple[str, ...]] = {
    "neutral": ("neu", "neutrality", "neutral state"),
    "joy": ("joyful", "happy", "happiness", "hap"),
    "happy": ("hap", "happiness", "joy", "joyful"),
    "sadness": ("sad",),
    "sad": ("sadness",),
    "anger": ("angry", "ang", "mad"),
    "angry": ("anger", "ang", "mad"),
    "surprise": ("surprised", "sur"),
    "fear": ("fearful", "fea", "scared", "afraid"),
    "disgust": ("disgusted", "dis"),
    "excited": ("exc", "excitement"),
    "frustrated": ("fru", "frustration"),
    "negative": ("neg",),
    "positive": ("pos",),
}


def label_set(spec: str | Sequence[str]) -> tuple[str, ...]:
    """The labels of a named set, or a list of labels as it is; CorpusError for an unknown set, blanks and
    duplicates."""
    if isinstance(spec, str):
        if spec not in LABEL_SETS:
            raise CorpusError(
                f"'{spec}' is no label set; the known ones are {_listed(LABEL_SETS)}, or list the labels.", name=spec
            )
        return LABEL_SETS[spec]
    if len(set(spec)) != len(spec) or not all(name.strip() for name in spec):
        raise CorpusError(f"A label set must hold different names that are not blank, not {list(spec)}.")
    return tuple(spec)


def names(labels: Sequence[str], extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Accepted spelling, in lower case -> label. ``extra``: a user's own spellings; CorpusError where they mean no
    label."""
    accepted = {name.casefold(): name for name in labels}
    for label in labels:
        for alias in ALIASES.get(label, ()):
            accepted.setdefault(alias.casefold(), label)
    for alias, label in (extra or {}).items():
        if label not in labels:
            raise CorpusError(
                f"The alias '{alias}' points at '{label}', which is not one of {_listed(labels)}.", name=alias
            )
        accepted[alias.casefold()] = label
    return accepted


def fault(written: str, accepted: Mapping[str, str]) -> str:
    """A sentence about an unknown label, with the labels of the set and the nearest one."""
    near = difflib.get_close_matches(written.strip().casefold()[:40], accepted, n=1)
    hint = f" Did you mean '{accepted[near[0]]}'?" if near else ""
    labels = dict.fromkeys(accepted.values())
    return f"the label '{printable(written, 60)}' is unknown; the known ones are {_listed(labels)}.{hint}"


def canonical(written: str, accepted: Mapping[str, str]) -> str | None:
    """The label of a spelling, or None for an unknown one; case and outer blanks do not count."""
    return accepted.get(written.strip().casefold())


def mapping(
    corpus: str,
    labels: Sequence[str],
    target: Sequence[str],
    given: Mapping[str, str | None] | None,
    used: Collection[str] | None = None,
) -> dict[str, str | None]:
    """Label of a corpus -> label of the target set, or None: such turns are history without a label.

    given  the user's map; labels in both sets need no entry
    used   the labels that utterances have; None = all. Others need no entry either

    Raises CorpusError, listing every fault, for labels without an entry, and entries from or to an unknown label.

    >>> mapping("mine", ["happy", "anger", "bored"], ("neutral", "joy", "anger"), {"happy": "joy", "bored": None})
    {'happy': 'joy', 'anger': 'anger', 'bored': None}
    """
    given = given or {}
    faults = [
        f"prepare.label_map.{corpus}: '{label}' is not a label of {corpus}; these are: {_listed(labels)}."
        for label in given
        if label not in labels
    ]
    faults += [
        f"prepare.label_map.{corpus}.{label}: '{goal}' is not in the label set {_listed(target)}."
        for label, goal in given.items()
        if goal is not None and goal not in target
    ]
    wanted = labels if used is None else [label for label in labels if label in used]
    missing = [label for label in wanted if label not in given and label not in target]
    if missing:
        faults.append(
            f"prepare.label_map.{corpus}: say where {_listed(missing)} should go among {_listed(target)}, "
            "or write null to keep such turns as history without a label."
        )
    if faults:
        raise CorpusError("\n".join(faults))
    return {label: given.get(label, label) for label in wanted}


def _listed(labels: Sequence[str] | Mapping[str, object]) -> str:
    return ", ".join(labels)
