"""Variants: what stage 2 reads beside the words. Defined in params.yaml (section ``variants``), not in code.

A variant turns each cue of behavior on or off, takes the voice as tokens or as a sentence, the behavior of one turn or of
several, descriptions of some source, and starts from align or not. Face, body and posture are divided as in descriptions:
head and gaze are measured on the face and count as body language. Columns of a cue that is off hold what unmeasured columns
hold, so that one align model serves all variants. T, TV, TB and TVB are the report's ladder and keep their meaning.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

from bemerc.behavior.describe.description import Description, read_descriptions
from bemerc.behavior.describe.phrases import NO_VOICE, TOO_SHORT
from bemerc.core import config
from bemerc.core.config import from_mapping, read_document, read_section, to_mapping
from bemerc.core.errors import ConfigError, ModelError
from bemerc.core.renames import current_path, formerly
from bemerc.corpus import provenance
from bemerc.corpus.manifest import LISTENER, MODALITIES, Manifest, Modality, Split, listener_id

Source = Literal["rules", "teacher", "crossfit"]
Described = Mapping[Source, Mapping[str, Description]]
SOURCES: tuple[Source, ...] = get_args(Source)
FILES: dict[Source, str] = {
    "rules": "descriptions.jsonl",
    "teacher": "teacher.jsonl",
    "crossfit": "crossfit.jsonl",
}
REMEDIES: dict[Source, str] = {
    "rules": "Run 'bemerc describe data/manifest.jsonl'.",
    "teacher": "Name a vision-language model in describe.teacher and run 'bemerc describe data/manifest.jsonl'.",
    "crossfit": "Set crossfit.folds to 2 and run 'bemerc crossfit'.",
}
# Columns of face tokens that belong to the body, and of pose tokens that belong to the posture.
HEAD = re.compile(r"(pose_(pitch|yaw|roll)|gaze_[xy])_deg\.\w+")
TRUNK = re.compile(r"((lean|sway|shoulder_tilt)_deg|slump|shoulders_(dx|dy|width))\.\w+")
CROSSFIT = "crossfit"  # in a model's folder: the align model whose descriptions it reads
FORMER_CROSSFIT = "student"
NOBODY: Described = MappingProxyType({})
NAME = re.compile(r"[^\W_][\w-]*")


@dataclass(frozen=True)
class Variant:
    """One entry of the section ``variants``.

    voice        none | tokens | sentence: SpeechCueLLM's, of the five measures by train's quantiles
    face, body, posture  whether behavior tokens tell of facial movement; of head, gaze, hands and movement; of the trunk
    behavior_of  target: behavior of the utterance in question alone | same_speaker: of this speaker's earlier turns too |
                 all: of every turn (a turn of the history has two tokens per modality) | partner: of the listener during
                 the utterance too, face and body
    description  sentences of the cues that are on: none | rules | teacher | crossfit, the same source on all splits
    align        start from the align model, else from the bare backbone
    """

    voice: Literal["none", "tokens", "sentence"]
    face: bool
    body: bool
    posture: bool
    behavior_of: Literal["target", "same_speaker", "all", "partner"] = field(metadata=formerly("whose"))
    description: Literal["none", "rules", "teacher", "crossfit"] = field(
        metadata=formerly(values={"student": "crossfit"})
    )
    align: bool

    def check(self) -> Iterator[str]:
        """What is wrong with these values together, a sentence each."""
        if self.behavior_of != "target" and not self.modalities:
            yield f"behavior_of: '{self.behavior_of}' adds behavior tokens of other turns, but no cue is read as tokens."
        if self.behavior_of == "partner" and set(self.modalities) == {"audio"}:
            yield "behavior_of: 'partner' adds the listener's face and body, but neither face, body nor posture is on."
        if self.description != "none" and not self.described:
            yield f"description: '{self.description}', but neither voice, face, body nor posture is on: there is nothing to describe."

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """Of which there are behavior tokens."""
        on: dict[Modality, bool] = {
            "face": self.face or self.body,
            "pose": self.body or self.posture,
            "audio": self.voice == "tokens",
        }
        return tuple(m for m in MODALITIES if on[m])

    @property
    def described(self) -> tuple[tuple[str, Source], ...]:
        """The slots of a description that the prompt holds, and where each comes from."""
        if self.description == "none":
            return (("voice", "rules"),) if self.voice == "sentence" else ()
        on = {"facial_expression": self.face, "body_language": self.body, "posture": self.posture}
        slots = [(slot, self.description) for slot, wanted in on.items() if wanted]
        if self.voice != "none":
            slots.append(("voice", "rules" if self.voice == "sentence" else self.description))
        return tuple(slots)

    @property
    def sources(self) -> tuple[Source, ...]:
        """Whose descriptions are needed."""
        needed = {source for _, source in self.described}
        return tuple(source for source in SOURCES if source in needed)

    def read(self, columns: Mapping[Modality, Sequence[str]]) -> dict[Modality, tuple[str, ...]]:
        """The token columns that are of a cue that is on, of the modalities that are read."""
        return {m: tuple(c for c in columns.get(m, ()) if self._reads(m, c)) for m in self.modalities}

    def hidden(self, columns: Mapping[Modality, Sequence[str]]) -> dict[Modality, tuple[str, ...]]:
        """The token columns that are of a cue that is off, of the modalities that are read."""
        hidden = {}
        for modality in self.modalities:
            names = tuple(name for name in columns.get(modality, ()) if not self._reads(modality, name))
            if names:
                hidden[modality] = names
        return hidden

    def _reads(self, modality: Modality, column: str) -> bool:
        if modality == "face":
            return self.body if HEAD.fullmatch(column) else self.face
        if modality == "pose":
            return self.posture if TRUNK.fullmatch(column) else self.body
        return True


LADDER: dict[str, Variant] = {
    "T": Variant("none", False, False, False, "target", "none", False),
    "TV": Variant("tokens", False, False, False, "target", "none", True),
    "TB": Variant("none", True, True, True, "target", "none", True),
    "TVB": Variant("tokens", True, True, True, "target", "none", True),
}


def read(params: config.Source) -> dict[str, Variant]:
    """The section ``variants``, and the ladder's four whether it names them or not.

    Raises ConfigError with every fault at once: odd keys and values, names that cannot be a file's, a name of the ladder
    with another meaning.
    """
    if "variants" not in read_document(params):
        return dict(LADDER)
    variants, faults = dict(LADDER), []
    for name, raw in read_section(params, "variants").items():
        where = f"{params}: variants.{name}"
        try:
            if not isinstance(raw, Mapping):
                raise ConfigError(f"{where}: must hold keys and values, such as {to_mapping(LADDER['TVB'])}.")
            variants[str(name)] = from_mapping(raw, Variant, where)
        except ConfigError as error:
            faults.append(str(error))
            continue
        faults += [f"{where}: {fault}" for fault in _name_faults(str(name), variants[str(name)])]
    if faults:
        raise ConfigError("\n".join(faults))
    return variants


def _name_faults(name: str, meant: Variant) -> Iterator[str]:
    if not NAME.fullmatch(name):
        yield "a name is of letters, digits, _ and -, since files bear it."
    elif name in LADDER and meant != LADDER[name]:
        yield f"this name always means {to_mapping(LADDER[name])}, since the report's ladder counts on it. Name yours otherwise."
    elif name not in LADDER and set(name) <= set("TVB"):
        yield f"the letters T, V and B alone are names of the ladder ({', '.join(LADDER)}). Name yours otherwise."


def named(variants: Mapping[str, Variant], name: str) -> Variant:
    """ModelError where there is none of this name."""
    if name not in variants:
        raise ModelError(f"'{name}' is no variant; the variants are {', '.join(variants)}.", name=name)
    return variants[name]


def of_model(params: Mapping[str, Any], modalities: Sequence[Modality]) -> Variant:
    """What a model in a folder was given: as its params say; older folders know modalities alone."""
    if "variant" in params:
        return from_mapping(params["variant"], Variant, "metadata.json: params.variant")
    has_video = {"face", "pose"} <= set(modalities)
    return Variant(
        "tokens" if "audio" in modalities else "none", has_video, has_video, has_video, "target", "none", True
    )


def read_described(inputs: Variant, folder: Path, manifest: Manifest) -> Described:
    """The descriptions in ``folder`` that the variant reads. CorpusError where a file is missing; StaleError where cross-fitted
    ones are by models that learned from other splits than the manifest's."""
    of = provenance.fitted(manifest)
    return {s: read_descriptions(_file(folder, s), of if s == CROSSFIT else None) for s in inputs.sources}


