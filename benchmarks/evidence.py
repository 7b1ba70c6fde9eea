"""What the ledger costs, and whether it points to the side that was planted.

    python -m benchmarks.evidence [--utterances 60] [--tiny]
    python -m benchmarks.evidence --planted results/evidence/TVB.jsonl --truth data/sample/truth.jsonl

The first labels dialogue by dialogue with evidence and without it, in turn: ratios of CPU seconds, median over dialogues and
quartiles. The model is training_world's (11 layers of 6 heads, drawn weights), dialogues of ten turns, seven labels.

The second takes the embedded sample's test split, where what face and voice show was planted. Of the utterances in which they
show different emotions it asks, for the emotion that one side shows: does that side count for more than the other? Interval: 95 %
of resamples of whole dialogues.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bemerc.language.inputs import left_out, prompts
from bemerc.language.predict import ledger, score_labels
from bemerc.language.predict.evidence import Evidence, read_evidence
from bemerc.language.predict.fitting import Asked
from benchmarks import training_world
from benchmarks.reallocation import TURNS, dialogues
from benchmarks.training_world import FULL, TINY, World

CHOICES = {
    "face, body, voice, explanation": left_out.Choice(),
    "and the latest past turn": left_out.Choice(turns=1),
    "and every past turn": left_out.Choice(turns=99),
}
HOW = score_labels.Params(device="cpu")
SILENT = "neutral"


def costs(world: World, choice: left_out.Choice) -> np.ndarray:
    """CPU seconds with evidence as a multiple of those without, for every dialogue."""
    reads = score_labels.Reads(world.encoder, world.tokens.columns, {})
    ratios = []
    for number, start in enumerate(range(0, len(world.asked), TURNS)):
        asked, seconds = world.asked[start : start + TURNS], {}
        for with_evidence in (number % 2 == 0, number % 2 == 1):
            begun = time.process_time()
            made: Asked = asked
            if with_evidence:
                made = [
                    (one, asked[0][1])
                    for one in ledger.in_order(list(ledger.questions(asked, world.of, reads, choice)))
                ]
            score_labels.score_labels(world.model, world.encoder, made, world.tokens, HOW, quiet=True)
            seconds[with_evidence] = time.process_time() - begun
        ratios.append(seconds[True] / seconds[False])
    return np.array(ratios[1:])  # the first warms things up


def planted(made: Sequence[Evidence], truth: Mapping[str, Mapping[str, Any]]) -> dict[str, list[tuple[str, bool]]]:
    """What is asked -> (dialogue, whether the side that shows the emotion counts for more than the other)."""
    answers: dict[str, list[tuple[str, bool]]] = defaultdict(list)
    for one in made:
        made_to_show = truth[one.id]
        if made_to_show["split"] != "test" or made_to_show["face"] == made_to_show["voice"]:
            continue
        for side, other in (("face", "voice"), ("voice", "face")):
            shown = made_to_show[side]
            if shown == SILENT:
                continue
            counts = one.counts(shown)
            answer = (one.id.rsplit("_utt", 1)[0], counts[side] > counts[other])
            answers[f"the emotion of the {side}"].append(answer)
            answers["either"].append(answer)
            if one.label == shown:
                answers["either, where it is predicted"].append(answer)
    return answers


def share(answers: Sequence[tuple[str, bool]]) -> tuple[float, float, float]:
    """Share of yes, and the ends of its interval."""
    groups: dict[str, list[bool]] = defaultdict(list)
    for dialogue, yes in answers:
        groups[dialogue].append(yes)
    sums, counts = (np.array([of(one) for one in groups.values()], float) for of in (sum, len))
    weights = np.random.default_rng(0).multinomial(len(groups), [1 / len(groups)] * len(groups), 10_000)
    low, high = np.quantile(weights @ sums / (weights @ counts), (0.025, 0.975))
    return float(sums.sum() / counts.sum()), float(low), float(high)


def measure(utterances: int, tiny: bool) -> Iterable[str]:
    """A line per choice of parts and route through a tree."""
    of = dialogues(utterances)
    with tempfile.TemporaryDirectory() as folder:
        shape = prompts.Params()
        training_world.write_world(Path(folder), of, {"made": of}, TINY if tiny else FULL, shape)
        world = World(Path(folder), "made", of, shape)
        world.model.eval()
        world.model.merge()
        for what, choice in CHOICES.items():
            low, middle, high = np.quantile(costs(world, choice), (0.25, 0.5, 0.75))
            yield f"{what:32s} {middle:5.2f} times the seconds ({low:.2f} to {high:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=60)
    parser.add_argument("--tiny", action="store_true", help="a small model, to see that it runs")
    parser.add_argument("--planted", type=Path, help="evidence of the sample")
    parser.add_argument("--truth", type=Path, default=Path("data/sample/truth.jsonl"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.planted is None:
        for line in measure(given.utterances, given.tiny):
            print(line, flush=True)
        return
    truth = {one["id"]: one for one in map(json.loads, given.truth.read_text(encoding="utf-8").splitlines())}
    for what, answers in planted(read_evidence(given.planted), truth).items():
        middle, low, high = share(answers)
        print(f"{what:32s} {middle:.2f} ({low:.2f} to {high:.2f}) of {len(answers)}")


if __name__ == "__main__":
    main()
