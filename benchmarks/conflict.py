"""`make conflict`: which side is followed where face and voice disagree, and what changes it. Three corpora, three trainings.

    python -m benchmarks.conflict [--first 400] [--corpora 3] [--seeds 3] [--dialogues 80] [--conflicts 3]
                                  [--systems lora,mose,...] [--work build/conflict] [--out docs/conflict.md]
    python -m benchmarks.conflict --from build/conflict

Synthetic corpora, in which it is planted what face and voice show, and whom to believe. Training
learns from items that ``bemerc conflict build`` makes of the tokens; AR is calibrated on dev's planted items, as of a corpus
whose people labelled each modality; the judge reads test's planted emotions.
Steps are stages of dvc.yaml in work folders (benchmarks/pipeline_steps.py), so that a run can be stopped and resumed; scores
are kept beside each model and made anew where the model is. The corpora are judged together, a dialogue being resampled
whole; training seeds are those of all other reports, of each system for itself.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bemerc.behavior.tokens.file import open_tokens
from bemerc.core import atomic
from bemerc.core.hashing import sha256
from bemerc.corpus import provenance
from bemerc.corpus.conflict import ConflictItem, ConflictSet, Subset, read_conflict_set, write_conflict_set
from bemerc.corpus.manifest import Manifest, Split, read_manifest
from bemerc.evaluate import evaluation
from bemerc.evaluate.conflict import judge, plot
from bemerc.evaluate.conflict.items import System
from bemerc.evaluate.conflict.judge import Judgment, Row
from bemerc.evaluate.conflict.systems import asked_of
from bemerc.language.model.metadata import read_metadata
from bemerc.language.predict import calibrate_reallocation, score_labels
from bemerc.language.predict.modes import Mode
from bemerc.language.predict.score_labels import MercModel
from bemerc.sample.cases import ceilings
from benchmarks.pipeline_steps import (
    CORPUS_STEPS,
    ROOT,
    SEEDED,
    Steps,
    command_of_plan,
    in_parallel,
    link,
    read_plan,
    save_plan,
    where,
    write_params,
)

VARIANT, RUNS = "TVB", 9
# Of what the predictors of one side are sure: a side that is read without error shows the label in a third of the cases here,
# since conflicts are most of what there is. Seven labels: chance is .14.
CONFIDENCE = 0.3
BASE = "lora"
TRUTH = "truth_items.jsonl"
CONFLICTS: Mapping[str, Subset] = {"face_true": "video_aligned", "voice_true": "audio_aligned"}
# Trained systems: what differs from the project's params, section by section.
TRAINED: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "lora": {},
    "gate": {"model": {"head": "modality_gate"}},
    "moka": {"model": {"adapter": "moka"}},
    "hydra": {"model": {"adapter": "hydra"}},
    "mose": {"model": {"adapter": "mose"}},
    "mose, w = 1": {"model": {"adapter": "mose", "dynamic_weights": False}},
    "recombined": {"merc": {"conflict": {"recombined": 1.0, "voice_share": 0.5, "consistency": 0.0, "seed": 0}}},
    "consistency": {"merc": {"conflict": {"recombined": 0.0, "voice_share": 0.5, "consistency": -1.0, "seed": 0}}},
}
# Changes at inference alone: name -> (trained system, predict.reallocate, strength of AR: None = dev decides).
AT_INFERENCE: Mapping[str, tuple[str, Mode, float | None]] = {
    "lora + AR": ("lora", "reallocate", None),
    "mose + AR": ("mose", "reallocate", None),
    "lora + AR, all of it": ("lora", "reallocate", 1.0),
    "lora + AR reversed": ("lora", "reversed", 1.0),
    "lora + AR, random heads": ("lora", "random_heads", 1.0),
    "lora + boost before the softmax": ("lora", "presoftmax", None),
    "lora - the text's belief": ("lora", "text_prior", None),
}
DRAWN = ("lora", "gate", "moka", "mose", "recombined")  # fifteen lines would hide one another
TITLES = {
    "lora": "plain LoRA: what all others are compared with",
    "gate": "LoRA, and a learned gate on label logits of each modality",
    "moka": "MokA: an A per modality, one B",
    "hydra": "HydraLoRA: one A, several B, a gate per token",
    "mose": "MoSE: one A, several B per modality, a gate per block, dynamic weights of the modalities",
    "mose, w = 1": "the same without dynamic weights",
    "recombined": "LoRA, trained with as many recombined items as train has utterances, labelled with the voice's or the face's emotion by lot",
    "consistency": "LoRA, with conflicts counting up to twice in the loss",
    "lora + AR": "attention reallocated at inference, strength and heads by dev",
    "mose + AR": "the same on MoSE",
    "lora + AR, all of it": "the same with beta = 1, whatever dev says",
    "lora + AR reversed": "control: beta = 1 backwards",
    "lora + AR, random heads": "control: beta = 1 in as many heads drawn at random",
    "lora + boost before the softmax": "rival: PAI's boost of behavior's attention logits",
    "lora - the text's belief": "rival: the words' own belief subtracted",
}


@dataclass(frozen=True)
class Plan:
    """What is run and where; ``trained``: the commit and machine of the trainings."""

    first: int
    corpora: int
    seeds: int
    dialogues: int
    conflicts: int
    systems: tuple[str, ...]
    work: Path
    jobs: int
    trained: str = ""

    def save(self) -> None:
        """Keep what the work folder holds, for ``load``."""
        save_plan(self, "first", "corpora", "seeds", "dialogues", "conflicts", "systems", "trained")

    @classmethod
    def load(cls, work: Path) -> Plan:
        """The plan of a work folder whose trainings are done."""
        kept = read_plan(work)
        return cls(**{**kept, "systems": tuple(kept["systems"])}, work=work, jobs=1)

    def corpus(self, number: int) -> Path:
        return self.work / f"corpus{number}"

    def data(self, number: int) -> Path:
        return self.corpus(number) / "data"

    def run(self, number: int, seed: int, system: str) -> Path:
        return self.corpus(number) / f"seed{seed}" / system.replace(", ", "_").replace(" ", "")

    def model(self, number: int, seed: int, system: str) -> Path:
        return self.run(number, seed, system) / "models" / "merc" / VARIANT

    def judged(self) -> list[str]:
        """The names of all systems, those at inference behind those that are trained."""
        return [*self.systems, *(name for name, (of, *_) in AT_INFERENCE.items() if of in self.systems)]


# -------------------------------------------------------------------------------------------------------------- running


def run_all(plan: Plan) -> None:
    """The corpora one after the other, then the trainings side by side."""
    plan.save()
    adapters = {adapter_of(system) for system in plan.systems}
    per_seed = 1 + len(adapters) + len(plan.systems)
    steps = Steps(
        plan.corpora * (len(CORPUS_STEPS) + 1 + plan.seeds * per_seed), max(1, (os.cpu_count() or 1) // plan.jobs)
    )
    states = [make_corpus(plan, steps, number) for number in range(plan.corpora)]
    chains: list[Callable[[], None]] = []
    for seed in range(plan.seeds):
        for number, state in enumerate(states):
            chains.append(lambda n=number, s=seed, b=state: train(plan, steps, n, s, b))  # type: ignore[misc]
    in_parallel(chains, plan.jobs)


def make_corpus(plan: Plan, steps: Steps, number: int) -> tuple[str, str]:
    """Sample to conflict items in corpus<number>/data, and the items of the judge.

    Returns what align follows from, and what merc follows from beside align."""
    folder = plan.corpus(number)
    changes = {"seed": plan.first + number, "dialogues": plan.dialogues, "conflicts": plan.conflicts}
    write_params(folder, {"sample": changes, "conflict": {"confidence": CONFIDENCE}})
    state = ""
    for stage in CORPUS_STEPS:
        state = steps.run(folder, state, stage)
    items = steps.run(folder, state, "conflict_build")
    write_conflict_set(folder / "data" / TRUTH, planted(folder / "data"))
    return state, items


def planted(data: Path) -> ConflictSet:
    """The items whose face and voice were made to contradict each other, and those in which both show the label.

    Utterances in which one side shows nothing where the label is something belong to neither. The strength is how strongly both sides were played.
    """
    manifest = read_manifest(data / "manifest.jsonl")
    rows = [json.loads(line) for line in (data / "sample" / "truth.jsonl").read_text(encoding="utf-8").splitlines()]
    truth = {row["id"]: row for row in rows}
    items = []
    for u in manifest.utterances:
        row = truth[u.id]
        agree = row["face"] == row["voice"] == u.label
        subset: Subset | None = "consistent" if agree else CONFLICTS.get(row["case"])
        if subset is not None and u.label is not None:
            strength = float(np.sqrt(row["face_strength"] * row["voice_strength"]))
            sides = (row["voice"], row["face"])
            items.append(
                ConflictItem(
                    u.id, "labels", subset, u.split, u.dialogue, u.id, u.id, u.label, *sides, 1.0, round(strength, 6)
                )
            )
    of_train = [item.strength for item in items if item.split == "train" and item.subset != "consistent"]
    first, second, third = (round(float(cut), 6) for cut in np.quantile(of_train, (0.25, 0.5, 0.75)))
    learned = provenance.learned(manifest)
    return ConflictSet(tuple(items), manifest.labels, learned, {"ways": "planted"}, (first, second, third))


def adapter_of(system: str) -> str:
    """Which align model a system starts from: the one with its own adapter."""
    return str(TRAINED[system].get("model", {}).get("adapter", BASE))


def train(plan: Plan, steps: Steps, number: int, seed: int, states: tuple[str, str]) -> None:
    """One backbone, an align model for every adapter, then every system."""
    (state, items), base = states, plan.run(number, seed, BASE)
    for system in (BASE, *(s for s in plan.systems if s != BASE)):
        folder = plan.run(number, seed, system)
        changes: dict[str, dict[str, Any]] = {section: {"seed": seed} for section in SEEDED}
        for section, values in TRAINED[system].items():
            changes[section] = changes.get(section, {}) | dict(values)
        write_params(folder, changes)
        link(folder / "data", plan.data(number))
        (folder / "models").mkdir(exist_ok=True)
        if system == BASE:
            state = steps.run(folder, state, "backbone")
        else:
            link(folder / "models" / "backbone", base / "models" / "backbone")
        first = next(s for s in (BASE, *plan.systems) if adapter_of(s) == adapter_of(system))
        if system != first:
            link(folder / "models" / "align", plan.run(number, seed, first) / "models" / "align")
        aligned = steps.run(folder, state, "align") if system == first else ALIGNED[number, seed, adapter_of(system)]
        ALIGNED[number, seed, adapter_of(system)] = aligned
        steps.run(folder, f"{aligned} {items}", "merc", VARIANT)


# (corpus, seed, adapter) -> the fingerprint of its align model
ALIGNED: dict[tuple[int, int, str], str] = {}


# -------------------------------------------------------------------------------------------------------------- judging


def scores(plan: Plan, number: int, seed: int, name: str, split: Split) -> dict[str, Any]:
    """Item id -> log-probabilities of the labels, of one trained system in one mode of predict.reallocate; kept in a file."""
    system, mode, beta = AT_INFERENCE.get(name, (name, "none", None))
    folder, data, file = (
        plan.model(number, seed, system),
        plan.data(number),
        scores_file(plan, number, seed, name, split),
    )
    state = sha256(folder / "metadata.json") + sha256(data / TRUTH) + sha256(data / "conflict.jsonl")
    if file.is_file():
        kept = json.loads(file.read_text())
        if kept["state"] == state:
            return {id: np.array(values) for id, values in kept["scores"].items()}
    manifest, params = read_manifest(data / "manifest.jsonl"), score_labels.Params(device="cpu", reallocate=mode)
    model = MercModel(folder)
    sets = (read_conflict_set(data / "conflict.jsonl"), read_conflict_set(data / TRUTH))
    items = {item.id: item for one in sets for item in asked_of(one, split)}
    with open_tokens(data / "tokens.h5") as tokens:
        if mode != "none":
            model.reallocation = reallocation(plan, number, seed, system, model, manifest, beta)
        made = model.score_items(manifest, tokens, list(items.values()), params)
    values = {id: [round(float(x), 7) for x in logs] for id, logs in made.items()}
    strength = None if mode == "none" else model.reallocation.beta
    atomic.write_text(file, json.dumps({"state": state, "scores": values, "beta": strength}), atomic.PUBLIC)
    return {id: np.array(of) for id, of in values.items()}


def scores_file(plan: Plan, number: int, seed: int, name: str, split: Split) -> Path:
    system, mode, beta = AT_INFERENCE.get(name, (name, "none", None))
    return plan.run(number, seed, system) / f"scores_{split}_{mode}{'' if beta is None else f'_{beta:g}'}.json"


REALLOCATIONS: dict[tuple[Path, float | None], Any] = {}


def reallocation(
    plan: Plan, number: int, seed: int, system: str, model: MercModel, manifest: Manifest, beta: float | None
) -> Any:
    """How the model's attention is to be moved; measured once, on dev's planted items, as of a corpus whose people labelled each
    modality: the predictors decide too few of dev here."""
    data, key = plan.data(number), (plan.model(number, seed, system), beta)
    if key not in REALLOCATIONS:
        with open_tokens(data / "tokens.h5") as tokens:
            REALLOCATIONS[key] = calibrate_reallocation.run(
                model,
                manifest,
                tokens,
                read_conflict_set(data / TRUTH),
                calibrate_reallocation.Params(beta=beta),
                score_labels.Params(device="cpu"),
            )
    return REALLOCATIONS[key]


def pooled(plan: Plan, file: str) -> ConflictSet:
    """The items of all corpora as one set: ids and dialogues say which corpus they are of."""
    sets = [read_conflict_set(plan.data(number) / file) for number in range(plan.corpora)]
    items = [
        replace(
            item,
            id=f"{number}/{item.id}",
            dialogue=f"{number}/{item.dialogue}",
            voice_of=f"{number}/{item.voice_of}",
            face_of=f"{number}/{item.face_of}",
        )
        for number, one in enumerate(sets)
        for item in one.items
    ]
    cuts = np.mean([one.cuts for one in sets], axis=0)
    return ConflictSet(tuple(sorted(items, key=lambda item: item.id)), sets[0].labels, "", {}, tuple(cuts.tolist()))


def systems(plan: Plan) -> list[System]:
    """All systems, with a seed's answers to all corpora together."""
    return [
        System(
            name,
            tuple(
                {
                    f"{number}/{id}": logs
                    for number in range(plan.corpora)
                    for id, logs in scores(plan, number, seed, name, "test").items()
                }
                for seed in range(plan.seeds)
            ),
        )
        for name in plan.judged()
    ]


