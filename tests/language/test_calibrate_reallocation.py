"""What is measured on dev: middles, bands, heads, sinks and strengths; nothing of it from test, and nothing by chance."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bemerc.core.errors import ModelError
from bemerc.corpus import provenance
from bemerc.corpus.conflict import ConflictItem, ConflictSet, Subset, write_conflict_set
from bemerc.corpus.manifest import Split, Utterance, write_manifest
from bemerc.evaluate.conflict import systems
from bemerc.language.inputs import prompts
from bemerc.language.model import behavior_model
from bemerc.language.predict import attention_maps, reallocation_file, score_labels
from bemerc.language.predict import calibrate_reallocation as calibrate
from bemerc.language.predict.attention_maps import AttentionMaps
from bemerc.language.predict.modes import MODES, Mode
from bemerc.language.predict.reallocation_file import FILE
from bemerc.language.predict.score_labels import MercModel
from bemerc.release import export
from tests import toy_language as language
from tests.cli.test_cli import bemerc
from tests.errors import raises
from tests.language import test_model
from tests.language.test_reallocate import embedded

HOW = score_labels.Params(device="cpu")
ALL = calibrate.Params(skip_first=0, skip_last=0, share=1.0)


class World(test_model.World):
    """A model with an adapter that was drawn, in a folder, and items of every kind."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.manifest = language.manifest({"train": 2, "dev": 12, "test": 2})
        self.tokens = language.write(folder / "tokens.h5", self.manifest)
        for name, adapter in (("lora", "lora"), ("mose", "mose")):
            made = self.model(replace(self.params, adapter=adapter, equal_parameters=False))
            about = test_model.facts(made, self.tokens)
            params = {"model": vars(made.params), "prompt": vars(prompts.Params())}
            data = {**about.data, "learned": provenance.learned(self.manifest)}
            made.save(folder / name, replace(about, labels=self.manifest.labels, params=params, data=data))

    def items(self, *splits: Split) -> ConflictSet:
        made = [one for split in splits for one in self._of(self.manifest.by_split(split))]
        return ConflictSet(tuple(made), self.manifest.labels, provenance.learned(self.manifest), {}, (0.1, 0.2, 0.3))

    def _of(self, utterances: tuple[Utterance, ...]) -> list[ConflictItem]:
        subsets: tuple[Subset, ...] = ("consistent", "video_aligned", "audio_aligned")
        made = []
        for n, u in enumerate(utterances):
            subset, label, other = subsets[n % 3], str(u.label), "joy" if u.label == "anger" else "anger"
            voice, face = (other if subset == s else label for s in ("video_aligned", "audio_aligned"))
            made.append(
                ConflictItem(u.id, "predictors", subset, u.split, u.dialogue, u.id, u.id, label, voice, face, 1.0, 0.5)
            )
        return made

    def recombined(self) -> list[ConflictItem]:
        own = [item for item in self.items("dev").items if item.subset == "consistent"]
        return [
            ConflictItem(
                f"{a.id} ~ {b.id}", "recombined", "other", "dev", a.dialogue, a.id, b.id, None, "joy", "anger", 1.0, 0.5
            )
            for a, b in itertools.pairwise(own)
        ]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def run(
    world: World, name: str, params: calibrate.Params = ALL, items: ConflictSet | None = None
) -> reallocation_file.Reallocation:
    return calibrate.run(
        MercModel(world.folder / name), world.manifest, world.tokens, items or world.items("dev"), params, HOW
    )


@pytest.mark.parametrize("trees", ["no", "masks", "paths"])
def test_maps_are_what_the_models_own_attention_says(world: World, trees: str) -> None:
    """Against the weights that transformers gives for one prompt at a time."""
    model = MercModel(world.folder / "lora")
    model._lm.trees = trees  # type: ignore[assignment]
    items = world.items("dev").items[:6]
    maps = attention_maps.measure(
        model, world.manifest, world.tokens, items, replace(HOW, row_tokens=0 if trees == "no" else 4096)
    )
    ends = maps.at_the_end(maps.masses)
    lm = model._lm.lm
    lm.set_attn_implementation("eager")
    for item in items:
        if item.id not in ends:
            assert not any(of.mask.any() for of in world.tokens[item.id].values())
            continue
        asked = score_labels.prompts(
            world.manifest, ("dev",), model.labels, model.metadata.modalities, prompts.Params()
        )
        (one,) = (one for one, _ in asked if one.id == item.id)
        row, slot = embedded(world, model._lm, model._encoder.question(one))
        weights = lm(inputs_embeds=row, output_attentions=True).attentions
        for layer, of in enumerate(weights):
            expected = np.zeros(ends[item.id].shape[1:])
            for at, number in enumerate(slot):
                if number >= 0:
                    expected[:, number] = of[0, :, -1, at].detach().numpy()
            np.testing.assert_allclose(ends[item.id][layer], expected, atol=1e-5)


