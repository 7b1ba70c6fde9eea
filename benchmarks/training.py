"""Training and labelling against what one would write with the usual libraries: ``python -m benchmarks.training --meld DIR``

DIR holds MELD's train_sent_emo.csv. Ratios in one call: same backbone, same weights, same prompts, same answers, each
measurement in a process of its own with one thread, so that a peak of memory is one measurement's; seconds are the
process's own (CPU time), so that other work on the machine falls on neither side.

  ours   bemerc.language.train.loop and bemerc.language.predict.score_labels as they are: a dialogue is computed once, logits at targets alone, the adapter
         merged for labelling
  peer   Hugging Face Trainer and PEFT as a user would write it: one prompt per utterance, inputs_embeds, padding to the
         longest of the batch, the model's own loss; labels by ``generate`` and parsing, utterance by utterance (greedy, ended
         by the end mark, at most 8 tokens)

The model that labels has learned to answer: its head was trained on the very dialogues that are then labelled, until what
it generates are labels and it is neither certain nor at a loss. Prompts are tokenized before the clock starts, on both
sides. Labelling alone, on more utterances: ``--labelling --utterances 400``.

The behavior tokens are noise of the right shape: MELD's videos are not needed to see how fast they would be read. Dropout
is off, so that losses and gradients can be compared: they are, before anything is timed. Dialogues are taken as they are,
and strung together to 50 turns, about IEMOCAP's length. Peers' window slides where ours is anchored, so the peer is
measured with a sliding window too: shorter prompts, not ours.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
from torch import Tensor, nn
from transformers import LlamaForCausalLM, Trainer, TrainingArguments

from bemerc.behavior.tokens import file as tokens
from bemerc.behavior.tokens.calibration import Calibration, Statistics
from bemerc.corpus.manifest import MODALITIES, Manifest, Modality, Utterance
from bemerc.language.inputs import dataset, prompts
from bemerc.language.model import behavior_model as model
from bemerc.language.predict import score_labels
from bemerc.language.tiny_lm import model as backbone
from bemerc.language.train import log, loop

WIDTHS: dict[Modality, int] = {"face": 40, "pose": 24, "audio": 12}
K = 8
STILL = {"lora_dropout": 0.0, "projector_dropout": 0.0, "token_dropout": 0.0}
EPOCHS = 2  # of ours; the peer goes round once
# The head that is labelled with learns until its answers lose so many nats per token, or for so many steps.
LEARNED, MOST = 0.3, 400
LEFT_OUT = 2  # steps that warm things up and are not timed


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


# --------------------------------------------------------------------------------------------------------- what is read


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
            for d, found in turns.items()
            for n, row in enumerate(sorted(found, key=lambda row: int(row["Utterance_ID"])))
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


def write_world(folder: Path, words: Manifest, made: dict[str, Manifest], size: Size, shape: prompts.Params) -> int:
    """Backbone and token files; returns how many parameters the backbone has."""
    spoken = [u.text for u in words.utterances]
    frame = prompts.merc_prompt(words.dialogues()[0], 0, words.labels, MODALITIES, shape).text
    tokenizer = backbone.train_tokenizer([*spoken, *[frame] * 200], size.vocabulary, 4096)
    sizes = backbone.Params(vocabulary=size.vocabulary, hidden=size.hidden, layers=size.layers, heads=size.heads)
    torch.manual_seed(0)
    known = backbone.config(sizes, tokenizer)
    known.tie_word_embeddings = False  # so that the head can learn to answer by itself
    lm = LlamaForCausalLM(known)
    lm.save_pretrained(folder / "backbone")
    tokenizer.save_pretrained(folder / "backbone")
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
    return sum(p.numel() for p in lm.parameters())


@dataclass
class World:
    """One measurement's model and examples."""

    folder: Path
    name: str
    of: Manifest
    shape: prompts.Params

    def __post_init__(self) -> None:
        self.params = model.Params(str(self.folder / "backbone"), device="cpu", rank=16, alpha=16.0, **STILL)
        torch.manual_seed(0)
        self.model = model.build(self.params, WIDTHS, K)
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


# ----------------------------------------------------------------------------------------------------------------- ours


