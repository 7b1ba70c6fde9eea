"""A small world for the language wing: dialogues whose emotion stands in a word or in the tokens, and a tiny backbone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bemerc.behavior.describe.description import Description
from bemerc.behavior.tokens import file
from bemerc.behavior.tokens.calibration import Calibration, Statistics
from bemerc.behavior.tokens.file import TokenFile
from bemerc.corpus import provenance
from bemerc.corpus.manifest import MODALITIES, SPLITS, Manifest, Modality, Split, Utterance
from bemerc.language.inputs import prompts
from bemerc.language.model import behavior_model
from bemerc.language.tiny_lm import drills as primer
from bemerc.language.tiny_lm import model as backbone
from bemerc.language.train import loop

LABELS = ("neutral", "joy", "anger")
WIDTHS: dict[Modality, int] = {"face": 5, "pose": 4, "audio": 3}
K = 2
TINY = backbone.Params(
    vocabulary=500, hidden=32, layers=2, heads=2, context=512, steps=60, texts=2, length=32, drills=8, lr=0.01
)
# Large enough to learn from a hundred utterances.
READER = replace(TINY, hidden=64, steps=200, drills=24, lr=5e-3)
TRAINING = loop.Params(
    epochs=2,
    patience=0,
    batch=6,
    accumulate=1,
    row_tokens=400,
    max_length=512,
    precision="float32",
    adapter_lr=0.01,
    projector_lr=0.01,
    warmup=0.1,
    weight_decay=0.01,
    clip=1.0,
    ema_decay=0.5,
    seed=3,
)


def manifest(dialogues: dict[Split, int] | None = None, turns: int = 4, seed: int = 0) -> Manifest:
    """Dialogues whose words say nothing; the label shows in the tokens (``write``)."""
    rng = np.random.default_rng(seed)
    made = []
    for split in SPLITS:
        for d in range((dialogues or {"train": 6, "dev": 3, "test": 3})[split]):
            for i in range(turns):
                key, name = f"made/{split}/d{d}", "Zoë" if i % 2 else "Bob"
                label = LABELS[int(rng.integers(len(LABELS)))]
                made.append(Utterance(f"{key}_u{i}", key, i, name, f"so it was {i} then", label, split, None))
    return Manifest(tuple(sorted(made, key=lambda u: u.id)), LABELS, ("made",), Path())


def write(path: Path, of: Manifest, widths: dict[Modality, int] = WIDTHS, k: int = K, seed: int = 0) -> TokenFile:
    """A token file in which the first columns follow the label; every seventh utterance shows nothing at all."""
    rng = np.random.default_rng(seed)
    ids = [u.id for u in of.utterances]
    values: dict[Modality, tuple[NDArray[np.float32], NDArray[np.bool_]]] = {}
    statistics: dict[Modality, Statistics] = {}
    for modality, width in widths.items():
        rows = rng.normal(0, 0.3, (len(ids), k, width)).astype(np.float32)
        for row, utterance in enumerate(of.utterances):
            rows[row, :, LABELS.index(utterance.label or "neutral")] += 2
        mask = np.ones((len(ids), k), bool)
        mask[::7] = False
        values[modality] = (rows * mask[..., None], mask)
        columns = tuple(f"{modality}_{i}" for i in range(width))
        statistics[modality] = Statistics("made 1", columns, (0.0,) * width, (1.0,) * width)
    calibration = Calibration(statistics, provenance.fitted(of))
    file.write_tokens(path, ids, values, calibration, file.Params(k=k))
    return file.open_tokens(path)


def describe(of: Manifest) -> dict[str, Description]:
    """Descriptions that say which column moved."""
    said = {"neutral": "Nothing moves.", "joy": "Lips rise.", "anger": "Brows lower."}
    return {u.id: Description(said[u.label or "neutral"], "Still.", "Upright.", "Loud.") for u in of.utterances}


def build(folder: Path, of: Manifest, params: backbone.Params = TINY) -> behavior_model.Params:
    """A backbone in ``folder``, and the params of a model on it."""
    told = {key: vars(description) for key, description in describe(of).items()}
    drills = [(d.question, d.words) for d in primer.drills(of, max(50, params.steps * params.drills), prompts.Params())]
    backbone.build(primer.texts(of, told, prompts.Params()), drills, folder, params)
    return behavior_model.Params(name_or_path=str(folder), device="cpu", rank=4, alpha=8.0, projector_hidden=8)


def variant(*modalities: str) -> dict[Modality, int]:
    return {m: WIDTHS[m] for m in MODALITIES if m in modalities}
