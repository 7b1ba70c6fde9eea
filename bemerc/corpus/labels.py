"""Emotion names: canonical sets, the spellings in use for each name, and the mapping of one set into another.

Repositories number the same seven emotions in at least three orders, so nothing here knows a number: labels are mapped
by name, an unknown name is an error that lists the known ones, and merging corpora needs a map that says where each
label goes; guessing that "excited" is "joy" is the user's decision.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence

from bemerc.core.errors import CorpusError
from bemerc.core.terminal import printable
from bemerc.corpus.manifest import LABEL_SETS

# Spellings seen in corpora and repositories, by the emotion they mean. A name means an emotion only within a set that has it.
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
}


def label_set(spec: str | Sequence[str]) -> tuple[str, ...]:
    """The labels of a named set, or the given names themselves. CorpusError for a name that is no set, or for doubles."""
    if isinstance(spec, str):
        if spec not in LABEL_SETS:
            raise CorpusError(
                f"'{spec}' is no label set; the known ones are {_listed(LABEL_SETS)}, or list the labels."
            )
        return LABEL_SETS[spec]
    if len(set(spec)) != len(spec) or not all(name.strip() for name in spec):
        raise CorpusError(f"A label set must hold different names that are not blank, not {list(spec)}.")
    return tuple(spec)


def names(labels: Sequence[str], extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Every accepted spelling, in lower case, -> its canonical label. ``extra`` holds a user's own spellings.

    Raises CorpusError where ``extra`` points at a label that the set does not have.
    """
    accepted = {name.casefold(): name for name in labels}
    for label in labels:
        for alias in ALIASES.get(label, ()):
            accepted.setdefault(alias.casefold(), label)
    for alias, label in (extra or {}).items():
        if label not in labels:
            raise CorpusError(f"The alias '{alias}' points at '{label}', which is not one of {_listed(labels)}.")
        accepted[alias.casefold()] = label
    return accepted


def fault(written: str, accepted: Mapping[str, str]) -> str:
    """The sentence for a label that nobody knows: what was written, the known labels, and the nearest one."""
    near = difflib.get_close_matches(written.strip().casefold()[:40], accepted, n=1)
    hint = f" Did you mean '{accepted[near[0]]}'?" if near else ""
    known = dict.fromkeys(accepted.values())
    return f"the label '{printable(written, 60)}' is unknown; the known ones are {_listed(known)}.{hint}"


def canonical(written: str, accepted: Mapping[str, str]) -> str | None:
    """The canonical label for a spelling, or None for an unknown one; case and outer blanks do not count."""
    return accepted.get(written.strip().casefold())


def mapping(
    corpus: str,
    labels: Sequence[str],
    target: Sequence[str],
    given: Mapping[str, str | None] | None,
    used: Collection[str] | None = None,
) -> dict[str, str | None]:
    """Where each label of a corpus goes in the target set; None = the turn stays as history without a label.

    Labels that stand in both sets need no entry, nor do those that no utterance has: ``used`` holds the others (None: all
    are used). Raises CorpusError, listing every fault, for labels that the map forgets, entries that the corpus does not
    have, and goals that the target set does not have.
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
    forgotten = [label for label in wanted if label not in given and label not in target]
    if forgotten:
        faults.append(
            f"prepare.label_map.{corpus}: say where {_listed(forgotten)} should go among {_listed(target)}, "
            "or write null to keep such turns as history without a label."
        )
    if faults:
        raise CorpusError("\n".join(faults))
    return {label: given.get(label, label) for label in wanted}


def _listed(labels: Sequence[str] | Mapping[str, object]) -> str:
    return ", ".join(labels)
