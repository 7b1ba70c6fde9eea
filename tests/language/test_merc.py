"""Align, merc and predict on a made world: behavior is learned, test is never looked at, scores are exact, misfits are sentences."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from bemerc.behavior.describe.description import SLOTS
from bemerc.behavior.tokens.file import TokenFile
from bemerc.core.errors import ModelError
from bemerc.corpus.manifest import Manifest
from bemerc.language.inputs import batching, encoding, packing, prompts
from bemerc.language.inputs.variants import LADDER
from bemerc.language.model import behavior_model, model_folder
from bemerc.language.predict import generate, score_labels
from bemerc.language.predict.records import read_predictions, write_predictions
from bemerc.language.train import align, merc
from bemerc.language.train.log import log_of
from tests import toy_language as language
from tests.errors import raises
from tests.toy_language import TRAINING

HOW = score_labels.Params(device="cpu")
# A long rise of gentle rates. With 0.02 for both after a tenth of the steps, whether the adapter ever looked at behavior or
# settled on the labels' frequencies hung on rounding: on the seed, and on how many threads a sum was split over.
LONGER = replace(TRAINING, epochs=14, adapter_lr=0.003, projector_lr=0.01, warmup=0.3)


class World:
    """A manifest, its tokens, a backbone and an align model on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest: Manifest = language.manifest({"train": 24, "dev": 6, "test": 6})
        self.tokens: TokenFile = language.write(folder / "tokens.h5", self.manifest)
        self.params = language.build(folder / "backbone", self.manifest, language.READER)
        self.align = folder / "align"
        said = language.describe(self.manifest)
        self.best = align.run(self.manifest, self.tokens, said, {"known": 1}, self.params, LONGER, self.align)

    def merc(self, out: Path, variant: str = "TVB", manifest: Manifest | None = None, **changed: object) -> object:
        given = {"start": self.align, "params": replace(TRAINING, epochs=1), "tokens": self.tokens} | changed
        return merc.run(
            variant,
            manifest or self.manifest,
            given["tokens"],
            {"known": 1},
            given["start"],
            prompts.Params(),
            self.params,
            given["params"],
            out,
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def changed(manifest: Manifest, split: str, **values: object) -> Manifest:
    made = tuple(replace(u, **values) if u.split == split else u for u in manifest.utterances)
    return replace(manifest, utterances=made)


def accuracy(world: World, folder: Path) -> float:
    found = score_labels.MercModel(folder).score(world.manifest, world.tokens, ("test",), HOW)
    return float(np.mean([p.label == p.gold for p in found]))


def test_align_learns_to_say_what_the_tokens_show(world: World) -> None:
    log = [json.loads(line) for line in log_of(world.align).read_text().splitlines()]
    dev = [line["dev_loss"] for line in log if "dev_loss" in line]
    assert min(dev) < 0.85 * dev[0]
    known = behavior_model.read_metadata(world.align)
    assert (known.task, known.variant, known.references) == ("align", "TVB", {"known": 1})
    assert known.dev["loss"] == world.best.dev["loss"]


def test_an_align_model_describes_in_the_words_it_was_taught(world: World) -> None:
    known, ids = language.describe(world.manifest), [u.id for u in world.manifest.by_split("test")]
    found = generate.generate_descriptions(world.align, ids, world.tokens, HOW, limit=40)
    assert list(found) == ids
    taught = {getattr(description, slot) for description in known.values() for slot in SLOTS}
    assert {getattr(description, slot) for description in found.values() for slot in SLOTS} <= taught
    alone = generate.generate_descriptions(world.align, ids[:3], world.tokens, replace(HOW, batch=1), limit=40)
    assert alone == {id: found[id] for id in ids[:3]}


def test_what_is_written_is_the_likeliest_token_at_every_step(world: World) -> None:
    made, known = model_folder.load(world.align, device="cpu")
    encoder = score_labels.encoder_for(made, prompts.Params(), 512)
    id = world.manifest.by_split("test")[2].id
    asked = prompts.align_prompts(id, {"facial_expression": "?"}, known.modalities)[0]
    batch = batching.collate([packing.make_tree([encoder.question(asked)])], world.tokens)
    with torch.inference_mode():
        written = made.generate(batch, 12, encoder.end)[0]
        so_far = ""
        for step, token in enumerate(written):
            scores = {}
            for other in (token, *range(40, 80)):
                text = made.tokenizer.decode([*written[:step], other])
                if made.tokenizer(text, add_special_tokens=False)["input_ids"] != [*written[:step], other]:
                    continue
                one = encoder.encode(replace(asked, target=text))
                parts = made.target_log_probs(batching.collate(packing.pack_trees([one], 0), world.tokens))
                scores[other] = float(parts[step])
            assert token not in scores or scores[token] == max(scores.values())
            so_far += made.tokenizer.decode([token])
    assert so_far.strip()


def test_only_an_align_model_describes(world: World, tmp_path: Path) -> None:
    world.merc(tmp_path / "m")
    with raises(ModelError, path=tmp_path / "m", name="merc"):
        generate.generate_descriptions(tmp_path / "m", [], world.tokens, HOW)


@pytest.mark.parametrize("seed", [3, pytest.param(4, marks=pytest.mark.slow)])
def test_behavior_is_learned_where_words_say_nothing(world: World, tmp_path: Path, seed: int) -> None:
    for variant in ("TVB", "T"):
        world.merc(tmp_path / variant, variant, params=replace(LONGER, seed=seed))
    reached, without = (accuracy(world, tmp_path / name) for name in ("TVB", "T"))
    assert reached > 0.8  # every seventh utterance shows nothing
    assert reached > without + 0.2


@pytest.mark.parametrize("name", LADDER)
def test_every_variant_trains_and_reads_what_it_says(world: World, tmp_path: Path, name: str) -> None:
    variant, modalities = name, LADDER[name].modalities
    world.merc(tmp_path / "m", variant)
    known = behavior_model.read_metadata(tmp_path / "m")
    assert known.modalities == modalities
    assert set(known.columns) == set(modalities)
    found = score_labels.MercModel(tmp_path / "m").score(world.manifest, world.tokens, ("dev", "test"), HOW)
    assert [p.id for p in found] == sorted(u.id for u in world.manifest.utterances if u.split != "train")
    write_predictions(tmp_path / "p.jsonl", found)
    assert len(read_predictions(tmp_path / "p.jsonl")) == len(found)


def test_test_is_never_looked_at(world: World, tmp_path: Path) -> None:
    poisoned = changed(world.manifest, "test", label="anger", text="poison poison poison")
    for name, manifest in (("a", world.manifest), ("b", poisoned)):
        world.merc(tmp_path / name, manifest=manifest)
    a, b = ((tmp_path / n / "adapter_model.safetensors").read_bytes() for n in "ab")
    assert a == b
    assert (tmp_path / "a/projectors.safetensors").read_bytes() == (tmp_path / "b/projectors.safetensors").read_bytes()


def test_scores_are_the_labels_own_probabilities_one_prompt_each(world: World, tmp_path: Path) -> None:
    world.merc(tmp_path / "m")
    made, known = model_folder.load(tmp_path / "m", device="cpu")
    encoder = score_labels.encoder_for(made, prompts.Params(), 512)
    sums: dict[str, list[float]] = {}
    with torch.inference_mode():
        for asked, labels in score_labels.prompts(
            world.manifest, ("test",), known.labels, known.modalities, prompts.Params()
        ):
            for label in labels:
                one = encoder.encode(replace(asked, target=prompts.label_target(label)), ended=False)
                batch = batching.collate(packing.pack_trees([one], 0), world.tokens)
                sums.setdefault(asked.id, []).append(float(made.target_log_probs(batch).double().sum()))
    for found in score_labels.MercModel(tmp_path / "m").score(world.manifest, world.tokens, ("test",), HOW):
        flat = np.array(sums[found.id]) / known.dev["temperature"]
        exact = np.exp(flat - np.logaddexp.reduce(flat))
        assert list(found.scores.values()) == pytest.approx(exact, abs=1e-5)
        assert sum(found.scores.values()) == pytest.approx(1, abs=1e-12)
        assert found.label == known.labels[int(exact.argmax())]


def test_a_label_that_begins_another_is_scored_with_the_mark_that_ends_it(world: World, tmp_path: Path) -> None:
    world.merc(tmp_path / "m")
    made, known = model_folder.load(tmp_path / "m", device="cpu")
    encoder = score_labels.encoder_for(made, prompts.Params(), 512)
    asked, _ = score_labels.prompts(world.manifest, ("test",), known.labels, known.modalities, prompts.Params())[0]
    labels = ("joy", "joy anger", "neutral")
    found = score_labels.score_labels(made, encoder, [(asked, labels)], world.tokens, HOW, quiet=True)[asked.id]
    alone = score_labels.score_labels(made, encoder, [(asked, labels[1:])], world.tokens, HOW, quiet=True)[asked.id]
    with torch.inference_mode():
        for label, total in zip(labels, found, strict=True):
            one = encoder.encode(replace(asked, target=prompts.label_target(label)))
            parts = made.target_log_probs(batching.collate(packing.pack_trees([one], 0), world.tokens)).double()
            assert one.nodes[-1].ids[-1] == encoder.end
            assert total == pytest.approx(float(parts.sum()), abs=1e-5)
            if label in labels[1:]:  # among others that share no beginning the mark parts nothing, and is left out
                assert alone[labels.index(label) - 1] == pytest.approx(float(parts[:-1].sum()), abs=1e-5)


@pytest.mark.parametrize("how", [replace(HOW, row_tokens=0), replace(HOW, batch=1), replace(HOW, row_tokens=300)])
def test_how_it_is_computed_changes_no_score(world: World, how: score_labels.Params) -> None:
    world.merc(world.folder / "same") if not (world.folder / "same").exists() else None
    usual, other = (
        score_labels.MercModel(world.folder / "same").score(world.manifest, world.tokens, ("test",), h)
        for h in (HOW, how)
    )
    for a, b in zip(usual, other, strict=True):
        assert a.label == b.label
        assert list(a.scores.values()) == pytest.approx(list(b.scores.values()), abs=1e-5)


def test_predictions_of_scores_that_are_no_numbers_are_refused(world: World, tmp_path: Path) -> None:
    """The first label would be the likeliest of seven NaN."""
    world.merc(tmp_path / "m")
    file = tmp_path / "m" / behavior_model.PROJECTORS
    save_file({name: torch.full_like(weight, 3e38) for name, weight in load_file(file).items()}, file)
    with raises(ModelError, path=tmp_path / "m", name=world.manifest.by_split("test")[0].id):
        score_labels.MercModel(tmp_path / "m").score(world.manifest, world.tokens, ("test",), HOW)


def test_an_endless_cue_costs_its_own_words_and_nobody_a_prediction(world: World, tmp_path: Path) -> None:
    world.merc(tmp_path / "m")
    long = world.manifest.by_split("test")[1].id
    words = "really love " * 6000
    endless = tuple(replace(u, text=words) if u.id == long else u for u in world.manifest.utterances)
    usual, found = (
        {p.id: p for p in score_labels.MercModel(tmp_path / "m").score(of, world.tokens, ("test",), HOW)}
        for of in (world.manifest, replace(world.manifest, utterances=endless))
    )
    assert found.keys() == usual.keys()
    assert {id for id, p in found.items() if p.note} == {long}
    dialogue = next(u.dialogue for u in world.manifest.utterances if u.id == long)
    for u in world.manifest.by_split("test"):
        if u.dialogue != dialogue or u.id < long:
            assert list(found[u.id].scores.values()) == pytest.approx(list(usual[u.id].scores.values()), abs=1e-5)
    write_predictions(tmp_path / "predictions.jsonl", list(found.values()))
    assert {p.id for p in read_predictions(tmp_path / "predictions.jsonl") if p.note} == {long}


def test_a_run_leaves_the_generators_of_random_numbers_alone(world: World, tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    world.merc(tmp_path / "m")
    assert torch.equal(torch.rand(2), expected)


def test_unlabelled_clips_get_predictions_without_gold(world: World, tmp_path: Path) -> None:
    world.merc(tmp_path / "m")
    found = score_labels.MercModel(tmp_path / "m").score(
        changed(world.manifest, "test", label=None), world.tokens, ("test",), HOW
    )
    assert {p.gold for p in found} == {None}


@pytest.mark.parametrize("split", ["train", "dev"])
def test_a_split_without_labels_is_a_sentence(world: World, tmp_path: Path, split: str) -> None:
    with raises(ModelError, name=split):
        world.merc(tmp_path / "m", manifest=changed(world.manifest, split, label=None))


def test_an_empty_dev_is_a_sentence_for_align_and_merc(world: World, tmp_path: Path) -> None:
    bare = replace(world.manifest, utterances=world.manifest.by_split("train"))
    with raises(ModelError, name="dev"):
        world.merc(tmp_path / "m", manifest=bare)
    told = (language.describe(bare), None, world.params, TRAINING, tmp_path / "a")
    with raises(ModelError, name="dev", missing=True):
        align.run(bare, world.tokens, *told)
    with raises(ModelError, name="dev", missing=False):
        align.run(world.manifest, world.tokens, *told)


def test_a_label_that_train_lacks_is_named(world: World, tmp_path: Path) -> None:
    utterances = tuple(u for u in world.manifest.utterances if u.split != "train" or u.label != "joy")
    with raises(ModelError, name="joy"):
        world.merc(tmp_path / "m", manifest=replace(world.manifest, utterances=utterances))


def test_what_does_not_fit_is_a_sentence(world: World, tmp_path: Path) -> None:
    with raises(ModelError, name="TX"):
        world.merc(tmp_path / "m", "TX")
    other = language.write(tmp_path / "other.h5", world.manifest, language.WIDTHS | {"face": 6})
    with raises(ModelError, name="face"):
        world.merc(tmp_path / "m", tokens=other)
    words = language.write(tmp_path / "words.h5", world.manifest, {"face": 5})
    with raises(ModelError, name="TV"):
        world.merc(tmp_path / "m", "TV", tokens=words)
    world.merc(tmp_path / "m")
    with raises(ModelError, path=tmp_path / "m", name="merc"):
        world.merc(tmp_path / "n", start=tmp_path / "m")
    with raises(ModelError, path=world.align, name="align"):
        score_labels.MercModel(world.align).score(world.manifest, world.tokens, ("test",), HOW)
    with raises(ModelError, name="face"):
        score_labels.MercModel(tmp_path / "m").score(world.manifest, other, ("test",), HOW)


def test_an_utterance_that_the_token_file_lacks_is_named(world: World, tmp_path: Path) -> None:
    few = replace(world.manifest, utterances=world.manifest.by_split("dev") + world.manifest.by_split("train"))
    lacking = language.write(tmp_path / "t.h5", few)
    world.merc(tmp_path / "m")
    with pytest.raises(encoding.ExampleError, match=r"made/test/d0_u\d: the token file has no behavior"):
        score_labels.MercModel(tmp_path / "m").score(world.manifest, lacking, ("test",), HOW)


def test_a_chat_template_is_used_where_there_is_one(world: World, tmp_path: Path) -> None:
    made = model_folder.build(world.params, {}, language.K)
    with pytest.raises(ModelError, match=r"prompt\.template is chat, but the tokenizer"):
        score_labels.encoder_for(made, prompts.Params(template="chat"), 512)
    made.tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}[answer] {% endif %}"
    )
    encoder = score_labels.encoder_for(made, prompts.Params(template="chat"), 512)
    asked = prompts.merc_prompt(world.manifest.dialogues()[0], 1, world.manifest.labels, (), prompts.Params())
    said = made.tokenizer.decode([i for node in encoder.encode(asked).nodes for i in node.ids])
    assert said.startswith("<|begin|>[system] Name the emotion")
    assert said.count("<|begin|>") == 1
    assert "[answer] " in said


@pytest.mark.slow
def test_the_language_wing_needs_no_video_libraries() -> None:
    code = (
        "import sys, bemerc.language.train.loop, bemerc.language.train.merc, bemerc.language.train.align, bemerc.language.predict.score_labels;"
        "assert not {'cv2', 'av', 'ai_edge_litert', 'librosa'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