def train_ours(world: World, out: Path, batch: int) -> dict[str, float]:
    params = loop.Params(
        epochs=EPOCHS,
        patience=0,
        batch=batch,
        accumulate=1,
        row_tokens=1024,
        max_length=4096,
        precision="float32",
        adapter_lr=5e-3,
        projector_lr=5e-3,
        warmup=0.1,
        weight_decay=0.0,
        clip=1.0,
        average=0.0,
        seed=0,
    )
    trees = dataset.grow(world.examples, params.row_tokens)
    marks: list[tuple[float, int]] = []
    shares: list[tuple[float, float]] = []
    real = loop._Run._note

    def noted(run: Any, group: Any, loss: float, waited: float, seconds: float) -> None:
        marks.append((time.process_time(), sum(len(tree.examples) for tree in group)))
        shares.append((waited, seconds))
        real(run, group, loss, waited, seconds)

    loop._Run._note = noted  # type: ignore[method-assign]
    loop.fit(world.model, trees, world.tokens, lambda _: loop.Score(0.0, {"loss": 0.0}), params, out, "ours")
    timed = marks[LEFT_OUT:]
    done = sum(n for _, n in timed)
    return {
        "per_s": done / (timed[-1][0] - marks[LEFT_OUT - 1][0]),
        "per_step": done / len(timed),
        "wait": sum(w for w, _ in shares[LEFT_OUT:]) / sum(s for _, s in shares[LEFT_OUT:]),
        "peak_gb": peak_gb(),
        "resident_gb": world.resident_gb,
    }


def learn(world: World) -> dict[str, float]:
    """Teach the head to answer from what the layers make of the prompts, and keep it, with an adapter that does something.

    The layers stay noise, which is quick, and says as much of two ways to have the same answer.
    """
    torch.manual_seed(1)
    lm = world.model.eval().lm
    kept = {name: weight for name, weight in world.model.trainable().items() if "lora_B" in name}
    head = lm.get_output_embeddings()
    hidden: list[Tensor] = []
    batches = [dataset.collate([tree], world.tokens) for tree in dataset.grow(world.examples, 1024)]
    hook = head.register_forward_pre_hook(lambda _, given: hidden.append(given[0].flatten(0, 1)))
    with torch.no_grad():
        for weight in kept.values():
            weight.normal_(0, 0.02)
        for batch in batches:
            world.model.target_log_probs(batch)
    hook.remove()
    places = [torch.from_numpy(batch.source[batch.which]) for batch in batches]
    seen = torch.cat([of[place] for of, place in zip(hidden, places, strict=True)])
    right = torch.cat([torch.from_numpy(batch.token) for batch in batches])
    rate = torch.optim.Adam([head.weight.requires_grad_(True)], lr=1e-2)
    loss, steps = torch.tensor(np.inf), 0
    while loss > LEARNED and steps < MOST:
        rate.zero_grad()
        loss = nn.functional.cross_entropy(head(seen), right)
        loss.backward()
        rate.step()
        steps += 1
    names = {id(weight): name for name, weight in world.model.named_parameters()}
    kept |= {names[id(head.weight)]: head.weight}
    torch.save({name: weight.detach() for name, weight in kept.items()}, world.folder / "trained.pt")
    return {"loss": float(loss.detach()), "steps": steps}


def label(world: World) -> dict[str, Any]:
    """CPU seconds of both sides, dialogue by dialogue in turn so that a busy machine slows both, and what they said."""
    other = World(world.folder, world.name, world.of, world.shape)
    other.model.eval()
    world.model.eval().merge()
    examples = {one.id: one for one in world.examples}
    seconds, peer_s, length = 0.0, 0.0, 0
    sums: dict[str, list[float]] = {}
    said: dict[str, str] = {}
    for number, asked in enumerate([world.asked[:4], *by_dialogue(world)]):
        taken, found = scored(world, asked)
        wrote = [generated(other, examples[one.id]) for one, _ in asked]
        if number:  # the first ones warm up
            seconds += taken
            peer_s += sum(one[0] for one in wrote)
            length += sum(one[1] for one in wrote)
            sums |= found
            said |= {one.id: answer for (one, _), (_, _, answer) in zip(asked, wrote, strict=True)}
    together, again = scored(world, world.asked)
    return {
        "seconds": seconds,
        "together_s": together,
        "peer_s": peer_s,
        "away": max(abs(a - b) for id, row in sums.items() for a, b in zip(row, again[id], strict=True)),
        "positions": sum(map(len, laid_out(world))) / len(world.asked),
        "prompt": float(np.mean([sum(len(node.ids) for node in one.nodes[:-1]) for one in world.examples])),
        "written": length / len(said),
        **agreement(sums, said, world.of.labels),
    }


