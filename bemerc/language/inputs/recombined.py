"""Prompts for conflict items: the words, history and voice of one utterance with the face and body of another.

Nothing is copied: a prompt names the utterances whose behavior stands in it, so another id in a placeholder is enough.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from bemerc.core.errors import CorpusError
from bemerc.corpus.conflict import ConflictItem
from bemerc.corpus.manifest import Manifest, Modality
from bemerc.language.inputs.prompts import BehaviorOf, Params, Prompt, merc_prompt, with_own_behavior

_VISIBLE = ("face", "pose")


def prompts_of(
    items: Iterable[ConflictItem],
    manifest: Manifest,
    labels: Sequence[str],
    modalities: Sequence[Modality],
    params: Params,
    behavior_of: BehaviorOf,
    described: Mapping[str, Mapping[str, str]],
) -> list[Prompt]:
    """A prompt per item, dialogue by dialogue, without a target; ``described``: item id -> slot -> sentence.

    The turns before stay: what the speakers did there is as it was. CorpusError where the manifest lacks an item's utterance.
    """
    turns = {
        u.id: (dialogue, index) for dialogue in manifest.dialogues() for index, u in enumerate(dialogue.utterances)
    }
    items = list(items)
    for item in items:
        for id in (item.voice_of, item.face_of):
            if id not in turns:
                raise CorpusError(
                    "a conflict item names this utterance, and the manifest does not have it. Run "
                    "'bemerc conflict build' again.",
                    id=id,
                )
    made = []
    for item in sorted(items, key=lambda item: (item.dialogue, turns[item.voice_of][1], item.id)):
        dialogue, index = turns[item.voice_of]
        sentences = described.get(item.id, {})
        own = merc_prompt(dialogue, index, labels, modalities, params, behavior_of=behavior_of, described=sentences)
        made.append(replace(recombine(own, item.face_of), id=item.id, target=""))
    return made


def recombine(prompt: Prompt, face_of: str) -> Prompt:
    """The same prompt with the face and body of the utterance ``face_of``."""
    return with_own_behavior(prompt, lambda of: replace(of, utterance=face_of) if of.modality in _VISIBLE else of)


def sentences_of(
    items: Iterable[ConflictItem], sentences: Mapping[str, Mapping[str, str]]
) -> dict[str, dict[str, str]]:
    """Item id -> slot -> sentence: of the voice from one utterance, of what is visible from the other."""
    return {
        item.id: {slot: text for slot, text in sentences.get(item.face_of, {}).items() if slot != "voice"}
        | {slot: text for slot, text in sentences.get(item.voice_of, {}).items() if slot == "voice"}
        for item in items
    }