def test_what_is_measured_moves_that_models_attention_and_goes_along_with_an_export(
    world: World, tmp_path: Path
) -> None:
    folder = world.folder / "lora"
    made = run(world, "lora", replace(ALL, beta=1.0, controls=False))
    reallocation_file.write(folder, replace(made, band=0 * made.band))
    try:
        moved = replace(HOW, reallocate="reallocate")
        items = world.items("test").items
        plain, found = (MercModel(folder).score_items(world.manifest, world.tokens, items, how) for how in (HOW, moved))
        assert any(not np.allclose(plain[id], found[id], atol=1e-5) for id in plain)
        export.run(folder, tmp_path / "out")
        exported = MercModel(tmp_path / "out").score_items(world.manifest, world.tokens, items, moved)
        for id, of in found.items():
            np.testing.assert_allclose(exported[id], of, atol=1e-5)
        (folder / FILE).write_text((tmp_path / "out" / FILE).read_text())
        with raises(ModelError, path=folder / FILE):
            MercModel(folder).score_items(world.manifest, world.tokens, items, moved)
    finally:
        (folder / FILE).unlink()


def test_the_middle_is_that_of_the_consistent_items_of_dev(world: World) -> None:
    made = run(world, "lora")
    agree = [item for item in world.items("dev").items if item.subset == "consistent"]
    maps = attention_maps.measure(MercModel(world.folder / "lora"), world.manifest, world.tokens, agree, HOW)
    ends = np.stack(list(maps.at_the_end(maps.rho(made.sinks)).values()))
    middle = np.nanmedian(ends, axis=0)
    np.testing.assert_allclose(made.tau[..., 0], middle, atol=1e-5)
    np.testing.assert_allclose(made.band[..., 0], 2 * np.nanmedian(np.abs(ends - middle), axis=0), atol=1e-5)
    assert made.made["items"] == {"consistent": len(agree), "conflict": 2 * len(agree), "recombined": 0}
    everywhere = world.items("dev", "test", "train")
    again = run(world, "lora", items=everywhere)
    assert np.array_equal(again.tau, made.tau)
    assert (again.beta, again.made) == (made.beta, made.made)


@pytest.mark.parametrize("mode", MODES)
def test_an_adapter_that_knows_modalities_apart_is_moved_alike_on_every_route(world: World, mode: Mode) -> None:
    model, items = MercModel(world.folder / "mose"), world.items("dev").items[:8]
    model.reallocation = replace(run(world, "mose", replace(ALL, beta=1.0, controls=False)), boost=0.5, gamma=0.5)
    found = []
    for trees, rows in (("no", 0), ("masks", 4096), ("paths", 4096)):
        model._lm.trees = trees  # type: ignore[assignment]
        how = replace(HOW, reallocate=mode, row_tokens=rows)
        found.append(model.score_items(world.manifest, world.tokens, items, how))
    for id in found[0]:
        np.testing.assert_allclose(found[1][id], found[0][id], atol=3e-4)
        np.testing.assert_allclose(found[2][id], found[0][id], atol=3e-4)


def test_too_few_items_are_refused(world: World) -> None:
    whole = world.items("dev")
    with pytest.raises(ModelError, match="agree"):
        run(world, "lora", items=replace(whole, items=whole.items[:9]))
    agree = tuple(item for item in whole.items if item.subset == "consistent")
    with pytest.raises(ModelError, match="--beta"):
        run(world, "lora", items=replace(whole, items=agree))
    assert run(world, "lora", replace(ALL, beta=0.5), replace(whole, items=agree)).beta == 0.5


def test_heads_are_chosen_by_another_face_where_there_is_no_conflict_with_a_label(world: World) -> None:
    agree = [item for item in world.items("dev").items if item.subset == "consistent"]
    items = replace(world.items("dev"), items=(*agree, *world.recombined()))
    made = run(world, "lora", replace(ALL, beta=0.5, share=0.5), items)
    assert made.made["heads_by"] == "recombined"
    assert sum(map(len, made.chosen.values())) == 2


# ------------------------------------------------------------------------------------------------------ choices by hand


def test_movement_is_measured_in_spreads() -> None:
    def items(subset: Subset, count: int) -> list[ConflictItem]:
        return [
            ConflictItem(f"{subset}{n}", "labels", subset, "dev", "d", "v", "v", "joy", "joy", "joy", 1, 1)
            for n in range(count)
        ]

    rng = np.random.default_rng(0)
    agree, voice, face = items("consistent", 50), items("audio_aligned", 10), items("video_aligned", 10)
    rho = {item.id: rng.normal(0.5, 0.1, (1, 2)).astype(np.float32) for item in agree}
    rho |= {item.id: np.array([[0.8, 0.5]], np.float32) for item in voice}
    rho |= {item.id: np.array([[0.2, 0.5]], np.float32) for item in face}
    rho[voice[0].id] = np.full((1, 2), np.nan, np.float32)  # a side was not measured
    moved, by = calibrate.movement(rho, agree, [*voice, *face], [])
    assert by == "subsets"
    assert moved[0, 0] == pytest.approx(6, rel=0.2)
    assert moved[0, 1] == pytest.approx(0, abs=1e-5)
    assert calibrate.movement(rho, agree, [*voice, *face[:9]], [])[1] == "spread"


