"""Learning from conflict items: what is drawn, what it says, how much it counts, and that nothing else changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bemerc.behavior.tokens.file import TokenFile
from bemerc.corpus.conflict import ConflictItem, ConflictSet
from bemerc.corpus.manifest import Manifest
from bemerc.language.inputs import batching, packing, prompts, variants
from bemerc.language.inputs.prompts import Placeholder
from bemerc.language.model import behavior_model, model_folder
from bemerc.language.predict import score_labels
from bemerc.language.train import conflict_items, merc
from tests import toy_language as language

ALL = ("face", "pose", "audio")


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return language.manifest({"train": 12, "dev": 2, "test": 2})


@pytest.fixture(scope="module")
def conflicts(manifest: Manifest) -> ConflictSet:
    own = [u for u in manifest.by_split("train") if u.label is not None]
    items = [
        ConflictItem(
            f"{a.id} ~ {b.id}", "recombined", "other", "train", a.dialogue, a.id, b.id, None, a.label, b.label, 0.9, 0.8
        )
        for a in own
        for b in own
        if a.label != b.label
    ]
    decided = [
        ConflictItem(
            u.id, "predictors", "other", "train", u.dialogue, u.id, u.id, u.label, u.label, u.label, 0.9, i / 40
        )
        for i, u in enumerate(own[:20])
    ]
    return ConflictSet((*items, *decided), manifest.labels, "", {}, (0.2, 0.4, 0.6))


@pytest.fixture(scope="module")
def world(manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> tuple[TokenFile, behavior_model.Params]:
    folder = tmp_path_factory.mktemp("conflict")
    return language.write(folder / "tokens.h5", manifest), language.build(folder / "backbone", manifest)


def test_as_many_are_drawn_as_asked_for_and_the_lot_decides_the_label(conflicts: ConflictSet) -> None:
    items = conflict_items.drawn(conflicts, 40, conflict_items.Params(recombined=0.5, voice_share=0.25))
    assert len({item.id for item in items}) == 20
    assert sum(item.label == item.label_voice for item in items) == 5
    assert all(item.label in (item.label_voice, item.label_face) for item in items)
    assert items == conflict_items.drawn(conflicts, 40, conflict_items.Params(recombined=0.5, voice_share=0.25))
    other = conflict_items.drawn(conflicts, 40, conflict_items.Params(recombined=0.5, voice_share=0.25, seed=1))
    assert {item.id for item in other} != {item.id for item in items}


def test_asking_for_more_than_there_are_takes_all_and_says_so(
    conflicts: ConflictSet, caplog: pytest.LogCaptureFixture
) -> None:
    there = conflicts.of("train", "recombined")
    assert len(conflict_items.drawn(conflicts, len(there), conflict_items.Params(recombined=2))) == len(there)
    assert len(caplog.records) == 1


def test_recombined_prompts_stand_behind_their_words_and_name_the_other_face(
    manifest: Manifest, conflicts: ConflictSet
) -> None:
    asked = score_labels.prompts(manifest, ("train",), manifest.labels, ALL, prompts.Params())
    own = [one for one, _ in asked if one.target]
    items = conflict_items.drawn(conflicts, len(own), conflict_items.Params(recombined=0.5))
    given = (manifest, manifest.labels, ALL, prompts.Params(), "target", {})
    mixed = conflict_items.prompts_with(own, items, *given)
    assert [one for one in mixed if one.id not in {item.id for item in items}] == own
    item_of, before = {item.id: item for item in items}, own[0].id
    for one in mixed:
        before = before if one.id in item_of else one.id
        if item := item_of.get(one.id):
            behavior = {piece.modality: piece.utterance for piece in one.branch if isinstance(piece, Placeholder)}
            assert before == item.voice_of
            assert behavior == {"face": item.face_of, "pose": item.face_of, "audio": item.voice_of}
            assert one.target.strip() == item.label


@pytest.mark.parametrize("consistency", [1.0, 0.5, 0.0, -1.0])
def test_weights_are_one_on_average_and_fall_with_strength(
    manifest: Manifest, conflicts: ConflictSet, consistency: float
) -> None:
    ids = [u.id for u in manifest.by_split("train")]
    weights = conflict_items.weights(conflicts, ids, consistency)
    decided = [weights[item.id] for item in conflicts.of("train", "predictors")]
    assert np.mean(list(weights.values())) == pytest.approx(1)
    assert np.sign(np.diff(decided)).tolist() == [-np.sign(consistency)] * (len(decided) - 1)
    assert {weights[id] for id in ids if id not in {item.id for item in conflicts.items}} == {1.0}


def test_a_weight_of_two_is_the_example_twice(
    manifest: Manifest, world: tuple[TokenFile, behavior_model.Params]
) -> None:
    tokens, shape = world
    model = model_folder.build(shape, tokens.widths, tokens.k).eval()
    encoder = score_labels.encoder_for(model, prompts.Params(), 512)
    asked = score_labels.prompts(manifest, ("train",), manifest.labels, ALL, prompts.Params())
    first, second = (encoder.encode(one) for one, _ in [pair for pair in asked if pair[0].target][:2])
    with torch.no_grad():
        twice = model(batching.collate(packing.pack_trees([first, replace(first, answer=1), second], 0), tokens))
        weighed = model(batching.collate(packing.pack_trees([replace(first, weight=2.0), second], 0), tokens))
    assert float(weighed) == pytest.approx(float(twice), rel=1e-5)


def test_training_with_items_differs_and_words_alone_do_not_read_them(
    manifest: Manifest, conflicts: ConflictSet, world: tuple[TokenFile, behavior_model.Params], tmp_path: Path
) -> None:
    tokens, shape = world

    def losses(name: str, variant: str, params: conflict_items.Params) -> float:
        given = merc.Params(epochs=1, row_tokens=640, conflict=params)
        inputs = replace(variants.LADDER[variant], align=False)
        out = tmp_path / name
        merc.run(
            "mine", manifest, tokens, {}, None, prompts.Params(), shape, given, out, None, inputs, conflicts=conflicts
        )
        return float(behavior_model.read_metadata(out).dev["loss"])

    off = conflict_items.Params()
    for number, params in enumerate((replace(off, recombined=1.0), replace(off, consistency=1.0))):
        assert losses(f"a{number}", "TVB", params) != losses(f"b{number}", "TVB", off)
    assert losses("c", "T", replace(off, recombined=1.0)) == losses("d", "T", off)
