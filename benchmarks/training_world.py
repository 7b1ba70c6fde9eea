"""The backbone, corpora, tokens and examples of benchmarks/training.py."""

from __future__ import annotations

import csv
import resource
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaForCausalLM

from bemerc.behavior.tokens import file as tokens
from bemerc.behavior.tokens.calibration import Calibration, Statistics
from bemerc.corpus.manifest import MODALITIES, Manifest, Modality, Utterance
from bemerc.language.inputs import prompts
from bemerc.language.model import behavior_model as model
from bemerc.language.model import model_folder
from bemerc.language.predict import score_labels
from bemerc.language.tiny_lm import model as backbone
from bemerc.language.train import log

WIDTHS: dict[Modality, int] = {"face": 40, "pose": 24, "audio": 12}
K = 8
STILL = model.Params(device="cpu", rank=16, alpha=16.0, lora_dropout=0.0, projector_dropout=0.0, token_dropout=0.0)


@dataclass(frozen=True)
class Size:
    """How large the backbone is, and how much is measured."""

    hidden: int
    layers: int
    heads: int
    vocabulary: int
    utterances: int


FULL = Size(hidden=384, layers=11, heads=6, vocabulary=8192, utterances=96)
TINY = Size(hidden=32, layers=2, heads=2, vocabulary=600, utterances=40)


def read_meld(folder: Path) -> Manifest:
    """Words, speakers and labels of MELD's train, the gaps in its numbers closed."""
    turns: dict[int, list[dict[str, str]]] = defaultdict(list)
    with (folder / "train_sent_emo.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            turns[int(row["Dialogue_ID"])].append(row)
    return manifest(
        [
            Utterance(
                f"d{d:04d}_u{n:02d}", f"d{d:04d}", n, row["Speaker"], row["Utterance"], row["Emotion"], "train", None
            )
            for d, of_dialogue in turns.items()
            for n, row in enumerate(sorted(of_dialogue, key=lambda row: int(row["Utterance_ID"])))
        ]
    )


def manifest(utterances: Sequence[Utterance]) -> Manifest:
    labels = tuple(sorted({u.label for u in utterances if u.label}))
    return Manifest(tuple(sorted(utterances, key=lambda u: u.id)), labels, ("meld",), Path())


def strung(of: Manifest, turns: int) -> Manifest:
    """The same utterances in dialogues of ``turns`` turns."""
    rows = [u for dialogue in of.dialogues() for u in dialogue.utterances]
    longer = [
        replace(u, dialogue=f"long{n // turns:04d}", index=n % turns, id=f"long{n // turns:04d}_u{n % turns:02d}")
        for n, u in enumerate(rows[: len(rows) // turns * turns])
    ]
    return manifest(longer)


def some(of: Manifest, utterances: int, seed: int = 0) -> Manifest:
    """Whole dialogues, drawn, until there are about so many utterances."""
    dialogues = of.dialogues()
    chosen: list[Utterance] = []
    for i in np.random.default_rng(seed).permutation(len(dialogues)):
        if len(chosen) < utterances:
            chosen += dialogues[i].utterances
    return replace(of, utterances=tuple(sorted(chosen, key=lambda u: u.id)))


def write_world(
    folder: Path,
    words: Manifest,
    made: dict[str, Manifest],
    size: Size,
    shape: prompts.Params,
    given: Path | None = None,
) -> int:
    """Backbone and token files; returns how many parameters the backbone has. ``given``: a backbone's folder in place of a made one."""
    parameters = link_backbone(folder, given) if given else write_backbone(folder, words, size, shape)
    write_token_files(folder, made)
    return parameters


def link_backbone(folder: Path, given: Path) -> int:
    (folder / "backbone").symlink_to(given.resolve())
    with torch.device("meta"):
        lm = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(given, local_files_only=True))
    return sum(p.numel() for p in lm.parameters())


def write_backbone(folder: Path, words: Manifest, size: Size, shape: prompts.Params) -> int:
    spoken = [u.text for u in words.utterances]
    frame = prompts.merc_prompt(words.dialogues()[0], 0, words.labels, MODALITIES, shape).text
    tokenizer = backbone.train_tokenizer([*spoken, *[frame] * 200], size.vocabulary, 4096)
    sizes = backbone.Params(vocabulary=size.vocabulary, hidden=size.hidden, layers=size.layers, heads=size.heads)
    torch.manual_seed(0)
    config = backbone.config(sizes, tokenizer)
    config.tie_word_embeddings = False  # so that the head can learn to answer by itself
    lm = LlamaForCausalLM(config)
    lm.save_pretrained(folder / "backbone")
    tokenizer.save_pretrained(folder / "backbone")
    return sum(p.numel() for p in lm.parameters())


def write_token_files(folder: Path, made: dict[str, Manifest]) -> None:
    rng = np.random.default_rng(1)
    for name, of in made.items():
        ids = [u.id for u in of.utterances]
        values = {
            m: (rng.normal(0, 1, (len(ids), K, w)).astype(np.float32), np.ones((len(ids), K), bool))
            for m, w in WIDTHS.items()
        }
        statistics = {
            m: Statistics("made 1", tuple(f"{m}_{i}" for i in range(w)), (0.0,) * w, (1.0,) * w)
            for m, w in WIDTHS.items()
        }
        tokens.write_tokens(folder / f"{name}.h5", ids, values, Calibration(statistics), tokens.Params(k=K))


@dataclass
class World:
    """One measurement's model and examples."""

    folder: Path
    name: str
    of: Manifest
    shape: prompts.Params

    def __post_init__(self) -> None:
        self.params = replace(STILL, name_or_path=str(self.folder / "backbone"))
        torch.manual_seed(0)
        self.model = model_folder.build(self.params, WIDTHS, K)
        saved = self.folder / "trained.pt"
        if saved.is_file():
            self.model.load_state_dict(torch.load(saved, weights_only=True), strict=False)
        self.tokens = tokens.open_tokens(self.folder / f"{self.name}.h5")
        self.encoder = score_labels.encoder_for(self.model, self.shape, 4096)
        self.asked = score_labels.prompts(self.of, ("train",), self.of.labels, MODALITIES, self.shape)
        self.examples = [self.encoder.encode(one) for one, _ in self.asked]
        self.resident_gb = resident_gb()


def resident_gb() -> float:
    """Of this process, now: what the model and libraries take before anything is computed."""
    with open("/proc/self/statm") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * resource.getpagesize() / 1e9


def peak_gb() -> float:
    return log.memory_gb(torch.device("cpu"))