def cost(plan: Plan, system: str) -> tuple[int, float]:
    """Trained weights, and the minutes of merc's training, in the mean."""
    found = [
        (trained_weights(plan.model(number, seed, system)), seconds(plan.model(number, seed, system)))
        for number in range(plan.corpora)
        for seed in range(plan.seeds)
    ]
    return found[0][0], float(np.mean([s for _, s in found])) / 60


def trained_weights(folder: Path) -> int:
    """Weights of adapter, projectors and what stands beside them; metadata.json counts those of other adapters than LoRA,
    whose files hold the mean expert too."""
    from safetensors import safe_open

    counts = read_metadata(folder).trained or {}
    total = counts.get("adapter", 0) + counts.get("projectors", 0)
    counted = {"adapter_model.safetensors", "projectors.safetensors", "experts.safetensors"} if counts else set()
    for path in (path for path in folder.glob("*.safetensors") if path.name not in counted):
        with safe_open(path, "np") as file:
            total += sum(int(np.prod(file.get_slice(name).get_shape())) for name in file.keys())  # noqa: SIM118
    return total


def seconds(folder: Path) -> float:
    """Seconds that merc's training took, dev included."""
    lines = (folder.with_name(f"{folder.name}.train_log.jsonl")).read_text().splitlines()
    return max((float(line["seconds"]) for line in map(json.loads, lines) if "seconds" in line), default=0.0)