def laid_out(world: World) -> list[dataset.Tree]:
    """A tree per dialogue, every label at the end of every branch, as predict lays them out."""
    ended = world.encoder.overlap(world.of.labels, prompts.label_target)
    return [
        dataset.tree(
            [
                world.encoder.encode(replace(one, target=prompts.label_target(label)), ended)
                for one, labels in asked
                for label in labels
            ]
        )
        for asked in by_dialogue(world)
    ]


def scored(world: World, asked: Sequence[Any]) -> tuple[float, dict[str, list[float]]]:
    start = time.process_time()
    sums = score_labels.score_labels(
        world.model, world.encoder, asked, world.tokens, score_labels.Params(device="cpu"), quiet=True
    )
    return time.process_time() - start, {id: list(map(float, row)) for id, row in sums.items()}


def by_dialogue(world: World) -> list[list[Any]]:
    of = {u.id: u.dialogue for u in world.of.utterances}
    held: dict[str, list[Any]] = defaultdict(list)
    for one in world.asked:
        held[of[one[0].id]].append(one)
    return list(held.values())


# ----------------------------------------------------------------------------------------------------------------- peer


class Peer(nn.Module):
    """What a user writes to give a causal LM embeddings of their own: put them in place, hand in inputs_embeds."""

    def __init__(self, of: model.BehaviorModel) -> None:
        super().__init__()
        self.of = of

    def forward(self, input_ids: Tensor, modality: Tensor, attention_mask: Tensor, labels: Tensor, **behavior: Tensor):  # type: ignore[no-untyped-def]
        embeddings = self.embed(input_ids, modality, behavior)
        return self.of.lm(inputs_embeds=embeddings, attention_mask=attention_mask, labels=labels)

    def embed(self, input_ids: Tensor, modality: Tensor, behavior: dict[str, Tensor]) -> Tensor:
        embeddings = self.of.lm.get_input_embeddings()(input_ids)
        for number, name in enumerate(MODALITIES):
            projected = self.of.projectors[name](behavior[name], torch.ones(behavior[name].shape[:2], dtype=torch.bool))
            embeddings = embeddings.masked_scatter((modality == number).unsqueeze(-1), projected.flatten(0, 1))
        return embeddings


def rows(world: World) -> list[dict[str, Any]]:
    """One prompt per utterance, as lists of ids."""
    made = []
    for example in world.examples:
        nodes = example.nodes
        ids = [i for node in nodes for i in node.ids]
        labels = [i if node.target else -100 for node in nodes for i in node.ids]
        modality = [m for node in nodes for m in node.modality]
        made.append({"id": example.id, "input_ids": ids, "labels": labels, "modality": modality})
    return made


