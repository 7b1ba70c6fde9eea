"""A dialogue that goes on: the scores are those of the whole tree, and its history is computed once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bemerc.corpus.labels import LABEL_SETS
from bemerc.corpus.manifest import MODALITIES
from bemerc.language.inputs import prompts
from bemerc.language.predict import score_labels
from bemerc.language.predict.kept_history import KeptHistory
from tests.language.test_model import World
from tests.slow import beyond

LABELS = (*LABEL_SETS["meld"], "joyful and glad")  # of several tokens, one the beginning of another


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("kept"))


@pytest.mark.parametrize("family", ["llama3", "mistral window"])
@pytest.mark.parametrize("behavior_of", beyond(["target"], ["target", "all"]))
def test_the_scores_are_those_of_the_whole_dialogue(world: World, family: str, behavior_of: prompts.BehaviorOf) -> None:
    model = world.model(world.family(family))
    shape = prompts.Params(window=2)
    encoder = score_labels.encoder_for(model, shape, 1024)
    asked = score_labels.prompts(world.manifest, ("dev", "test"), LABELS, MODALITIES, shape, behavior_of)
    expected = score_labels.score_labels(model, encoder, asked, world.tokens, score_labels.Params(), quiet=True)
    kept = KeptHistory(model, encoder)
    for one in asked:
        scores = kept.score([one], world.tokens)
        np.testing.assert_allclose(scores[one[0].id], expected[one[0].id], atol=2e-4)


def test_the_history_is_computed_once(world: World) -> None:
    model = world.model(world.family("llama3"))
    shape = prompts.Params(window=8)
    encoder = score_labels.encoder_for(model, shape, 1024)
    asked = score_labels.prompts(world.manifest, ("test",), LABELS, MODALITIES, shape)
    asked = [one for one in asked if len(one[0].history) == max(len(other.history) for other, _ in asked)][:1]
    (prompt, labels) = asked[0]
    shorter = replace(prompt, history=prompt.history[:-1])
    kept = KeptHistory(model, encoder)
    kept.score([(shorter, labels)], world.tokens)
    before = kept.computed
    kept.score([(prompt, labels)], world.tokens)
    turn, branch = encoder.encode(prompt).nodes[-3:-1]
    answers = sum(len(e.nodes[-1].ids) - 1 for e in encoder.encode_answers(prompt, [f" {x}" for x in labels]))
    assert kept.computed - before == len(turn.ids) + len(branch.ids) + answers
    assert kept.computed - before < len(encoder.encode(prompt))
