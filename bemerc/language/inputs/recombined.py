"""Prompts for conflict items: the words, history and voice of one utterance with the face and body of another.

Nothing is copied: a prompt names the utterances whose behavior stands in it, so another id in a placeholder is enough.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from bemerc.corpus.conflict import ConflictItem
from bemerc.language.inputs.prompts import Piece, Placeholder, Prompt, label_target

_VISIBLE = ("face", "pose")


def recombine(prompt: Prompt, id: str, face_of: str, label: str | None) -> Prompt:
    """The prompt of an utterance with the face and body of ``face_of``, under the name ``id``, its target ``label``.

    The history stays: what the speakers did before is as it was.
    """

    def taken(piece: Piece) -> Piece:
        other = isinstance(piece, Placeholder) and piece.modality in _VISIBLE and piece.utterance == prompt.id
        return replace(piece, utterance=face_of) if isinstance(piece, Placeholder) and other else piece

    target = label_target(label) if label is not None else ""
    return replace(prompt, id=id, branch=tuple(taken(piece) for piece in prompt.branch), target=target)


def recombined_sentences(
    items: Iterable[ConflictItem], sentences: Mapping[str, Mapping[str, str]]
) -> dict[str, dict[str, str]]:
    """Item id -> slot -> sentence: of the voice from one utterance, of what is visible from the other."""
    return {
        item.id: {slot: text for slot, text in sentences.get(item.face_of, {}).items() if slot != "voice"}
        | {slot: text for slot, text in sentences.get(item.voice_of, {}).items() if slot == "voice"}
        for item in items
    }