def asked(plan: Plan, judged: Judgment) -> Iterator[tuple[str, str, str]]:
    """What the table was to show: (question, measured, yes or no)."""
    rows = {row.name: row for row in judged.rows}
    base = rows[BASE]
    others = [row for row in judged.rows if row.name != BASE and row.against is not None]
    kept = [row for row in others if consistent(row) >= consistent(base) - 0.005]
    best = min(kept, key=lambda row: size(row), default=None)
    if best is None:
        yield "a system that loses at most 0.5 points where all agree", "none", "no"
    else:
        assert best.against is not None
        smaller = best.against.absolute_gap
        apart = smaller is not None and smaller.gap.high is not None and smaller.gap.high < 0
        halved = size(best) <= size(base) / 2
        yield (
            f"the best ({best.name}) at least halves LoRA's signed gap, its interval away from LoRA's",
            f"{100 * (base.gap.value or 0.0):+.1f} -> {100 * (best.gap.value or 0.0):+.1f}",
            "yes" if halved and apart else ("halved, not shown apart" if halved else "no"),
        )
    for name in (name for name in rows if AT_INFERENCE.get(name, ("", "none", None))[1:] == ("reallocate", None)):
        files = [
            scores_file(plan, number, seed, name, "test")
            for number in range(plan.corpora)
            for seed in range(plan.seeds)
        ]
        betas = [json.loads(file.read_text())["beta"] for file in files]
        yield f"{name}: the strength that dev chose, of 0 to 1, per training", ", ".join(f"{b:g}" for b in betas), ""
    backwards = rows.get("lora + AR reversed")
    if backwards is not None:
        worse = size(backwards) > size(base)
        change = backwards.against.absolute_gap if backwards.against is not None else None
        shown = change is not None and change.gap.low is not None and change.gap.low > 0
        yield (
            "the reversed control is worse than doing nothing",
            f"size of the gap {100 * size(base):.1f} -> {100 * size(backwards):.1f}",
            "yes" if worse and shown else ("worse, not shown" if worse else "no"),
        )


