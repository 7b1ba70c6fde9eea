"""What stage 2 may learn from conflict items: recombined examples beside train's own, and weights by consistency.

Both are off by default. Recombined examples: the words and voice of one utterance with the face of another, labelled with
the voice's emotion or the face's, by lot; a model that leans on one side alone is wrong on half of them. Weights by consistency
are TiCAL's idea (arXiv 2511.15085) without its hyperbolic space and its own estimate of consistency: an utterance whose
sides disagree counts less, or more.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bemerc.corpus.conflict import ConflictItem, ConflictSet
from bemerc.corpus.manifest import Manifest, Modality
from bemerc.language.inputs import recombined
from bemerc.language.inputs.prompts import BehaviorOf, Prompt, label_target
from bemerc.language.inputs.prompts import Params as PromptParams

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Params:
    """params.yaml: merc.conflict.

    recombined    recombined examples per labelled utterance of train; 0 = none
    voice_share   the share of them that is labelled with the voice's emotion; the others with the face's
    consistency   -1 to below 1: an utterance counts 1 - consistency * strength of its conflict, over the mean of train; 0 = all alike
    seed          of the lot
    """

    recombined: float = 0.0
    voice_share: float = 0.5
    consistency: float = 0.0
    seed: int = 0

    def check(self) -> Iterator[str]:
        """What is wrong with these values, a sentence each."""
        if not 0 <= self.recombined <= 100:
            yield f"recombined: must lie between 0 and 100, not {self.recombined}."
        if not 0 <= self.voice_share <= 1:
            yield f"voice_share: must lie between 0 and 1, not {self.voice_share}."
        if not -1 <= self.consistency < 1:  # at 1 whole dialogues could weigh nothing, and a batch has no loss
            yield f"consistency: must be from -1 to below 1, not {self.consistency}."

    @property
    def reads_items(self) -> bool:
        """Whether training needs conflict items at all."""
        return self.recombined > 0 or self.consistency != 0


def drawn(conflicts: ConflictSet, utterances: int, params: Params) -> list[ConflictItem]:
    """Recombined items of train each labelled with the emotion of one side; ``utterances``: train's labelled ones."""
    items, wanted = conflicts.of("train", "recombined"), round(params.recombined * utterances)
    if wanted > len(items):
        _LOG.warning(
            "merc.conflict.recombined asks for %d examples, and the conflict items of train are %d: all of them are taken.",
            wanted,
            len(items),
        )
    rng = np.random.default_rng([params.seed, 15])
    chosen = sorted(rng.permutation(len(items))[:wanted].tolist())
    of_voice = rng.permutation(len(chosen)) < params.voice_share * len(chosen)
    return [
        replace(items[i], label=items[i].label_voice if voice else items[i].label_face)
        for i, voice in zip(chosen, of_voice, strict=True)
    ]


def prompts_with(
    own: Sequence[Prompt],
    items: Sequence[ConflictItem],
    manifest: Manifest,
    labels: Sequence[str],
    modalities: Sequence[Modality],
    params: PromptParams,
    behavior_of: BehaviorOf,
    sentences: Mapping[str, Mapping[str, str]],
) -> list[Prompt]:
    """Train's prompts, each followed by the items with its words: what shares a history stands together."""
    label_of = {item.id: item.label for item in items}
    described = recombined.sentences_of(items, sentences)
    made = recombined.prompts_of(items, manifest, labels, modalities, params, behavior_of, described)
    words_of, behind = {item.id: item.voice_of for item in items}, dict[str, list[Prompt]]()
    for one in made:
        label = label_of[one.id]
        assert label is not None
        behind.setdefault(words_of[one.id], []).append(replace(one, target=label_target(label)))
    return [prompt for one in own for prompt in (one, *behind.get(one.id, ()))]


def weights(conflicts: ConflictSet, ids: Sequence[str], consistency: float) -> dict[str, float]:
    """Utterance id -> weight in the loss, 1 on average. What is no item counts like the mean of those that are.

    ids  train's labelled utterances
    """
    strength = {item.id: item.strength for item in conflicts.of("train", "labels", "predictors")}
    raw = {id: 1 - consistency * strength[id] for id in ids if id in strength}
    mean = float(np.mean(list(raw.values()))) if raw else 1.0
    return {id: raw[id] / mean if id in raw and mean > 0 else 1.0 for id in ids}
