"""Both ways that benchmarks/training.py compares: bemerc's own, and what a user would write with the usual
libraries."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments

from bemerc.corpus.manifest import MODALITIES
from bemerc.language.inputs import batching, encoding, packing, prompts
from bemerc.language.model import behavior_model as model
from bemerc.language.predict import score_labels
from bemerc.language.train import loop
from benchmarks.training_world import World, peak_gb

EPOCHS = 2  # of ours; the peer goes round once


# The head that is labelled with learns until its answers lose so many nats per token, or for so many steps.
LEARNED, MOST = 0.3, 400
LEFT_OUT = 2  # steps that warm things up and are not timed


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
        ema_decay=0.0,
        seed=0,
    )
    trees = packing.pack_trees(world.examples, params.row_tokens)
    marks: list[tuple[float, int]] = []
    shares: list[tuple[float, float]] = []
    real = loop._Run._note

    def noted(run: Any, group: Any, loss: float, waited: float, seconds: float) -> None:
        marks.append((time.process_time(), sum(len(tree.examples) for tree in group)))
        shares.append((waited, seconds))
        real(run, group, loss, waited, seconds)

    with mock.patch.object(loop._Run, "_note", noted):
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
    """Train the head to answer from the noise of the layers, and keep it, with an adapter that does something.

    The layers stay noise, which is quick, and says as much of two ways to have the same answer.
    """
    torch.manual_seed(1)
    lm = world.model.eval().lm
    kept = {name: weight for name, weight in world.model.trainable().items() if "lora_B" in name}
    head = lm.get_output_embeddings()
    hidden: list[Tensor] = []
    batches = [batching.collate([tree], world.tokens) for tree in packing.pack_trees(world.examples, 1024)]
    hook = head.register_forward_pre_hook(lambda _, given: hidden.append(given[0].flatten(0, 1)))
    with torch.no_grad():
        for weight in kept.values():
            weight.normal_(0, 0.02)
        for batch in batches:
            world.model.target_log_probs(batch)
    hook.remove()
    places = [torch.from_numpy(batch.logit_positions[batch.logit_index]) for batch in batches]
    states = torch.cat([of[place] for of, place in zip(hidden, places, strict=True)])
    right = torch.cat([torch.from_numpy(batch.token) for batch in batches])
    rate = torch.optim.Adam([head.weight.requires_grad_(True)], lr=1e-2)
    loss, steps = torch.tensor(np.inf), 0
    while loss > LEARNED and steps < MOST:
        rate.zero_grad()
        loss = nn.functional.cross_entropy(head(states), right)
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
    written: dict[str, str] = {}
    for number, asked in enumerate([world.asked[:4], *by_dialogue(world)]):
        taken, scores = scored(world, asked)
        wrote = [generated(other, examples[one.id]) for one, _ in asked]
        if number:  # the first ones warm up
            seconds += taken
            peer_s += sum(one[0] for one in wrote)
            length += sum(one[1] for one in wrote)
            sums |= scores
            written |= {one.id: answer for (one, _), (_, _, answer) in zip(asked, wrote, strict=True)}
    together, again = scored(world, world.asked)
    return {
        "seconds": seconds,
        "together_s": together,
        "peer_s": peer_s,
        "away": max(abs(a - b) for id, row in sums.items() for a, b in zip(row, again[id], strict=True)),
        "positions": sum(map(len, as_trees(world))) / len(world.asked),
        "prompt": float(np.mean([sum(len(node.ids) for node in one.nodes[:-1]) for one in world.examples])),
        "written": length / len(written),
        **agreement(sums, written, world.of.labels),
    }


def as_trees(world: World) -> list[packing.Tree]:
    """A tree per dialogue, every label at the end of every branch, as predict lays them out."""
    ended = world.encoder.overlap(world.of.labels, prompts.label_target)
    return [
        packing.make_tree(
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
    result: dict[str, Tensor] = {}
    for key, fill in (("input_ids", 0), ("labels", -100), ("modality", -1)):
        result[key] = nn.utils.rnn.pad_sequence(
            [torch.tensor(row[key]) for row in batch], batch_first=True, padding_value=fill
        )
    result["attention_mask"] = nn.utils.rnn.pad_sequence(
        [torch.ones(len(row["input_ids"]), dtype=torch.long) for row in batch], batch_first=True
    )
    read = [world.tokens[row["id"]] for row in batch]
    return result | {m: torch.from_numpy(np.stack([one[m].values for one in read])) for m in MODALITIES}


class Timed(Trainer):
    """Trainer, with a clock around its own step."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.marks: list[tuple[float, int]] = []

    def training_step(self, model: nn.Module, inputs: dict[str, Any], *more: Any, **named: Any) -> Tensor:
        self.marks.append((time.process_time(), len(inputs["input_ids"])))
        loss: Tensor = super().training_step(model, inputs, *more, **named)
        return loss


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


def generated(world: World, example: encoding.Example) -> tuple[float, int, str]:
    """CPU seconds, how many tokens ``generate`` wrote, and the label that they name, "" where they name none."""
    tokenizer = world.model.tokenizer
    with torch.inference_mode():
        start = time.process_time()
        nodes = example.nodes[:-1]
        ids = torch.tensor([[i for node in nodes for i in node.ids]])
        modality = torch.tensor([[m for node in nodes for m in node.modality]])
        read = world.tokens[example.id]
        behavior: dict[str, Tensor] = {m: torch.from_numpy(read[m].values).unsqueeze(0) for m in MODALITIES}
        written = world.model.lm.generate(
            inputs_embeds=Peer(world.model).embed(ids, modality, behavior),
            attention_mask=torch.ones_like(ids),
            max_new_tokens=8,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
        )
        answer = read_label(tokenizer.decode(written[0], skip_special_tokens=True), world.of.labels) or ""
        return time.process_time() - start, written.shape[1], answer


def read_label(text: str, labels: Sequence[str]) -> str | None:
    """The way back: the label that a generated answer opens with, as a word of its own, or None; never a guess."""
    answer = text.strip().casefold()
    matching = [label for label in labels if re.match(re.escape(label.casefold()) + r"(?!\w)", answer)]
    return max(matching, key=len) if matching else None


def numerics(world: World, count: int = 8) -> dict[str, float]:
    """Loss and gradients of the same examples, both ways: the largest differences, those of gradients to their norm."""
    examples = world.examples[:count]
    world.model.train()
    ours_loss = world.model(batching.collate(packing.pack_trees(examples, 1024), world.tokens))
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


def agreement(sums: dict[str, list[float]], written: dict[str, str], labels: Sequence[str]) -> dict[str, Any]:
    """How often both name the same label, and where they do not, how often the generated one is the less probable."""
    differ = [id for id, row in sums.items() if labels[int(np.argmax(row))] != written[id]]
    lower = [id for id in differ if not written[id] or sums[id][labels.index(written[id])] < max(sums[id])]
    sure = [float(np.exp(max(row) - np.logaddexp.reduce(row))) for row in sums.values()]
    return {
        "utterances": len(sums),
        "same": 1 - len(differ) / len(sums),
        "differ": len(differ),
        "lower": len(lower),
        "named": len({int(np.argmax(row)) for row in sums.values()}),
        "valid": sum(map(bool, written.values())) / len(written),
        "sure": float(np.median(sure)),
    }