def size(row: Row) -> float:
    """Of the signed gap; 1 where a side has no items."""
    return 1.0 if row.gap.value is None else abs(row.gap.value)


def consistent(row: Row) -> float:
    return row.subsets["consistent"]["accuracy"].value or 0.0


def document(plan: Plan, judged: Judgment, by_items: Judgment) -> str:
    """docs/conflict.md."""
    some = [] if set(plan.systems) == set(TRAINED) else ["systems"]
    command = command_of_plan(
        "benchmarks.conflict", plan, "first", "corpora", "seeds", "dialogues", "conflicts", *some, separator=";"
    )
    best = ceilings(0.3, plan.conflicts)
    lines = [
        "# When face and voice disagree: what each method does on the sample",
        "",
        f"Written by `{command}` (corpus seeds {plan.first} to {plan.first + plan.corpora - 1} x {plan.seeds} training seeds, "
        f"{plan.dialogues} dialogues each, {plan.conflicts} times the usual conflicts; {plan.trained}).",
        "Synthetic corpora and a language model of about a million weights: what is planted is known, so that one can see "
        "which side is followed.",
        "How the methods rank on people does not follow from it. What the numbers mean: "
        "[evaluation/conflict.md](evaluation/conflict.md).",
        "",
        *(
            []
            if plan.corpora * plan.seeds >= RUNS
            else [f"**A first look: {plan.corpora * plan.seeds} of {RUNS} runs.**", ""]
        ),
        "## Asked",
        "",
        "| | measured | |",
        "| --- | --- | --- |",
        *[f"| {question} | {measured} | {holds} |" for question, measured, holds in asked(plan, judged)],
        "",
        "## By what was planted",
        "",
        "In *video-aligned* items the face shows the emotion and the voice contradicts it, in *audio-aligned* ones the other "
        "way around; the words help in three of ten.",
        f"The best possible accuracy over all utterances is {100 * best['TVB']:.0f}; with three in ten words to tell, a "
        "conflict can be decided in about 65 of 100.",
        "",
        *table(plan, judged),
        "",
        "## By items that `bemerc conflict build` makes, and recombined ones",
        "",
        "What a user sees who has no planted truth: sides by predictors of one modality each.",
        "",
        *table(plan, by_items),
        "",
        "![Accuracy and which side is followed, by strength](conflict.png)",
        "",
        "| system | what it is |",
        "| --- | --- |",
        *[f"| {name} | {TITLES[name]} |" for name in plan.judged()],
        "",
    ]
    return "\n".join(lines)


