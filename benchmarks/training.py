"""Training and labelling against what one would write with the usual libraries.

    python -m benchmarks.training --meld DIR [--backbone models/smollm2]

DIR holds MELD's train_sent_emo.csv. Ratios in one call: same backbone, same weights, same prompts, same answers, each
measurement in a process of its own with one thread, so that a peak of memory is one measurement's; seconds are the
process's own (CPU time), so that other work on the machine falls on neither side.

  ours   bemerc.language.train.loop and bemerc.language.predict.score_labels as they are: a dialogue is computed once, logits at targets alone, the adapter
         merged for labelling
  peer   Hugging Face Trainer and PEFT as a user would write it: one prompt per utterance, inputs_embeds, padding to the
         longest of the batch, the model's own loss; labels by ``generate`` and parsing, utterance by utterance
         (greedy, ended by the end mark, at most 8 tokens)

The model that labels has learned to answer: its head was trained on the very dialogues that are then labelled, until
what it generates are labels and it is neither certain nor at a loss. Prompts are tokenized before the clock starts, on
both sides. Labelling alone, on more utterances: ``--labelling --utterances 400``.

The behavior tokens are noise of the right shape: MELD's videos are not needed to see how fast they would be read.
Dropout is off, so that losses and gradients can be compared: they are, before anything is timed. Dialogues are taken
as they are, and strung together to 50 turns, about IEMOCAP's length. Peers' window slides where ours is anchored, so
the peer is measured with a sliding window too: shorter prompts, not ours.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"

import torch

from bemerc.corpus.manifest import Utterance
from bemerc.language.inputs import prompts
from benchmarks.training_ways import label, learn, numerics, train_ours, train_peer
from benchmarks.training_world import FULL, TINY, K, World, manifest, read_meld, some, strung, write_world

# ------------------------------------------------------------------------------------------------------------ the table


def measure(what: str, folder: Path, name: str, shape: prompts.Params, batch: int) -> dict[str, Any]:
    """One measurement, in this process."""
    held = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    of = manifest([Utterance(**row) for row in held])
    world = World(folder, name, of, shape)
    out = folder / f"{what}-{name}-{shape.windowing}"
    out.mkdir(exist_ok=True)
    if what == "numerics":
        return numerics(world)
    if what in ("ours", "peer"):
        return (train_ours if what == "ours" else train_peer)(world, out, batch)
    return (learn if what == "learn" else label)(world)


def apart(folder: Path, what: str, name: str, shape: prompts.Params, batch: int = 8) -> dict[str, Any]:
    """One measurement, in a process of its own."""
    answer = folder / "answer.json"
    given = [what, str(folder), name, json.dumps(asdict(shape)), str(batch), str(answer)]
    subprocess.run([sys.executable, "-m", "benchmarks.training", "--one", *given], check=True)
    result: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    return result


def compare(folder: Path, name: str, shape: prompts.Params, batch: int) -> dict[str, Any]:
    """Everything about one corpus, the two sides in turn."""
    result: dict[str, Any] = {"numerics": apart(folder, "numerics", name, shape)}
    result["ours"] = apart(folder, "ours", name, shape, batch)
    # The peer gets as many utterances per step as ours had.
    like = max(1, round(result["ours"]["per_step"]))
    result["peer"] = apart(folder, "peer", name, shape, like)
    result["sliding"] = apart(folder, "peer", name, replace(shape, windowing="sliding"), like)
    # A given backbone's head may be its word embeddings: it cannot be taught to answer by itself.
    return result if (folder / "backbone").is_symlink() else result | labelling(folder, name, shape)


def labelling(folder: Path, name: str, shape: prompts.Params) -> dict[str, Any]:
    """A model that has learned to answer, and both ways to have its answers."""
    learned = apart(folder, "learn", name, shape)["loss"]
    result = apart(folder, "label", name, shape)
    (folder / "trained.pt").unlink()
    return {"labelling": result | {"loss": learned}}


def table(results: dict[str, dict[str, Any]], parameters: int, command: str) -> str:
    """docs/speed.md."""
    lines = [
        "# Speed: training and labelling beside the usual libraries",
        "",
        f"Written by `{command}` (Python {platform.python_version()}, torch {torch.__version__}, one CPU thread; a "
        f"Llama of {parameters / 1e6:.1f} M parameters, {K} behavior tokens per modality; float32, no "
        "dropout).",
        "Ratios travel, seconds do not. What is compared: the opening of `benchmarks/training.py`.",
        "",
        "| | " + " | ".join(results) + " | asked |",
        "| --- |" + " ---: |" * (len(results) + 1),
    ]
    first = next(iter(results.values()))
    cells = (CELLS if "ours" in first else ()) + (LABELLED if "labelling" in first else ())
    for title, asked, cell in cells:
        lines.append(f"| {title} | " + " | ".join(cell(of) for of in results.values()) + f" | {asked} |")
    return "\n".join(lines) + "\n"


def grown(of: dict[str, float]) -> float:
    return of["peak_gb"] - of["resident_gb"]


CELLS: tuple[tuple[str, str, Any], ...] = (
    ("supervised utterances per second, ours", "", lambda f: f"{f['ours']['per_s']:.2f}"),
    ("the same, Trainer + PEFT", "", lambda f: f"{f['peer']['per_s']:.2f}"),
    ("**training, ours to theirs**", "at least 3", lambda f: f"**{f['ours']['per_s'] / f['peer']['per_s']:.2f}**"),
    ("... theirs with a sliding window", "", lambda f: f"{f['ours']['per_s'] / f['sliding']['per_s']:.2f}"),
    (
        "utterances per step, ours / theirs",
        "equal",
        lambda f: f"{f['ours']['per_step']:.1f} / {f['peer']['per_step']:.0f}",
    ),
    (
        "peak memory beyond the loaded model, GB, ours / theirs",
        "",
        lambda f: f"{grown(f['ours']):.2f} / {grown(f['peer']):.2f}",
    ),
    ("**memory, ours to theirs**", "at most 0.7", lambda f: f"**{grown(f['ours']) / grown(f['peer']):.2f}**"),
    ("... of the whole process", "", lambda f: f"{f['ours']['peak_gb'] / f['peer']['peak_gb']:.2f}"),
    ("loss of 8 utterances, difference", "rounding", lambda f: f"{f['numerics']['loss_away']:.1e}"),
    ("their gradient, difference to its norm", "rounding", lambda f: f"{f['numerics']['gradient_away']:.1e}"),
    ("share of a step spent waiting for data", "below 1 %", lambda f: f"{100 * f['ours']['wait']:.2f} %"),
)


def ratio(f: dict[str, Any], seconds: str = "seconds") -> str:
    return f"{f['labelling']['peer_s'] / f['labelling'][seconds]:.2f}"


def each_ms(of: dict[str, Any]) -> str:
    return " / ".join(f"{1000 * of[key] / of['utterances']:.0f}" for key in ("seconds", "peer_s"))


def positions_of(of: dict[str, Any]) -> str:
    return f"{of['positions']:.0f} / {of['prompt']:.0f} + {of['written']:.1f}"


LABELLED: tuple[tuple[str, str, Any], ...] = (
    ("**labelling a dialogue, ours to generate**", "at least 5", lambda f: f"**{ratio(f)}**"),
    ("... all dialogues at once, as `bemerc predict` does", "", lambda f: ratio(f, "together_s")),
    ("ms of CPU per utterance, ours / generate", "", lambda f: each_ms(f["labelling"])),
    (
        "positions per utterance, ours / a prompt alone + what is written",
        "",
        lambda f: positions_of(f["labelling"]),
    ),
    (
        "label scores, one dialogue and all at once, largest difference",
        "rounding",
        lambda f: f"{f['labelling']['away']:.1e}",
    ),
    (
        "what is labelled with: loss per token, median probability of its labels",
        "",
        lambda f: f"{f['labelling']['loss']:.2f}, {f['labelling']['sure']:.2f}",
    ),
    ("generated answers that are labels", "", lambda f: f"{100 * f['labelling']['valid']:.1f} %"),
    (
        "same label",
        "at least 99 %",
        lambda f: (
            f"{100 * f['labelling']['same']:.1f} % of {f['labelling']['utterances']} ({f['labelling']['named']} "
            "labels named)"
        ),
    ),
    (
        "of the others, generated one less probable in total",
        "all",
        lambda f: f"{f['labelling']['lower']} of {f['labelling']['differ']}",
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Training and labelling against Trainer + PEFT and generate.")
    parser.add_argument("--meld", type=Path, help="folder with MELD's train_sent_emo.csv")
    parser.add_argument(
        "--utterances", type=int, help=f"trained on and labelled, per corpus; default {FULL.utterances}"
    )
    parser.add_argument("--backbone", type=Path, help="a real model's folder in place of a made one; training alone")
    parser.add_argument("--batch", type=int, default=8, help="utterances per step, about")
    parser.add_argument(
        "--tiny", action="store_true", help="a tiny backbone: to see that everything runs, not how fast"
    )
    parser.add_argument("--labelling", action="store_true", help="labelling alone")
    parser.add_argument("--once", action="store_true", help="prompt.repeat_target_utterance: false, on both sides")
    parser.add_argument("--out", type=Path, help="write the table there too, such as docs/speed.md")
    parser.add_argument("--one", nargs=6, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        what, folder, name, written, batch, answer = given.one
        results = measure(what, Path(folder), name, prompts.Params(**json.loads(written)), int(batch))
        Path(answer).write_text(json.dumps(results), encoding="utf-8")
        return
    if given.meld is None or not (given.meld / "train_sent_emo.csv").is_file():
        sys.exit(
            "--meld: name the folder that holds MELD's train_sent_emo.csv (github.com/declare-lab/MELD, data/MELD)."
        )
    size = TINY if given.tiny else FULL
    words = read_meld(given.meld)
    count, asked = given.utterances or size.utterances, prompts.Params(repeat_target_utterance=not given.once)
    made = {"dialogues": some(words, count), "50-turns": some(strung(words, 50), count)}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        parameters = write_world(folder, words, made, size, asked, given.backbone)
        for name, of in made.items():
            plain = [asdict(u) for u in of.utterances]
            (folder / f"{name}.json").write_text(json.dumps(plain, default=str), encoding="utf-8")
        results = {
            name: labelling(folder, name, asked)
            if given.labelling and not given.backbone
            else compare(folder, name, asked, given.batch)
            for name in made
        }
    titles = {"dialogues": "MELD's dialogues", "50-turns": "50 turns"}
    command = " ".join(["python -m benchmarks.training", *(a for a in sys.argv[1:] if not a.startswith(("/", "..")))])
    text = table({titles[name]: of for name, of in results.items()}, parameters, command)
    print(text)
    if given.out:
        given.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