def test_the_best_heads_of_the_eligible_layers_are_taken() -> None:
    moved = np.array([[9, 9], [1, 4], [3, 2], [9, 9]], np.float32)
    assert calibrate.best_heads(moved, range(1, 3), 0.5) == {1: (1,), 2: (0,)}
    assert calibrate.best_heads(moved, range(1, 3), 0.01) == {1: (1,)}


def test_drawn_heads_are_as_many_and_others_where_there_are_others() -> None:
    chosen = {2: (0, 3), 3: (1,)}
    drawn = calibrate.random_heads(chosen, range(2, 5), 4, 0)
    assert sum(map(len, drawn.values())) == 3
    assert not {(layer, head) for layer, of in drawn.items() for head in of} & {(2, 0), (2, 3), (3, 1)}
    assert drawn == calibrate.random_heads(chosen, range(2, 5), 4, 0)
    assert any(drawn != calibrate.random_heads(chosen, range(2, 5), 4, seed) for seed in range(1, 5))
    assert calibrate.random_heads({0: (0,)}, range(1), 1, 0) == {0: (0,)}


def test_a_sink_takes_its_mass_in_every_head_whatever_stands_there() -> None:
    masses = np.random.default_rng(0).uniform(0.01, 0.02, (50, 2, 2, 6)).astype(np.float32)
    masses[:, 0, :, 4] = 0.3  # in both heads of the first layer
    masses[:, 1, 0, 4] = 0.3  # in one of the second
    masses[:25, 1, :, 1] = 0.3  # for half the items
    maps = AttentionMaps(masses, np.arange(50), np.zeros(50, bool), tuple(map(str, range(50))))
    assert calibrate.sinks(maps, 3.0) == {0: (4,)}
    voice, visible = masses[:, 0, :, 5], masses[:, 0, :, :4].sum(-1)
    np.testing.assert_allclose(maps.rho({0: (4,)})[:, 0], voice / (voice + visible), rtol=1e-5)


def groups(*counts: int) -> list[np.ndarray]:
    edges = np.cumsum((0, *counts))
    return [(np.arange(edges[-1]) >= a) & (np.arange(edges[-1]) < b) for a, b in itertools.pairwise(edges)]


def right(*accuracies: tuple[int, int]) -> np.ndarray:
    """So many right of so many, group by group."""
    return np.concatenate([np.arange(count) < good for good, count in accuracies])


@pytest.mark.parametrize(
    ("gains", "consistent", "expected"),
    [
        ({0.25: 0, 0.5: 0, 1.0: 0}, {}, 0.0),  # nothing helps
        ({0.25: 1, 0.5: 1, 1.0: 1}, {}, 0.0),  # one item is chance
        ({0.25: 8, 0.5: 20, 1.0: 20}, {}, 0.5),  # the smaller of two alike
        ({0.25: 8, 0.5: 20, 1.0: 30}, {1.0: -1}, 0.5),  # one at which consistent items lose
        ({0.25: -5, 0.5: -9, 1.0: -20}, {}, 0.0),
    ],
)
def test_the_smallest_strength_that_is_as_good_as_the_best(
    gains: dict[float, int], consistent: dict[float, int], expected: float
) -> None:
    tried = {
        beta: right((50 + consistent.get(beta, 0), 100), (40, 80), (40 + gain, 80))
        for beta, gain in ({0.0: 0} | gains).items()
    }
    assert calibrate.choose(tried, groups(100, 80, 80)) == expected


def test_the_commands(world: World, tmp_path: Path) -> None:
    of = world.manifest
    write_manifest(tmp_path / "manifest.jsonl", of.utterances, of.labels, of.corpora)
    write_conflict_set(tmp_path / "conflict.jsonl", world.items("dev", "test"))
    (tmp_path / "tokens.h5").symlink_to(world.folder / "tokens.h5")
    folder = world.folder / "lora"
    answer = bemerc("conflict", "calibrate", folder, "--data", tmp_path, "--skip-first", 0, "--heads", 1, "--json")
    assert answer.returncode == 0, answer.stderr
    try:
        found = json.loads(answer.stdout)
        made = reallocation_file.read(folder, behavior_model.read_metadata(folder))
        assert found["beta"] == made.beta
        assert set(found["dev"]) == {"beta", "boost", "gamma"}
        reallocation_file.write(folder, replace(made, beta=1.0, band=0 * made.band))
        items = world.items("dev").items
        plain, *others = (
            systems.scored(path, world.manifest, items, tmp_path, HOW)
            for path in (folder, Path(f"{folder}@reallocate"), Path(f"{folder}@reversed"))
        )
        assert all(max(np.abs(of[id] - plain[id]).max() for id in plain) > 1e-5 for of in others)
        systems.checked({"ar": [Path(f"{folder}@reallocate")]}, world.manifest.labels)
    finally:
        (folder / FILE).unlink()
    answer = bemerc("conflict", "attention", folder, "--data", tmp_path, "--plot", tmp_path / "maps.png")
    assert answer.returncode == 0, answer.stderr
    assert "video_aligned" in answer.stdout
    assert (tmp_path / "maps.png").read_bytes()[:4] == b"\x89PNG"
