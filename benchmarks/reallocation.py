"""What attention reallocation costs: labelling with and without it, dialogue by dialogue in turn, as ratios of CPU seconds.

    python -m benchmarks.reallocation [--utterances 60] [--tiny]

The model is training_world's: a Llama of 11 layers of 6 heads, with drawn weights, which cost as much as trained ones;
dialogues of ten turns, seven labels, face, body and voice. Every tau is drawn and bands are narrow, so that nearly every row
is moved. Printed is the median over dialogues of the ratio of CPU seconds, its quartiles, and the largest difference of a
label's log-probability between the routes (which must be rounding).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from bemerc.corpus.labels import LABEL_SETS
from bemerc.corpus.manifest import Manifest, Utterance
from bemerc.language.inputs import prompts
from bemerc.language.model.tree_attention import TreeSupport
from bemerc.language.predict import calibrate_reallocation, score_labels
from bemerc.language.predict.fitting import Asked
from bemerc.language.predict.modes import Mode
from bemerc.language.predict.reallocation_file import Reallocation
from benchmarks import training_world
from benchmarks.training_world import FULL, TINY, K, Size, World

TURNS = 10
WORDS = [
    "so",
    "it",
    "was",
    "you",
    "who",
    "said",
    "that",
    "we",
    "could",
    "go",
    "there",
    "and",
    "then",
    "he",
    "left",
    "me",
    "with",
    "all",
    "of",
    "this",
    "what",
    "do",
    "i",
    "do",
    "now",
]
Scores = dict[str, np.ndarray]


def dialogues(utterances: int) -> Manifest:
    """Dialogues of ten turns of drawn words."""
    rng, labels = np.random.default_rng(0), LABEL_SETS["meld"]
    return training_world.manifest(
        [
            Utterance(
                f"d{n // TURNS:03d}_u{n % TURNS}",
                f"d{n // TURNS:03d}",
                n % TURNS,
                "AB"[n % 2],
                " ".join(rng.choice(WORDS, rng.integers(4, 16))),
                labels[n % len(labels)],
                "train",
                None,
            )
            for n in range(utterances)
        ]
    )


def drawn(size: Size, share: float, eligible: range) -> Reallocation:
    """A reallocation in ``share`` of the heads of the ``eligible`` layers, that moves nearly every row."""
    rng = np.random.default_rng(1)
    chosen = calibrate_reallocation.best_heads(
        rng.random((size.layers, size.heads)).astype(np.float32), eligible, share
    )
    tau = rng.uniform(0.1, 0.9, (size.layers, size.heads, 2))
    return Reallocation("drawn", K, tau, np.full_like(tau, 0.01), chosen, chosen, {}, 0.5, 0.2, 0.3, {})


def compared(world: World, made: Reallocation, mode: Mode, trees: TreeSupport) -> tuple[np.ndarray, Scores]:
    """CPU seconds with, as a multiple of those without, for every dialogue, and the scores."""
    world.model.trees = trees
    found: Scores = {}
    asked = [world.asked[start : start + TURNS] for start in range(0, len(world.asked), TURNS)]

    def score(questions: Asked, how: Mode) -> Callable[[], Scores]:
        params = score_labels.Params(device="cpu", reallocate=how)
        return lambda: score_labels.reallocated(
            world.model, world.encoder, questions, world.tokens, params, made, quiet=True
        )

    ratios = []
    for number, questions in enumerate(asked):
        seconds = {}
        for how in (mode, "none") if number % 2 else ("none", mode):
            start = time.process_time()
            scores = score(questions, how)()
            seconds[how] = time.process_time() - start
            found |= scores if how == mode else {}
        ratios.append(seconds[mode] / seconds["none"])
    return np.array(ratios[1:]), found  # the first warms things up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=120)
    parser.add_argument("--tiny", action="store_true", help="a small model, to see that it runs")
    given = parser.parse_args()
    torch.set_num_threads(1)
    size, of = TINY if given.tiny else FULL, dialogues(given.utterances)
    usual = calibrate_reallocation.eligible(size.layers, 2, 1)
    some, every = drawn(size, 0.25, usual), drawn(size, 1.0, range(size.layers))
    with tempfile.TemporaryDirectory() as folder:
        shape = prompts.Params()
        training_world.write_world(Path(folder), of, {"made": of}, size, shape)
        world = World(Path(folder), "made", of, shape)
        world.model.eval()
        with torch.no_grad():
            for name, weight in world.model.trainable().items():
                if "lora_B" in name:
                    weight.normal_(0, 0.02)
        world.model.merge()
        scores: dict[tuple[str, str], Scores] = {}
        ways: tuple[tuple[str, Reallocation, Mode], ...] = (
            ("a quarter of the heads", some, "reallocate"),
            ("every head of every layer", every, "reallocate"),
            ("boost, a quarter", some, "presoftmax"),
            ("text_prior", some, "text_prior"),
        )
        for what, made, mode in ways:
            for trees in ("paths", "masks"):
                ratios, scores[what, trees] = compared(world, made, mode, trees)
                low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75))
                print(f"{what:26s} {trees:6s} {middle:5.3f} times the seconds ({low:.3f} to {high:.3f})")
        routes = max(
            float(np.abs(scores[what, "paths"][id] - scores[what, "masks"][id]).max())
            for what, trees in scores
            if trees == "paths"
            for id in scores[what, "paths"]
        )
        print(f"largest difference between the routes: {routes:.1e} nats")


if __name__ == "__main__":
    main()
