"""A real language model with its real tokenizer on real words: trained for some steps, exported, asked in its chat template."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from bemerc.corpus.manifest import Manifest, Utterance
from bemerc.language.inputs import prompts
from bemerc.language.model import behavior_model, model_folder
from bemerc.language.predict import score_labels
from bemerc.language.predict.records import Prediction
from bemerc.language.train import loop
from bemerc.pipeline import merc as stage
from bemerc.pipeline import predict
from bemerc.pipeline.project import Project
from bemerc.release import export

SMOLLM2 = Path(__file__).resolve().parents[2] / "models" / "smollm2"
pytestmark = [
    pytest.mark.smollm2,
    pytest.mark.skipif(not SMOLLM2.is_dir(), reason="models/smollm2 is not there: make smollm2"),
]
LABELS = ("neutral", "joy", "anger", "sadness")
SAID = {
    "neutral": ("The train leaves at nine.", "I put the keys on the table.", "It is the second door on the left."),
    "joy": ("We won! This is wonderful!", "I am so happy for you!", "What a beautiful present, thank you!"),
    "anger": ("How dare you read my letters!", "Get out of my house, now!", "I hate it when you lie to me!"),
    "sadness": ("I miss her every single day.", "He died and I was not there.", "I have nobody left."),
}
MODEL = behavior_model.Params(name_or_path=str(SMOLLM2), device="cpu", rank=8, alpha=8.0, lora_dropout=0.0)
TRAINING = loop.Params(epochs=2, batch=4, row_tokens=160, adapter_lr=2e-3, weight_decay=0.0, ema_decay=0.0, seed=1)


def corpus(folder: Path) -> Manifest:
    """Dialogues of four turns, each in words that show how it is meant; written as folder/manifest.jsonl."""
    from bemerc.corpus.manifest import read_manifest, write_manifest

    made = []
    for split, dialogues in (("train", 6), ("dev", 2), ("test", 2)):
        for d in range(dialogues):
            for i in range(4):
                label = LABELS[(d + i) % 4]
                key, text = f"made/{split}/d{d}", SAID[label][(d + i) % 3]
                made.append(Utterance(f"{key}_u{i}", key, i, "AB"[i % 2], text, label, split, None))  # type: ignore[arg-type]
    write_manifest(folder / "manifest.jsonl", tuple(sorted(made, key=lambda u: u.id)), LABELS, ("made",))
    return read_manifest(folder / "manifest.jsonl")


class Trained:
    """A project of words alone in which nothing was extracted, and its variant T."""

    def __init__(self, folder: Path) -> None:
        (folder / "data").mkdir()
        self.manifest = corpus(folder / "data")
        self.project = self.of(folder, TRAINING, "plain")
        self.best = stage.run(self.project, "T")
        self.folder = self.project.merc("T")

    @staticmethod
    def of(folder: Path, training: loop.Params, template: str) -> Project:
        from dataclasses import asdict

        from bemerc.core.config import Document

        model = asdict(MODEL) | {"targets": list(MODEL.targets)}
        sections = {"model": model, "merc": asdict(training), "prompt": {"template": template}}
        place = folder if template == "plain" else folder / template
        return Project(Document(sections, "a test"), data=folder / "data", models=place / "models", results=place)

    def predict(self, model: Path, out: Path) -> tuple[Prediction, ...]:
        return predict.run(self.project, model, out)[0]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory.mktemp("smollm2"))


@pytest.mark.slow
def test_it_learns_words_alone_without_a_token_file(trained: Trained, tmp_path: Path) -> None:
    assert not trained.project.tokens.exists()
    assert not trained.project.references.exists()
    answers = trained.predict(trained.folder, tmp_path / "T.jsonl")
    right = np.mean([one.label == one.gold for one in answers])
    assert len(answers) == 16
    assert right > 0.5  # by chance a quarter


@pytest.mark.slow
def test_an_export_gives_the_same_label_probabilities_in_plain_transformers(trained: Trained, tmp_path: Path) -> None:
    """Nothing of bemerc between: the prompt as text, the tokenizer's own call, the model's own logits."""
    export.run(trained.folder, tmp_path / "out")
    exported = {one.id: one for one in trained.predict(tmp_path / "out", tmp_path / "out.jsonl")}
    for one in trained.predict(trained.folder, tmp_path / "T.jsonl"):
        np.testing.assert_allclose(list(one.scores.values()), list(exported[one.id].scores.values()), atol=1e-4)
    scale = float(behavior_model.read_metadata(trained.folder).dev["temperature"])
    lm = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    given = score_labels.prompts(trained.manifest, ("test",), LABELS, (), prompts.Params())
    for one, _ in list(given)[:3]:
        asked = "".join(piece for part in (one.head, *one.history, one.branch) for piece in map(as_text, part))
        sums = np.array([answer_log_prob(lm, tokenizer, asked, prompts.label_target(label)) for label in LABELS])
        shifted = np.exp((sums - sums.max()) / scale)
        np.testing.assert_allclose(list(exported[one.id].scores.values()), shifted / shifted.sum(), atol=2e-3)


def as_text(piece: object) -> str:
    return piece if isinstance(piece, str) else getattr(piece, "text")  # noqa: B009


def answer_log_prob(lm: torch.nn.Module, tokenizer: object, asked: str, answer: str) -> float:
    question, reply = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (asked, answer))  # type: ignore[operator]
    begin = [tokenizer.bos_token_id] if tokenizer.bos_token_id is not None else []  # type: ignore[attr-defined]
    ids = torch.tensor([[*begin, *question, *reply]])
    with torch.inference_mode():
        logits = lm(ids).logits[0].log_softmax(-1)
    first = len(begin) + len(question) - 1
    return float(sum(logits[first + at, token] for at, token in enumerate(reply)))


@pytest.mark.slow
def test_no_epoch_is_the_model_as_it_is(trained: Trained, tmp_path: Path) -> None:
    """Zero-shot in the chat template: judged on dev and saved like a trained one, with weights that add nothing."""
    (tmp_path / "data").mkdir()
    corpus(tmp_path / "data")
    project = Trained.of(tmp_path, replace(TRAINING, epochs=0), "chat")
    best = stage.run(project, "T")
    assert best.epoch == 0
    answers = predict.run(project, project.merc("T"), tmp_path / "T.jsonl")[0]
    assert len({round(one.scores["joy"], 3) for one in answers}) > 4
    assert trained.best.dev["loss"] < best.dev["loss"]


@pytest.mark.slow
def test_bfloat16_says_nearly_the_same(trained: Trained) -> None:
    exact, rounded = (
        model_folder.build(replace(MODEL, dtype=dtype), {}, 8).eval()  # type: ignore[arg-type]
        for dtype in ("float32", "bfloat16")
    )
    encoder = score_labels.encoder_for(exact, prompts.Params(), 512)
    asked = score_labels.prompts(trained.manifest, ("test",), LABELS, (), prompts.Params())
    both = [
        score_labels.score_labels(made, encoder, asked, None, score_labels.Params(device="cpu"), quiet=True)  # type: ignore[arg-type]
        for made in (exact, rounded)
    ]
    for id in both[0]:
        np.testing.assert_allclose(both[0][id], both[1][id], atol=0.5)


def test_real_words_of_meld_are_encoded_whole() -> None:
    """Every utterance of MELD's test table survives the tokenizer, piece by piece, as its text."""
    table = Path(__file__).resolve().parents[3] / "shared" / "meld" / "test_sent_emo.csv"
    if not table.is_file():
        pytest.skip("MELD's tables are not at hand")
    from bemerc.language.inputs.encoding import Encoder

    tokenizer = AutoTokenizer.from_pretrained(SMOLLM2)
    encoder = Encoder(tokenizer, 8, 512)
    with table.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            text = row["Utterance"]
            assert tokenizer.decode(encoder._encode_words(text)) == text
