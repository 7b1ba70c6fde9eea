"""Label scores belong to their labels: on every route, in rows of every length, they are those of one plain prompt per label."""

from __future__ import annotations

import itertools
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bemerc.core.errors import ModelError
from bemerc.corpus.labels import LABEL_SETS
from bemerc.corpus.manifest import MODALITIES
from bemerc.language.inputs import encoding, packing, prompts
from bemerc.language.model import behavior_model
from bemerc.language.model.tree_attention import TreeSupport
from bemerc.language.predict import score_labels
from bemerc.language.train import merc
from tests.language.test_model import World
from tests.slow import beyond

LABELS = LABEL_SETS["meld"]
SPLITS = ("dev", "test")


class Judged:
    """Two models, the questions, and what a plain forward pass says of every label by itself."""

    def __init__(self, folder: Path) -> None:
        self.world = World(folder)
        shape = prompts.Params(window=2)
        self.asked = score_labels.prompts(self.world.manifest, SPLITS, LABELS, MODALITIES, shape)
        self.naive: dict[str, dict[str, np.ndarray]] = {}

    def model(self, family: str, trees: TreeSupport) -> behavior_model.BehaviorModel:
        made = self.world.model(self.world.family(family), trees=trees)
        assert made.trees == trees
        return made

    def alone(self, family: str) -> dict[str, np.ndarray]:
        """Utterance -> (7,) sums of log-probabilities, one prompt at a time through the language model as it is."""
        if family not in self.naive:
            made = self.model(family, "no")
            encoder = score_labels.encoder_for(made, prompts.Params(), 1024)
            with torch.inference_mode():
                self.naive[family] = {
                    one.id: np.array([self._one(made, encoder.question(one), f" {label}") for label in LABELS])
                    for one, _ in self.asked
                }
        return self.naive[family]

    def _one(self, made: behavior_model.BehaviorModel, question: encoding.Example, answer: str) -> float:
        target = made.tokenizer(answer, add_special_tokens=False)["input_ids"]
        embedded = []
        for node in question.nodes:
            behavior = iter(node.behavior)
            position = 0
            while position < len(node.ids):
                if node.modality[position] == encoding.WORDS:
                    embedded.append(made.lm.get_input_embeddings()(torch.tensor([node.ids[position]])))
                    position += 1
                    continue
                place = next(behavior)
                read = self.world.tokens[place.utterance][place.modality]
                values, mask = torch.from_numpy(read.values)[None], torch.from_numpy(read.mask)[None]
                embedded.append(made.projectors[place.modality](values, mask)[0])
                position += made.k
        embedded.append(made.lm.get_input_embeddings()(torch.tensor(target)))
        row = torch.cat(embedded)[None]
        logs = made.lm(inputs_embeds=row).logits[0].log_softmax(-1)
        first = row.shape[1] - len(target)
        return float(sum(logs[first + i - 1, token].double() for i, token in enumerate(target)))


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Judged:
    return Judged(tmp_path_factory.mktemp("judged"))


def test_the_labels_are_of_different_lengths(judged: Judged) -> None:
    """Else the order of arrival would be that of the labels, and nothing below could fail."""
    tokenizer = judged.model("llama3", "no").tokenizer
    counts = [len(tokenizer(f" {label}", add_special_tokens=False)["input_ids"]) for label in LABELS]
    assert len(set(counts)) >= 3
    assert counts != sorted(counts, reverse=True)
    assert all(np.diff(np.sort(of)).min() > 1e-3 for of in judged.alone("llama3").values())


ROUTES = [("no", 0), *((trees, rows) for trees in ("masks", "paths") for rows in (0, 150, 213, 4096))]


@pytest.mark.parametrize("batch", [1, 48])
@pytest.mark.parametrize(("trees", "row_tokens"), ROUTES)
@pytest.mark.parametrize("family", beyond(["llama3"], ["llama3", "gemma2"]))
def test_every_route_gives_every_label_its_own_score(
    judged: Judged, family: str, trees: TreeSupport, row_tokens: int, batch: int
) -> None:
    made = judged.model(family, trees)
    encoder = score_labels.encoder_for(made, prompts.Params(), 1024)
    how = score_labels.Params(batch=batch, row_tokens=row_tokens, device="cpu")
    found = score_labels.score_labels(made, encoder, judged.asked, judged.world.tokens, how, quiet=True)
    assert list(found) == [one.id for one, _ in judged.asked]
    for id, expected in judged.alone(family).items():
        assert found[id] == pytest.approx(expected, abs=2e-4), id


def test_a_row_may_end_between_two_labels_of_an_utterance(judged: Judged) -> None:
    """What the rows of 150 and 213 positions above are about."""
    encoder = score_labels.encoder_for(judged.model("llama3", "no"), prompts.Params(), 1024)
    examples = [
        encoder.encode(replace(one, target=f" {label}"), False, answer)
        for one, _ in judged.asked
        for answer, label in enumerate(LABELS)
    ]
    for rows in (150, 213):
        trees = packing.pack_trees(examples, rows)
        assert any(b.examples[0].answer and len(b) > len(a) for a, b in itertools.pairwise(trees))


def test_a_class_without_trees_refuses_rows_that_branch(judged: Judged) -> None:
    made = judged.model("llama3", "no")
    encoder = score_labels.encoder_for(made, prompts.Params(), 1024)
    with pytest.raises(ModelError):
        score_labels.score_labels(made, encoder, judged.asked, judged.world.tokens, score_labels.Params(), quiet=True)


@pytest.mark.parametrize(("family", "trees"), [("llama3", "masks"), ("llama3", "paths"), ("gemma2", "paths")])
def test_two_threads_may_share_a_model(judged: Judged, family: str, trees: TreeSupport) -> None:
    """While a model computes, hooks and an attention of ours stand in its layers."""
    made = judged.model(family, trees)
    before = made.lm.config.get_text_config()._attn_implementation
    encoder = score_labels.encoder_for(made, prompts.Params(), 1024)

    def scored(batch: int) -> dict[str, np.ndarray]:
        how = score_labels.Params(batch=batch, device="cpu")
        return score_labels.score_labels(made, encoder, judged.asked, judged.world.tokens, how, quiet=True)

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(scored, (1, 2, 1, 2)))
    for found in results:
        for id, expected in judged.alone(family).items():
            assert found[id] == pytest.approx(expected, abs=2e-4), id
    assert made.lm.config.get_text_config()._attn_implementation == before
    assert not made.lm.get_output_embeddings()._forward_pre_hooks


def test_a_score_that_is_no_number_says_nothing_of_its_label(judged: Judged) -> None:
    made = judged.model("llama3", "paths")
    with torch.no_grad():
        next(made.projectors["face"].parameters()).fill_(math.nan)
    encoder = score_labels.encoder_for(made, prompts.Params(), 1024)
    sums = score_labels.score_labels(
        made, encoder, judged.asked, judged.world.tokens, score_labels.Params(), quiet=True
    )
    assert all(np.isnan(of).all() for of in sums.values())
    rows, right = np.stack(list(sums.values())), np.zeros(len(sums), np.int64)
    score = merc.judged(rows, right)
    assert math.isnan(score.value)
    assert score.numbers == {}
    rows[1:] = np.log(1 / len(LABELS))
    assert math.isnan(merc.judged(rows, right).value), "one utterance is enough"
    assert merc.judged(rows[1:], right[1:]).value == pytest.approx(np.log(1 / len(LABELS)))
