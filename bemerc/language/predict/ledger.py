"""Compute the ledger: labels scored with every part of the input left out, one at a time, as further branches of the same trees.

Each is the question that a prompt without that part asks, to the token; nothing is approximated. What it has in common with
the whole question is computed once: the history, and of the branch what stands before the part (left_out.branching).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from bemerc.corpus.manifest import Manifest, Split
from bemerc.language.inputs import encoding, left_out, variants
from bemerc.language.inputs import prompts as prompt
from bemerc.language.predict.evidence import Evidence
from bemerc.language.predict.fitting import Asked
from bemerc.language.predict.records import Prediction
from bemerc.language.predict.score_labels import MercModel, Params, Reads

if TYPE_CHECKING:
    from bemerc.behavior.tokens.file import TokenFile

LEAST = -1e4  # nats; what a label that is ruled out has, since JSON has no infinity


def score(
    model: MercModel,
    manifest: Manifest,
    tokens: TokenFile,
    splits: Sequence[Split],
    params: Params,
    choice: left_out.Choice,
    described: variants.Described = variants.NOBODY,
) -> tuple[list[Prediction], list[Evidence]]:
    """Predictions as ``MercModel.score`` makes them, and the ledger of each, in id order. Raises what that raises."""
    parts: dict[str, list[str]] = {}

    def more(asked: Asked, reads: Reads) -> Asked:
        made = list(questions(asked, manifest, reads, choice))
        for id, part, _ in made:
            parts.setdefault(id, []).extend([part] if part else [])
        return [(one, model.labels) for one in in_order(made)]

    predictions, logs = model.score_with(manifest, tokens, splits, params, described, more)

    def by_label(id: str) -> dict[str, float]:
        return dict(zip(model.labels, np.maximum(logs[id], LEAST).tolist(), strict=True))

    return predictions, [
        Evidence(one.id, by_label(one.id), {part: by_label(_id(one.id, part)) for part in parts[one.id]})
        for one in predictions
    ]


def score_if_asked(
    model: MercModel,
    manifest: Manifest,
    tokens: TokenFile,
    splits: Sequence[Split],
    params: Params,
    choice: left_out.Choice | None,
    described: variants.Described = variants.NOBODY,
) -> tuple[list[Prediction], list[Evidence]]:
    """As ``score``; predictions alone where no parts are chosen."""
    if choice is None:
        return model.score(manifest, tokens, splits, params, described), []
    return score(model, manifest, tokens, splits, params, choice, described)


def _id(utterance: str, part: str) -> str:
    return f"{utterance}\0{part}"


def questions(
    asked: Asked, manifest: Manifest, reads: Reads, choice: left_out.Choice
) -> Iterator[tuple[str, str, prompt.Prompt]]:
    """Utterance, part and the question without it; the part of a whole question is empty.

    What parts from a question early comes before what parts from it late, and before the question itself.
    """
    turns_before = {
        u.id: [other.id for other in dialogue.utterances[: at + 1]]
        for dialogue in manifest.dialogues()
        for at, u in enumerate(dialogue.utterances)
    }
    cues = left_out.cues(reads.columns, choice.groups)
    ids = [one.id for one, _ in asked]
    for at, (one, labels) in enumerate(asked):
        answers = [prompt.label_target(label) for label in labels]
        # The history as it fits the model: what had to go is no part.
        one = replace(one, history=one.history[-reads.encoder.turns_that_fit(one, answers) :])
        one, others = left_out.branching(one, [(cue.name, left_out.without_cue(one, cue)) for cue in cues])
        turns = turns_before[one.id][-len(one.history) :]
        others += [("", one), *left_out.without_turns(one, turns, choice.turns)]
        others += _explained_otherwise(one, answers, ids[at + 1 :] + ids[:at], reads)
        for part, other in others:
            yield one.id, part, replace(other, id=_id(one.id, part)) if part else other


def _explained_otherwise(
    one: prompt.Prompt, answers: Sequence[str], others: Sequence[str], reads: Reads
) -> Iterator[tuple[str, prompt.Prompt]]:
    """The question with the sentences of the next utterance whose sentences are others. A model that reads none is asked the very
    same; nothing is asked where nobody else's are there, or where they take the room of the history."""
    own = reads.sentences.get(one.id, {})
    if not any(reads.sentences.values()):
        yield left_out.EXPLANATION, one
        return
    other = next((reads.sentences[id] for id in others if _differ(own, reads.sentences.get(id, {}))), None)
    if own and other is not None:
        changed = prompt.with_sentences(one, own, other)
        with contextlib.suppress(encoding.ExampleError):
            if reads.encoder.turns_that_fit(changed, answers) == len(one.history):
                yield left_out.EXPLANATION, changed


def _differ(own: Mapping[str, str], other: Mapping[str, str]) -> bool:
    return set(own) == set(other) and own != other


def in_order(made: Sequence[tuple[str, str, prompt.Prompt]]) -> list[prompt.Prompt]:
    """Questions whose histories begin alike side by side, as trees are packed."""
    begins: dict[prompt.Part, list[prompt.Prompt]] = {}
    for _, _, of in made:
        begins.setdefault(of.history[0], []).append(of)
    return [of for some in begins.values() for of in some]