def table(plan: Plan, judged: Judgment) -> list[str]:
    """One line per system."""
    counts = judged.counts
    head = (
        f"| system | trained weights | training, min | consistent ({counts['consistent'].items}) | "
        f"video-aligned ({counts['video_aligned'].items}) | audio-aligned ({counts['audio_aligned'].items}) | gap | "
        "change of the gap's size | S |"
    )
    lines = [head, "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for row in judged.rows:
        system = AT_INFERENCE.get(row.name, (row.name,))[0]
        weights, minutes = cost(plan, system)
        own = row.name == system
        cells = [f"{weights:,}" if own else "", f"{minutes:.1f}" if own else ""]
        cells += [points(row.subsets[s]["accuracy"]) for s in ("consistent", "video_aligned", "audio_aligned")]
        cells.append(points(row.gap, sign=True))
        against = row.against
        for difference in (against.absolute_gap, against.specificity) if against else (None, None):
            cells.append("" if difference is None else points(difference.gap, sign=True))
        lines.append(f"| {row.name} | {' | '.join(cells)} |")
    return lines


def points(of: Any, sign: bool = False) -> str:
    """A fraction as points, with its interval."""
    style = "+.1f" if sign else ".1f"
    if of is None or of.value is None:
        return ""
    ends = "" if of.low is None else f" [{100 * of.low:{style}}, {100 * of.high:{style}}]"
    return f"{100 * of.value:{style}}{ends}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Which side is followed where face and voice disagree.")
    parser.add_argument("--first", type=int, default=400, help="seed of the first corpus")
    parser.add_argument("--corpora", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3, help="training seeds")
    parser.add_argument("--dialogues", type=int, default=80, help="of each corpus; a quarter is test")
    parser.add_argument("--conflicts", type=int, default=3, help="sample.conflicts")
    parser.add_argument("--systems", default=";".join(TRAINED), help="trained systems, apart by ;")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "conflict", help="resumed if it is there")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "conflict.md")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="trainings side by side")
    parser.add_argument("--from", dest="done", type=Path, help="judge a finished work folder anew, and train nothing")
    given = parser.parse_args()
    start = time.monotonic()
    if given.done:
        plan = Plan.load(given.done.resolve())
    else:
        names = tuple(dict.fromkeys([BASE, *given.systems.split(";")]))
        if unknown := [name for name in names if name not in TRAINED]:
            sys.exit(f"--systems: there is no {', '.join(unknown)}; there are {'; '.join(TRAINED)}.")
        plan = Plan(
            given.first,
            given.corpora,
            given.seeds,
            given.dialogues,
            given.conflicts,
            names,
            given.work.resolve(),
            given.jobs,
            where(),
        )
        run_all(plan)
    torch.set_num_threads(os.cpu_count() or 1)
    answers, params = systems(plan), evaluation.Params()
    judged = judge.judge(pooled(plan, TRUTH), "test", answers, params, BASE)
    by_items = judge.judge(pooled(plan, "conflict.jsonl"), "test", answers, params, BASE)
    text = document(plan, judged, by_items)
    atomic.write_text(given.out, text, atomic.PUBLIC)
    drawn = tuple(row for row in by_items.rows if row.name in DRAWN)
    plot.save(given.out.with_suffix(".png"), replace(by_items, rows=drawn))
    print(text)
    print(f"{(time.monotonic() - start) / 60:.0f} minutes; the table is in {given.out}")


if __name__ == "__main__":
    main()
