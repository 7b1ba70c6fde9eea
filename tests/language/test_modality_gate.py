"""The gate on modality logits: by its formula, fitted on train and dev alone, saved, resumed, exported, refused where it does not fit."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from bemerc.core.errors import ModelError
from bemerc.corpus.conflict import ConflictItem
from bemerc.corpus.manifest import Manifest
from bemerc.language.inputs import prompts
from bemerc.language.model import behavior_model, metadata
from bemerc.language.predict import modality_gate, score_labels
from bemerc.language.train import fit_gate, merc
from bemerc.release import export
from tests import toy_language as language
from tests.toy_language import TRAINING

HOW = score_labels.Params(device="cpu")


class World:
    """A manifest whose tokens show the label, and a backbone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest: Manifest = language.manifest({"train": 16, "dev": 8, "test": 8})
        self.tokens = language.write(folder / "tokens.h5", self.manifest)
        self.params = replace(language.build(folder / "backbone", self.manifest), head="modality_gate")
        self.trained = self.merc(folder / "gated")

    def merc(self, out: Path, variant: str = "TVB", of: Manifest | None = None, **changed: object) -> Path:
        shape = replace(self.params, **changed)
        training = replace(TRAINING, epochs=1)
        merc.run(variant, of or self.manifest, self.tokens, {}, None, prompts.Params(), shape, training, out)
        return out

    def accuracy(self, folder: Path) -> float:
        made = score_labels.MercModel(folder).score(self.manifest, self.tokens, ("test",), HOW)
        return float(np.mean([p.label == p.gold for p in made]))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def test_a_model_that_learned_little_is_helped_by_what_each_modality_says(world: World, tmp_path: Path) -> None:
    plain = world.merc(tmp_path / "plain", head="none")
    assert world.accuracy(world.trained) > world.accuracy(plain) + 0.2
    known = metadata.read_metadata(world.trained)
    assert known.dev["head_loss"] < known.dev["loss_at_temperature"]
    assert "head_loss" not in metadata.read_metadata(plain).dev
    assert "head" not in json.loads((plain / "metadata.json").read_text())["params"]["model"]
    assert not (plain / modality_gate.GATE).exists()
    # The language model is the same: the gate comes after it.
    for file in ("adapter_model.safetensors", "projectors.safetensors"):
        assert (plain / file).read_bytes() == (world.trained / file).read_bytes()


def test_scores_by_the_formula(world: World) -> None:
    known = metadata.read_metadata(world.trained)
    gate = modality_gate.read(world.trained, known)
    assert gate is not None
    model = score_labels.MercModel(world.trained, device="cpu")
    scores = {p.id: p for p in model.score(world.manifest, world.tokens, ("test",), HOW)}
    bare = score_labels.MercModel(world.trained, device="cpu")
    bare._gate = None
    cooled = known.dev["temperature"]
    for one in bare.score(world.manifest, world.tokens, ("test",), HOW):
        own = np.log(list(one.scores.values())) * cooled
        own -= np.logaddexp.reduce(own)
        total = np.exp(gate.log_scale[0]) * own
        entropy = -(np.exp(own) * own).sum() / np.log(3)
        for weights, modality in zip(gate.gate, gate.classifiers, strict=True):
            read, of = world.tokens[one.id][modality], gate.classifiers[modality]
            values = read.values[read.mask].astype(float)
            if len(values):
                x = (np.concatenate([values.mean(0), values.std(0)]) - of.mean) / of.spread
                said = of.weight @ x + of.bias
                said = said - np.logaddexp.reduce(said) - gate.prior
                total = total + np.logaddexp(0, weights @ [1, said.std(), entropy]) * said
        expected = np.exp(total - np.logaddexp.reduce(total))
        np.testing.assert_allclose(list(scores[one.id].scores.values()), expected, atol=1e-6)


def test_conflict_items_are_asked_with_the_behavior_that_they_name(world: World) -> None:
    """The face of another utterance moves the scores as the gate says, beyond what the language model makes of it."""
    model = score_labels.MercModel(world.trained, device="cpu")
    test = world.manifest.by_split("test")
    first = next(u for u in test if world.tokens[u.id]["face"].mask.any())
    other = next(u for u in test if u.label != first.label and world.tokens[u.id]["face"].mask.any())
    items = [
        ConflictItem(id, "recombined", "other", "test", first.dialogue, first.id, face, None, "joy", "anger", 1.0, 1.0)
        for id, face in (("same", first.id), ("swapped", other.id))
    ]
    made = model.score_items(world.manifest, world.tokens, items, HOW)
    labels = list(model.labels)
    before, after = made["same"], made["swapped"]
    assert after[labels.index(other.label)] > before[labels.index(other.label)]
    (alone,) = [p for p in model.score(world.manifest, world.tokens, ("test",), HOW) if p.id == first.id]
    np.testing.assert_allclose(np.exp(before), list(alone.scores.values()), atol=1e-6)


