"""An exported folder needs no other and predicts the same; cards state data, metrics per group, limits and forbidden uses."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from bemerc.core.errors import ModelError
from bemerc.corpus.labels import LABEL_SETS
from bemerc.corpus.manifest import Manifest, Utterance, write_manifest
from bemerc.evaluate import evaluation
from bemerc.language.inputs import prompts, variants
from bemerc.language.model import behavior_model, card, model_folder
from bemerc.language.predict import generate, score_labels
from bemerc.language.predict.records import Prediction, write_predictions
from bemerc.language.train import align, merc
from bemerc.release import export, test_metrics
from tests import families
from tests import toy_language as language
from tests.cli.test_cli import bemerc
from tests.errors import raises
from tests.language.test_train import files_of_at_most
from tests.toy_language import TRAINING

HOW = score_labels.Params(device="cpu")


class World:
    """Models on two backbones, one of them with tied embeddings and windows, and what they say of test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest: Manifest = language.manifest()
        self.tokens = language.write(folder / "tokens.h5", self.manifest)
        self.params = language.build(folder / "backbone", self.manifest)
        tokenizer = AutoTokenizer.from_pretrained(folder / "backbone")
        for name, backbone in (
            ("tiny", folder / "backbone"),
            ("gemma3", families.build(folder / "gemma3", "gemma3", tokenizer)),
        ):
            params, training = replace(self.params, name_or_path=str(backbone)), replace(TRAINING, adapter_lr=0.05)
            shape, inputs = prompts.Params(), {"manifest": self.manifest, "tokens": self.tokens}
            merc.run("TVB", *inputs.values(), None, None, shape, params, training, folder / "models" / name)

    def predict(self, folder: Path) -> list[Prediction]:
        return score_labels.MercModel(folder).score(self.manifest, self.tokens, ("test",), HOW)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.mark.parametrize("name", ["tiny", pytest.param("gemma3", marks=pytest.mark.slow)])
def test_an_exported_model_predicts_the_same_without_its_backbone(world: World, tmp_path: Path, name: str) -> None:
    trained, out = world.folder / "models" / name, tmp_path / "deployed"
    before, backbone = world.predict(trained), world.folder / ("backbone" if name == "tiny" else name)
    answer = bemerc("export", trained, "--out", out)
    assert answer.returncode == 0, answer.stderr
    backbone.rename(tmp_path / "away")
    try:
        after = world.predict(out)
        with pytest.raises(ModelError, match="--backbone"):
            world.predict(trained)
    finally:
        (tmp_path / "away").rename(backbone)
    for a, b in zip(before, after, strict=True):
        assert (a.id, a.label) == (b.id, b.label)
        np.testing.assert_allclose(list(a.scores.values()), list(b.scores.values()), atol=1e-4)
    assert {"model.safetensors", "config.json", "tokenizer.json", "README.md"} <= {p.name for p in out.iterdir()}
    assert not list(out.glob("adapter*"))


def test_transformers_itself_loads_it_and_the_adapter_is_in_it(world: World, tmp_path: Path) -> None:
    trained = world.folder / "models" / "tiny"
    export.run(trained, tmp_path / "out")
    plain, adapted = (
        AutoModelForCausalLM.from_pretrained(tmp_path / "out"),
        model_folder.load(trained, device="cpu")[0],
    )
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.inference_mode():
        merged, apart = plain(ids).logits, adapted.lm(ids).logits
        bare = AutoModelForCausalLM.from_pretrained(world.params.name_or_path)(ids).logits
    assert torch.allclose(merged, apart, atol=1e-4)
    assert (merged - bare).abs().max() > 0.01