def _file(folder: Path, source: Source) -> Path:
    path = folder / FILES[source]
    return current_path(path, f"{FORMER_CROSSFIT}.jsonl") if source == CROSSFIT else path


def align_folder(model: Path) -> Path:
    """Where a model that reads cross-fitted descriptions keeps the align model that makes them for new clips."""
    return current_path(model / CROSSFIT, FORMER_CROSSFIT)


def sentences(inputs: Variant, described: Described, ids: Sequence[str]) -> dict[str, dict[str, str]]:
    """Utterance id -> slot -> sentence, as far as there are any.

    A voice that is not there, or too short to be judged, is passed over where the sentence stands for the voice, as
    SpeechCueLLM does; a description says it.
    """
    by_id: dict[str, dict[str, str]] = {id: {} for id in ids}
    for slot, source in inputs.described:
        for id in ids:
            text = getattr(described[source][id], slot) if id in described.get(source, {}) else ""
            if text and not (inputs.voice == "sentence" and text in (NO_VOICE, TOO_SHORT.format("voice"))):
                by_id[id][slot] = text
            if inputs.behavior_of == "partner" and slot != "voice":
                listener = described[source].get(listener_id(id))
                if listener is not None and getattr(listener, slot):
                    by_id[id][f"{LISTENER}_{slot}"] = getattr(listener, slot)
    return by_id


def must_be_described(
    name: str, inputs: Variant, described: Described, manifest: Manifest, splits: Sequence[Split]
) -> None:
    """ModelError where a split has no description of a source that the variant reads: what trains must also be there to judge."""
    for source in inputs.sources:
        descriptions = described.get(source, {})
        missing = [
            s for s in splits if manifest.by_split(s) and not any(u.id in descriptions for u in manifest.by_split(s))
        ]
        if missing:
            raise ModelError(
                f"Variant {name} reads descriptions by {source}, and {' and '.join(missing)} "
                f"{'has' if len(missing) == 1 else 'have'} none. {REMEDIES[source]}",
                name=name,
            )


def must_have_columns(name: str, inputs: Variant, columns: Mapping[Modality, Sequence[str]], path: Path) -> None:
    """ModelError where the token file has nothing of a modality, or of a cue, that the variant reads."""
    missing = [m for m in inputs.modalities if not columns.get(m)]
    if missing:
        raise ModelError(
            f"Variant {name} reads {', '.join(missing)}, of which the token file {path} has nothing. "
            "Extract it, or train another variant.",
            name=name,
        )
    hidden = inputs.hidden(columns)
    blind = [m for m in hidden if len(hidden[m]) == len(columns[m])]
    if blind:
        raise ModelError(
            f"Variant {name} is left without a single column of {', '.join(blind)}: the token file {path} tells of other "
            "cues there than of those that are on. Turn others on, or the modality off.",
            name=name,
        )
