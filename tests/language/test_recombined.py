"""Conflict items are asked about as the utterances that they are made of: the same scores, and the other one's face."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bemerc.behavior.tokens.file import TokenFile
from bemerc.core.errors import CorpusError
from bemerc.corpus.conflict import ConflictItem
from bemerc.corpus.manifest import Manifest, Utterance
from bemerc.language.inputs import prompts
from bemerc.language.model import behavior_model
from bemerc.language.predict import score_labels
from bemerc.language.train import merc
from tests import toy_language as language
from tests.toy_language import TRAINING

HOW = score_labels.Params(device="cpu")
BEHAVIOR_OF: tuple[prompts.BehaviorOf, ...] = ("target", "same_speaker")


class World:
    """A merc model that reads all there is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest: Manifest = language.manifest({"train": 12, "dev": 2, "test": 4})
        self.tokens: TokenFile = language.write(folder / "tokens.h5", self.manifest)
        backbone: behavior_model.Params = language.build(folder / "backbone", self.manifest)
        params = replace(TRAINING, epochs=4, projector_lr=0.03)
        self.models: dict[prompts.BehaviorOf, score_labels.MercModel] = {}
        for of in BEHAVIOR_OF:
            inputs, out = replace(merc.variants.LADDER["TVB"], align=False, behavior_of=of), folder / of
            merc.run(
                "mine", self.manifest, self.tokens, {}, None, prompts.Params(), backbone, params, out, None, inputs
            )
            self.models[of] = score_labels.MercModel(out)
        self.model = self.models["target"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("recombined"))


def item(voice: Utterance, face: Utterance) -> ConflictItem:
    id = voice.id if voice is face else f"{voice.id} ~ {face.id}"
    label = voice.label or "neutral"
    return ConflictItem(
        id, "recombined", "other", voice.split, voice.dialogue, voice.id, face.id, None, label, label, 1.0, 0.5
    )


def softmax(scores: dict[str, float]) -> np.ndarray:
    return np.log(np.array(list(scores.values())))


def test_an_item_that_is_an_utterance_has_its_scores(world: World) -> None:
    own = world.manifest.by_split("test")
    scores = world.model.score_items(world.manifest, world.tokens, [item(u, u) for u in own], HOW)
    predictions = world.model.score(world.manifest, world.tokens, ("test",), HOW)
    for one in predictions:
        np.testing.assert_allclose(scores[one.id], softmax(one.scores), atol=1e-4)


@pytest.mark.parametrize("behavior_of", BEHAVIOR_OF)
def test_a_recombined_item_reads_the_other_face_and_nothing_else_changes(
    world: World, behavior_of: prompts.BehaviorOf
) -> None:
    """As if the token file held the other's face and body under this utterance's name: where turns of the history show
    their behavior, in its own line too."""
    model = world.models[behavior_of]
    first, *others = world.manifest.by_split("test")
    other = next(
        u for u in others if (world.tokens[u.id]["face"].values != world.tokens[first.id]["face"].values).any()
    )
    swapped = {u.id: world.tokens[u.id] for u in world.manifest.utterances}
    swapped[first.id] = {**swapped[other.id], "audio": swapped[first.id]["audio"]}
    expected = model.score(world.manifest, _Swapped(world.tokens, swapped), ("test",), HOW)
    scores = model.score_items(world.manifest, world.tokens, [item(first, other), item(first, first)], HOW)
    mixed, own = (scores[one.id] for one in (item(first, other), item(first, first)))
    np.testing.assert_allclose(mixed, softmax({p.id: p for p in expected}[first.id].scores), atol=1e-4)
    assert np.abs(mixed - own).max() > 1e-3


def test_words_that_are_too_long_are_cut_for_items_as_for_utterances(world: World) -> None:
    first = world.manifest.by_split("test")[0]
    endless = tuple(replace(u, text="so " * 4000) if u is first else u for u in world.manifest.utterances)
    manifest = replace(world.manifest, utterances=endless)
    other = manifest.by_split("test")[1]
    items = [item(replace(first), other), item(first, first)]
    assert set(world.model.score_items(manifest, world.tokens, items, HOW)) == {one.id for one in items}


def test_an_item_of_another_manifest_is_refused(world: World) -> None:
    first = world.manifest.by_split("test")[0]
    with pytest.raises(CorpusError):
        world.model.score_items(world.manifest, world.tokens, [item(first, replace(first, id="elsewhere"))], HOW)


class _Swapped:
    """A token file with other rows."""

    def __init__(self, tokens: TokenFile, rows: dict[str, dict]) -> None:
        self._tokens, self._rows = tokens, rows

    def __getattr__(self, name: str) -> object:
        return getattr(self._tokens, name)

    def __getitem__(self, key: str) -> dict:
        return self._rows[key]

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def without(self, hidden: object) -> _Swapped:
        assert not hidden
        return self