def collate(world: World, batch: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
    """Padding on the right to the longest prompt of the batch."""
    found: dict[str, Tensor] = {}
    for key, fill in (("input_ids", 0), ("labels", -100), ("modality", -1)):
        found[key] = nn.utils.rnn.pad_sequence(
            [torch.tensor(row[key]) for row in batch], batch_first=True, padding_value=fill
        )
    found["attention_mask"] = nn.utils.rnn.pad_sequence(
        [torch.ones(len(row["input_ids"]), dtype=torch.long) for row in batch], batch_first=True
    )
    read = [world.tokens[row["id"]] for row in batch]
    return found | {m: torch.from_numpy(np.stack([one[m].values for one in read])) for m in MODALITIES}


class Timed(Trainer):
    """Trainer, with a clock around its own step."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.marks: list[tuple[float, int]] = []

    def training_step(self, model: nn.Module, inputs: dict[str, Any], *more: Any, **named: Any) -> Tensor:
        self.marks.append((time.process_time(), len(inputs["input_ids"])))
        found: Tensor = super().training_step(model, inputs, *more, **named)
        return found


def train_peer(world: World, out: Path, batch: int) -> dict[str, float]:
    arguments = TrainingArguments(
        output_dir=str(out),
        per_device_train_batch_size=batch,
        num_train_epochs=1,
        learning_rate=1e-3,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        remove_unused_columns=False,
        disable_tqdm=True,
        dataloader_drop_last=True,
    )
    trainer = Timed(
        model=Peer(world.model), args=arguments, train_dataset=rows(world), data_collator=lambda b: collate(world, b)
    )
    trainer.train()
    marks = [*trainer.marks, (time.process_time(), 0)][LEFT_OUT:]
    done, seconds = sum(n for _, n in marks[:-1]), marks[-1][0] - marks[0][0]
    return {
        "per_s": done / seconds,
        "per_step": float(batch),
        "wait": float("nan"),
        "peak_gb": peak_gb(),
        "resident_gb": world.resident_gb,
    }


def generated(world: World, example: dataset.Example) -> tuple[float, int, str]:
    """CPU seconds, how many tokens ``generate`` wrote, and the label that they name, "" where they name none."""
    tokenizer = world.model.tokenizer
    with torch.inference_mode():
        start = time.process_time()
        nodes = example.nodes[:-1]
        ids = torch.tensor([[i for node in nodes for i in node.ids]])
        modality = torch.tensor([[m for node in nodes for m in node.modality]])
        read = world.tokens[example.id]
        behavior = {m: torch.from_numpy(read[m].values).unsqueeze(0) for m in MODALITIES}
        written = world.model.lm.generate(
            inputs_embeds=Peer(world.model).embed(ids, modality, behavior),
            attention_mask=torch.ones_like(ids),
            max_new_tokens=8,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
        )
        answer = prompts.read_label(tokenizer.decode(written[0], skip_special_tokens=True), world.of.labels) or ""
        return time.process_time() - start, written.shape[1], answer


# -------------------------------------------------------------------------------------------------------------- numerics


def numerics(world: World, count: int = 8) -> dict[str, float]:
    """Loss and gradients of the same examples, both ways: the largest differences, the gradients' against their norm."""
    examples = world.examples[:count]
    world.model.train()
    ours_loss = world.model(dataset.collate(dataset.grow(examples, 1024), world.tokens))
    ours = gradients(world, ours_loss)
    peer_loss = Peer(world.model)(**collate(world, rows(world)[:count])).loss
    peer = gradients(world, peer_loss)
    norm = float(torch.cat([g.flatten() for g in peer.values()]).norm())
    away = float(torch.cat([(ours[n] - peer[n]).flatten() for n in peer]).norm())
    gap = float((ours_loss - peer_loss).detach().abs())
    return {"loss": float(peer_loss.detach()), "loss_away": gap, "gradient_away": away / norm}


def gradients(world: World, loss: Tensor) -> dict[str, Tensor]:
    world.model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in world.model.trainable().items() if p.grad is not None}


# ------------------------------------------------------------------------------------------------------------- the table


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
    found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    return found


def compare(folder: Path, name: str, shape: prompts.Params, batch: int) -> dict[str, Any]:
    """Everything about one corpus, the two sides in turn."""
    found: dict[str, Any] = {"numerics": apart(folder, "numerics", name, shape)}
    found["ours"] = apart(folder, "ours", name, shape, batch)
    # The peer gets as many utterances per step as ours had.
    like = max(1, round(found["ours"]["per_step"]))
    found["peer"] = apart(folder, "peer", name, shape, like)
    found["sliding"] = apart(folder, "peer", name, replace(shape, windowing="sliding"), like)
    return found | labelling(folder, name, shape)


def labelling(folder: Path, name: str, shape: prompts.Params) -> dict[str, Any]:
    """A model that has learned to answer, and both ways to have its answers."""
    learned = apart(folder, "learn", name, shape)["loss"]
    found = apart(folder, "label", name, shape)
    (folder / "trained.pt").unlink()
    return {"labelling": found | {"loss": learned}}