def test_what_cannot_be_exported_is_a_sentence(world: World, tmp_path: Path) -> None:
    trained = world.folder / "models" / "tiny"
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("kept")
    with raises(ModelError, path=tmp_path / "full"):
        export.run(trained, tmp_path / "full")
    with files_of_at_most(20_000), raises(ModelError, path=tmp_path / "out"):
        export.run(trained, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["full"]
    export.run(trained, tmp_path / "out")
    with raises(ModelError, path=tmp_path / "out"):
        export.run(tmp_path / "out", tmp_path / "again")
    shutil.rmtree(tmp_path / "out")
    shutil.copytree(trained, tmp_path / "taught")
    (tmp_path / "taught" / "student").mkdir()
    # The second has a student's folder with no student in it.
    for odd, lacking in (("full", "full"), ("taught", "taught/student")):
        with raises(ModelError, path=tmp_path / lacking, missing=True):
            export.run(tmp_path / odd, tmp_path / "out", world.params.name_or_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "taught"]


def test_what_no_one_matrix_can_stand_for_is_not_merged(world: World, tmp_path: Path) -> None:
    params = replace(world.params, adapter="mose", rank=16)
    inputs = {"manifest": world.manifest, "tokens": world.tokens}
    training = replace(TRAINING, epochs=1)
    merc.run("TVB", *inputs.values(), None, None, prompts.Params(), params, training, tmp_path / "mose")
    with raises(ModelError, path=tmp_path / "mose"):
        export.run(tmp_path / "mose", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert "MoSE" in (tmp_path / "mose" / "README.md").read_text()


def test_an_align_model_is_exported_along_and_predicts_the_same(world: World, tmp_path: Path) -> None:
    taught, once, trained = language.describe(world.manifest), replace(TRAINING, epochs=1), tmp_path / "m"
    align.run(world.manifest, world.tokens, taught, None, world.params, once, tmp_path / "align")
    given = (world.manifest, world.tokens, None, tmp_path / "align", prompts.Params(), world.params, once, trained)
    merc.run("mine", *given, None, replace(variants.LADDER["TVB"], description="crossfit"), {"crossfit": taught})
    merc.keep_align_model(tmp_path / "align", trained)
    export.run(trained, tmp_path / "out")
    ids = [u.id for u in world.manifest.by_split("test")]
    outputs = []
    for folder in (trained, tmp_path / "out"):
        descriptions = generate.generate_descriptions(folder / variants.CROSSFIT, ids, world.tokens, HOW, 16)
        predictions = score_labels.MercModel(folder).score(
            world.manifest, world.tokens, ("test",), HOW, {"crossfit": descriptions}
        )
        outputs.append((descriptions, [list(one.scores.values()) for one in predictions]))
    assert outputs[0][0] == outputs[1][0]
    np.testing.assert_allclose(outputs[0][1], outputs[1][1], atol=1e-4)
    assert not list((tmp_path / "out").rglob("adapter*"))


def front(text: str) -> dict[str, object]:
    """The YAML that opens a card."""
    opening, head, _ = text.split("---\n", 2)
    assert opening == ""
    return dict(yaml.safe_load(head))


def test_every_trained_model_has_a_card(world: World, tmp_path: Path) -> None:
    descriptions = language.describe(world.manifest)
    given = (
        world.manifest,
        world.tokens,
        descriptions,
        None,
        world.params,
        replace(TRAINING, epochs=1),
        tmp_path / "align",
    )
    align.run(*given)
    for folder in (tmp_path / "align", world.folder / "models" / "tiny", world.folder / "models" / "tiny" / "last"):
        text, facts = (folder / "README.md").read_text(encoding="utf-8"), behavior_model.read_metadata(folder)
        assert front(text)["library_name"] == "peft"
        assert "base_model" not in front(text), "a local folder is no model of a hub"
        for words in ("5(1)(f)", "at work or in education", "perceived", "licence", facts.fingerprint, *facts.labels):
            assert words in text, words
        assert facts.data["splits"]["train"]["utterances"] == len(world.manifest.by_split("train"))
        assert f"| train | {len(world.manifest.by_split('train'))} | 6 | 2 |" in text
        assert facts.data["manifest"] in text
    assert "Nobody has judged this model on test yet" in text
    assert f"{facts.dev['accuracy']:.3f}" in text
    named = replace(facts, backbone="Qwen/Qwen3-8B", backbone_at="")
    assert front(card.text(named))["base_model"] == "Qwen/Qwen3-8B"


def test_another_manifest_has_another_fingerprint(world: World) -> None:
    first, *others = world.manifest.utterances
    moved = replace(world.manifest, utterances=(replace(first, label="anger", text="other"), *others))
    assert align.counted(moved)["manifest"] != align.counted(world.manifest)["manifest"]


def test_the_numbers_of_test_come_into_the_card_and_go_along_with_an_export(world: World, tmp_path: Path) -> None:
    trained, data = world.folder / "models" / "judged", tmp_path / "data"
    shutil.copytree(world.folder / "models" / "tiny", trained)
    write_manifest(data / "manifest.jsonl", world.manifest.utterances, world.manifest.labels, ("made",))
    write_predictions(tmp_path / "p.jsonl", world.predict(trained))
    answer = bemerc("card", trained, "--predictions", tmp_path / "p.jsonl", "--data", data)
    assert answer.returncode == 0, answer.stderr
    export.run(trained, tmp_path / "out")
    stored = json.loads((tmp_path / "out" / "test.json").read_text())
    assert stored["predictions"] == hashlib.sha256((tmp_path / "p.jsonl").read_bytes()).hexdigest()
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert front(text)["library_name"] == "transformers"
    assert f"| weighted F1 | {stored['weighted_f1']['value']:.3f} [" in text
    assert all(f"| {name} | " in text for name in ("speaker 1", "speaker 2", *language.LABELS))
    assert not any(name in text + json.dumps(stored, ensure_ascii=False) for name in ("Bob", "Zoë"))
    assert "gender is not known: `bemerc card" in text


def test_a_table_of_speakers_gives_their_gender(world: World, tmp_path: Path) -> None:
    trained, data, table = world.folder / "models" / "with_genders", tmp_path / "data", tmp_path / "speakers.csv"
    shutil.copytree(world.folder / "models" / "tiny", trained)
    write_manifest(data / "manifest.jsonl", world.manifest.utterances, world.manifest.labels, ("made",))
    write_predictions(tmp_path / "p.jsonl", world.predict(trained))
    table.write_text("speaker;gender;age\nZoë;woman;30\nBob; ;40\n", encoding="utf-8")
    asked = ("card", trained, "--predictions", tmp_path / "p.jsonl", "--data", data, "--speakers", table, "--names")
    answer = bemerc(*asked)
    assert answer.returncode == 0, answer.stderr
    stored = json.loads((trained / "test.json").read_text(encoding="utf-8"))
    assert stored["genders"] == {"woman": stored["speakers"]["Zoë"]}
    text = (trained / "README.md").read_text(encoding="utf-8")
    assert "| gender | utterances | weighted F1 |" in text
    assert "is not known" not in text
    table.write_text("speaker,gender\nZoe,woman\nBob,man\nBob,man\n", encoding="utf-8")
    answer = bemerc(*asked)
    assert answer.returncode == 1
    assert "line 2: the manifest has no speaker 'Zoe'; did you mean 'Zoë'?" in answer.stderr
    assert "line 4: 'Bob' stands there twice." in answer.stderr
    table.write_text("name,gender\nZoë,woman\n", encoding="utf-8")
    assert "it needs the columns speaker and gender, and has name, gender" in bemerc(*asked).stderr


def test_f1_apart_is_that_of_the_utterances_alone(tmp_path: Path) -> None:
    labels = LABEL_SETS["iemocap4"]
    gold_labels, predicted = ["happy", "sad", "sad", "angry"] * 3, ["happy", "sad", "happy", "neutral"] * 3
    turns = [
        Utterance(
            f"iemocap/d{i // 2}_{i}", f"iemocap/d{i // 2}", i % 2, f"Ses05_{'FM'[i % 2]}", "x", gold, "test", None
        )
        for i, gold in enumerate(gold_labels)
    ]
    manifest = Manifest(tuple(sorted(turns, key=lambda u: u.id)), labels, ("iemocap",), tmp_path)
    scores = {label: dict.fromkeys(labels, 0.0) | {label: 1.0} for label in labels}
    write_predictions(
        tmp_path / "p.jsonl",
        [Prediction(t.id, t.label, s, scores[s]) for t, s in zip(turns, predicted, strict=True)],
    )
    result = test_metrics.compute(manifest, tmp_path / "p.jsonl", evaluation.Params(resamples=100))
    from sklearn.metrics import f1_score

    for name, start in (("female", 0), ("male", 1)):
        expected = f1_score(gold_labels[start::2], predicted[start::2], average="weighted", zero_division=0.0)
        assert result["genders"][name] == {"utterances": 6, "f1": pytest.approx(expected)}
    assert result["speakers"]["Ses05_F"] == result["genders"]["female"]


def test_numbers_of_another_model_are_refused(world: World, tmp_path: Path) -> None:
    facts = behavior_model.read_metadata(world.folder / "models" / "tiny")
    with pytest.raises(ModelError, match=r"was trained to align, not to name emotions"):
        test_metrics.run(tmp_path, replace(facts, task="align"), world.manifest, tmp_path / "p", evaluation.Params())
    with pytest.raises(ModelError, match=r"Name the model that the predictions are of"):
        test_metrics.run(
            tmp_path, replace(facts, labels=("a", "b")), world.manifest, tmp_path / "p", evaluation.Params()
        )