def test_nothing_of_test_enters_and_dev_is_not_in_the_classifiers(world: World, tmp_path: Path) -> None:
    def relabelled(split: str) -> Manifest:
        turned = {label: language.LABELS[i - 1] for i, label in enumerate(language.LABELS)}
        made = tuple(replace(u, label=turned[u.label]) if u.split == split else u for u in world.manifest.utterances)
        return replace(world.manifest, utterances=made)

    first = load_file(world.trained / modality_gate.GATE)
    without = load_file(world.merc(tmp_path / "test", of=relabelled("test")) / modality_gate.GATE)
    assert all(np.array_equal(first[name], without[name]) for name in first)
    sums = {u.id: np.log([0.4, 0.3, 0.3]) for u in world.manifest.by_split("dev")}
    one, _ = fit_gate.fit(world.manifest, world.tokens, ("face",), sums)
    two, _ = fit_gate.fit(relabelled("dev"), world.tokens, ("face",), sums)
    assert np.array_equal(one.classifiers["face"].weight, two.classifiers["face"].weight)
    assert not np.array_equal(one.gate, two.gate)


def test_numbers_on_dev_are_of_gates_that_have_not_seen_the_dialogue(world: World) -> None:
    """Labels drawn at random: what is fitted on them looks better than chance, and cross-fitted it does not."""
    rng = np.random.default_rng(0)
    drawn = tuple(
        replace(u, label=language.LABELS[int(rng.integers(3))]) if u.split == "dev" else u
        for u in world.manifest.utterances
    )
    dev = [u.id for u in drawn if u.split == "dev"]
    sums = {id: np.log(np.full(3, 1 / 3)) for id in dev}
    _, numbers = fit_gate.fit(replace(world.manifest, utterances=drawn), world.tokens, ("face", "audio"), sums)
    assert numbers["head_loss"] > np.log(3) - 0.01


def test_a_modality_that_nobody_has_adds_nothing(world: World) -> None:
    class Blank:
        columns = world.tokens.columns

        def __getitem__(self, id: str) -> dict:
            read = world.tokens[id]
            return dict(read) | {"face": replace(read["face"], mask=np.zeros_like(read["face"].mask))}

    sums = {u.id: np.log([0.4, 0.3, 0.3]) for u in world.manifest.by_split("dev")}
    made, numbers = fit_gate.fit(world.manifest, Blank(), ("face",), sums)
    assert np.isfinite(numbers["head_loss"])
    assert not made.evidence("face", [prompts.Placeholder("face", id) for id in sums], Blank()).any()


@pytest.mark.parametrize("variant", ["T", "TV"])
def test_every_variant_has_a_gate_over_what_it_reads(world: World, tmp_path: Path, variant: str) -> None:
    folder = world.merc(tmp_path / variant, variant)
    made = modality_gate.read(folder, metadata.read_metadata(folder))
    assert (made is None) == (variant == "T")
    assert made is None or list(made.classifiers) == ["audio"]
    assert 0 <= world.accuracy(folder) <= 1


@pytest.mark.parametrize("how", ["missing", "junk", "nan", "shape", "dtype", "spread", "key"])
def test_a_gate_that_does_not_fit_is_a_sentence(world: World, tmp_path: Path, how: str) -> None:
    folder = shutil.copytree(world.trained, tmp_path / "m")
    path = folder / modality_gate.GATE
    arrays = load_file(path)
    if how == "missing":
        path.unlink()
    elif how == "junk":
        path.write_bytes(b"\xff" * 90)
    else:
        spoiled = {
            "nan": {"gate": arrays["gate"] * np.nan},
            "shape": {"gate": arrays["gate"][:1].copy()},
            "dtype": {"gate": arrays["gate"].astype(np.float32)},
            "spread": {"face.spread": arrays["face.spread"] * 0},
        }.get(how, {})
        rest = {k: v for k, v in arrays.items() if not (how == "key" and k == "prior")}
        save_file(rest | spoiled, path)
    with pytest.raises(ModelError):
        score_labels.MercModel(folder, device="cpu")


def test_an_exported_model_keeps_its_gate(world: World, tmp_path: Path) -> None:
    export.run(world.trained, tmp_path / "out")
    before, after = (
        score_labels.MercModel(folder).score(world.manifest, world.tokens, ("test",), HOW)
        for folder in (world.trained, tmp_path / "out")
    )
    for a, b in zip(before, after, strict=True):
        np.testing.assert_allclose(list(a.scores.values()), list(b.scores.values()), atol=1e-4)


@pytest.mark.slow
def test_the_gate_is_the_same_each_time(world: World, tmp_path: Path) -> None:
    again = world.merc(tmp_path / "again")
    assert (again / modality_gate.GATE).read_bytes() == (world.trained / modality_gate.GATE).read_bytes()
    assert behavior_model.Params(head="none").stored().keys() == behavior_model.Params().stored().keys()


def test_a_label_that_no_utterance_with_the_modality_has_is_unlikely_and_not_impossible() -> None:
    rng = np.random.default_rng(0)
    features, right = rng.normal(size=(60, 3)), rng.integers(0, 2, 60)  # of three labels the last one never occurs
    made = fit_gate._regression(features, right, 3, 1e-2)
    logs = made.log_probs(features)[:, 2]
    assert (logs < np.log(0.05)).all()
    assert (logs > -9).all()