def agreement(sums: dict[str, list[float]], said: dict[str, str], labels: Sequence[str]) -> dict[str, Any]:
    """How often both name the same label, and where they do not, how often the generated one is the less probable."""
    differ = [id for id, row in sums.items() if labels[int(np.argmax(row))] != said[id]]
    lower = [id for id in differ if not said[id] or sums[id][labels.index(said[id])] < max(sums[id])]
    sure = [float(np.exp(max(row) - np.logaddexp.reduce(row))) for row in sums.values()]
    return {
        "utterances": len(sums),
        "same": 1 - len(differ) / len(sums),
        "differ": len(differ),
        "lower": len(lower),
        "named": len({int(np.argmax(row)) for row in sums.values()}),
        "valid": sum(map(bool, said.values())) / len(said),
        "sure": float(np.median(sure)),
    }


def table(found: dict[str, dict[str, Any]], parameters: int, command: str) -> str:
    """docs/speed.md."""
    lines = [
        "# Speed: training and labelling beside the usual libraries",
        "",
        f"Written by `{command}` (Python {platform.python_version()}, torch {torch.__version__}, one CPU thread; a Llama of "
        f"{parameters / 1e6:.1f} M parameters, BPE tokens, {K} behavior tokens per modality; float32, no dropout).",
        "Ratios travel, seconds do not. What is compared: the opening of `benchmarks/training.py`.",
        "",
        "| | " + " | ".join(found) + " | asked |",
        "| --- |" + " ---: |" * (len(found) + 1),
    ]
    cells = (CELLS if "ours" in next(iter(found.values())) else ()) + LABELLED
    for title, asked, cell in cells:
        lines.append(f"| {title} | " + " | ".join(cell(of) for of in found.values()) + f" | {asked} |")
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


def laid(of: dict[str, Any]) -> str:
    return f"{of['positions']:.0f} / {of['prompt']:.0f} + {of['written']:.1f}"


LABELLED: tuple[tuple[str, str, Any], ...] = (
    ("**labelling a dialogue, ours to generate**", "at least 5", lambda f: f"**{ratio(f)}**"),
    ("... all dialogues at once, as `bemerc predict` does", "", lambda f: ratio(f, "together_s")),
    ("ms of CPU per utterance, ours / generate", "", lambda f: each_ms(f["labelling"])),
    (
        "positions per utterance, ours / a prompt alone + what is written",
        "",
        lambda f: laid(f["labelling"]),
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
            f"{100 * f['labelling']['same']:.1f} % of {f['labelling']['utterances']} ({f['labelling']['named']} labels named)"
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
    parser.add_argument("--batch", type=int, default=8, help="utterances per step, about")
    parser.add_argument(
        "--tiny", action="store_true", help="a tiny backbone: to see that everything runs, not how fast"
    )
    parser.add_argument("--labelling", action="store_true", help="labelling alone")
    parser.add_argument("--once", action="store_true", help="prompt.restate: false, on both sides")
    parser.add_argument("--out", type=Path, help="write the table there too, such as docs/speed.md")
    parser.add_argument("--one", nargs=6, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        what, folder, name, written, batch, answer = given.one
        found = measure(what, Path(folder), name, prompts.Params(**json.loads(written)), int(batch))
        Path(answer).write_text(json.dumps(found), encoding="utf-8")
        return
    if given.meld is None or not (given.meld / "train_sent_emo.csv").is_file():
        sys.exit(
            "--meld: name the folder that holds MELD's train_sent_emo.csv (github.com/declare-lab/MELD, data/MELD)."
        )
    size = TINY if given.tiny else FULL
    words = read_meld(given.meld)
    count, asked = given.utterances or size.utterances, prompts.Params(restate=not given.once)
    made = {"dialogues": some(words, count), "50-turns": some(strung(words, 50), count)}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        parameters = write_world(folder, words, made, size, asked)
        for name, of in made.items():
            plain = [asdict(u) for u in of.utterances]
            (folder / f"{name}.json").write_text(json.dumps(plain, default=str), encoding="utf-8")
        found = {
            name: labelling(folder, name, asked) if given.labelling else compare(folder, name, asked, given.batch)
            for name in made
        }
    titles = {"dialogues": "MELD's dialogues", "50-turns": "50 turns"}
    command = " ".join(["python -m benchmarks.training", *(a for a in sys.argv[1:] if not a.startswith(("/", "..")))])
    text = table({titles[name]: of for name, of in found.items()}, parameters, command)
    print(text)
    if given.out:
        given.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
