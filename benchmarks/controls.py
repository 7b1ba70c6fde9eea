"""`make controls`: is behavior worth anything, and does anything leak? Three corpora, three trainings each, one table.

    python -m benchmarks.controls [--first 300] [--corpora 3] [--seeds 3] [--dialogues 160] [--work build/controls]
                                  [--out docs/controls.md]
    python -m benchmarks.controls --from build/controls

Every step is a stage of dvc.yaml, run in a work folder with a params.yaml that differs from the project's in the seeds
and the corpus size alone, so that the controls test what users run. A step that is done is skipped while its params,
its code (as in dvc.yaml) and the steps before it are the same, so a run can be stopped and resumed. The measures are
in benchmarks/control_measures.py; --from WORK computes them anew from a folder's predictions. Exit code 1 if a line
fails.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bemerc.behavior.tokens.file import open_tokens
from bemerc.cache import open_cache
from bemerc.core import atomic
from bemerc.core.config import load
from bemerc.corpus.manifest import Manifest, read_manifest, write_manifest
from bemerc.evaluate import baselines, evaluation, metrics, results, test_set
from bemerc.language.inputs import prompts
from bemerc.language.predict.records import read_predictions
from benchmarks import control_measures as measures
from benchmarks.pipeline_steps import (
    CORPUS_STEPS,
    ROOT,
    SEEDED,
    Steps,
    command_of_plan,
    in_parallel,
    link,
    mirror,
    read_plan,
    save_plan,
    where,
    write_params,
)
from benchmarks.sample_truth import read_intensities

VARIANTS = ("T", "TV", "TVB")
REGRESSIONS = ("words", "window", "words + tokens", "window + tokens")
PERMUTATIONS = 200
RESAMPLES = 10_000
SHUFFLES = 4  # trainings on shuffled labels of each corpus: one alone is right by chance for whole emotions
# Settings were chosen on corpora of seeds 100 to 102 and reported on 200 to 202, so what is reported now comes from
# others.
FIRST = 300


@dataclass(frozen=True)
class Line:
    """One row of the table."""

    what: str
    measured: str
    asked: str
    passed: bool


@dataclass(frozen=True)
class Plan:
    """What is run and where; ``trained``: the commit and machine of the trainings."""

    first: int
    corpora: int
    seeds: int
    dialogues: int
    work: Path
    jobs: int
    trained: str = ""

    def save(self) -> None:
        """Keep what the work folder holds, for ``load``."""
        save_plan(self, "first", "corpora", "seeds", "dialogues", "trained")

    @classmethod
    def load(cls, work: Path) -> Plan:
        """The plan of a work folder whose trainings are done."""
        return cls(**read_plan(work), work=work, jobs=1)

    def corpus(self, number: int) -> Path:
        return self.work / f"corpus{number}"

    def run(self, number: int, seed: int) -> Path:
        return self.corpus(number) / f"seed{seed}"

    def swapped(self, number: int, seed: int) -> Path:
        return self.run(number, seed) / "swapped"

    def shuffled(self, number: int, deal: int = 0) -> Path:
        return self.corpus(number) / f"shuffled{deal or ''}"


# -------------------------------------------------------------------------------------------------------------- running


def run_all(plan: Plan) -> None:
    """Everything that the table needs: the corpora one after the other, then the trainings side by side."""
    plan.save()
    per_corpus = len(CORPUS_STEPS) + plan.seeds * (2 + 2 * len(VARIANTS) + 1) + 2 + 2 * SHUFFLES
    steps = Steps(plan.corpora * per_corpus, threads=max(1, (os.cpu_count() or 1) // plan.jobs))
    states = [make_corpus(plan, steps, number) for number in range(plan.corpora)]
    chains: list[Callable[[], None]] = []
    for number, state in enumerate(states):
        chains += [lambda n=number, s=seed, b=state: train_run(plan, steps, n, s, b) for seed in range(plan.seeds)]  # type: ignore[misc]
        chains.append(lambda n=number, b=state: train_shuffled(plan, steps, n, b))  # type: ignore[misc]
    in_parallel(chains, plan.jobs)


def make_corpus(plan: Plan, steps: Steps, number: int) -> str:
    """Sample to tokens and descriptions in corpus<number>/data."""
    folder = plan.corpus(number)
    write_params(folder, {"sample": {"seed": plan.first + number, "dialogues": plan.dialogues}})
    state = ""
    for stage in CORPUS_STEPS:
        state = steps.run(folder, state, stage)
    return state


def train_run(plan: Plan, steps: Steps, number: int, seed: int, state: str) -> None:
    """Backbone to predictions of all variants with one training seed, then TVB's answers to swapped tokens."""
    folder = plan.run(number, seed)
    write_params(folder, {section: {"seed": seed} for section in SEEDED})
    link(folder / "data", plan.corpus(number) / "data")
    for stage in ("backbone", "align"):
        state = steps.run(folder, state, stage)
    for variant in VARIANTS:
        answered = steps.run(folder, steps.run(folder, state, "merc", variant), "predict", variant)
    predict_swapped(plan, steps, number, seed, answered)


def predict_swapped(plan: Plan, steps: Steps, number: int, seed: int, state: str) -> None:
    """Predict test with the trained TVB, each utterance with the tokens of another one of its speaker."""
    folder, data = plan.swapped(number, seed), plan.corpus(number) / "data"
    write_params(folder, {section: {"seed": seed} for section in SEEDED})
    link(folder / "models", plan.run(number, seed) / "models")
    mirror(folder / "data", data, without="tokens.h5")
    with open_tokens(data / "tokens.h5") as source:
        measures.swap_within_speaker(
            read_manifest(data / "manifest.jsonl"), source, folder / "data" / "tokens.h5", seed
        )
    steps.run(folder, state, "predict", "TVB")


def train_shuffled(plan: Plan, steps: Steps, number: int, state: str) -> None:
    """TVB trained on labels that were shuffled SHUFFLES times, with the first training seed: once from the backbone on, then
    on that backbone and align model, which have not seen the true labels either."""
    for deal in range(SHUFFLES):
        folder, data = plan.shuffled(number, deal), plan.corpus(number) / "data"
        write_params(folder, {section: {"seed": 0} for section in SEEDED})
        mirror(folder / "data", data, without="manifest.jsonl")
        manifest = measures.shuffle_labels(read_manifest(data / "manifest.jsonl"), seed=number + 100 * deal)
        write_manifest(folder / "data" / "manifest.jsonl", manifest.utterances, manifest.labels, manifest.corpora)
        for stage in ("backbone", "align"):
            if deal:
                link(folder / "models" / stage, plan.shuffled(number) / "models" / stage)
            else:
                state = steps.run(folder, state, stage)
        steps.run(folder, steps.run(folder, state, "merc", "TVB"), "predict", "TVB")


# -------------------------------------------------------------------------------------------------------------- judging


def collect(plan: Plan, number: int) -> measures.Runs:
    """All answers on one corpus: variants and swapped TVB per training seed, and the regressions."""
    shown = load(plan.corpus(number) / "params.yaml", "prompt", prompts.Params)
    manifest = read_manifest(plan.corpus(number) / "data" / "manifest.jsonl")
    answers: dict[str, list[test_set.Answers]] = {}
    for seed in range(plan.seeds):
        for variant in VARIANTS:
            answers.setdefault(variant, []).append(_answers(manifest, plan.run(number, seed), variant))
        answers.setdefault("swapped", []).append(_answers(manifest, plan.swapped(number, seed), "TVB"))
    with open_tokens(plan.corpus(number) / "data" / "tokens.h5") as source:
        for name in REGRESSIONS:
            fit = baselines.regress(manifest, baselines.options(manifest, source, baselines.INPUTS[name], shown))
            answers[name] = [test_set.answers(manifest, results.as_predictions(manifest, fit.scores), name=name)]
    return measures.Runs(test_set.reference(manifest), answers)


def _answers(manifest: Manifest, folder: Path, variant: str) -> test_set.Answers:
    path = folder / "results" / "predictions" / f"{variant}.jsonl"
    return test_set.answers(manifest, read_predictions(path), name=str(path))


def judge(plan: Plan) -> tuple[list[Line], list[str]]:
    """The table's lines, and what stands below it."""
    runs = [collect(plan, number) for number in range(plan.corpora)]
    params = evaluation.Params(resamples=RESAMPLES)
    utterances = sum(len(of.judged.gold) for of in runs)
    lines = [Line("test utterances, pooled", str(utterances), "at least 360", utterances >= 360)]
    lines += list(_gaps(runs, params))
    lines += list(_bands(plan))
    units, below = _units(plan)
    return [*lines, units], [_levels(runs, params), below]


def _gaps(runs: Sequence[measures.Runs], params: evaluation.Params) -> Iterator[Line]:
    """The comparisons between systems, in points of accuracy."""
    asked: tuple[tuple[str, str, str, str, Callable[[dict[str, float]], bool]], ...] = (
        ("T minus regression on what T sees", "window", "T", "at least -3", lambda g: g["value"] >= -0.03),
        ("T minus regression on own words", "words", "T", "at least -3", lambda g: g["value"] >= -0.03),
        (
            "TVB minus regression on what TVB sees",
            "window + tokens",
            "TVB",
            "at least -5",
            lambda g: g["value"] >= -0.05,
        ),
        (
            "TVB minus regression on own words and tokens",
            "words + tokens",
            "TVB",
            "at least -5",
            lambda g: g["value"] >= -0.05,
        ),
        (
            "**behavior's worth: TVB minus TV**",
            "TV",
            "TVB",
            "at least 10, interval above 0",
            lambda g: g["value"] >= 0.1 and g["low"] > 0,
        ),
        ("TVB with swapped tokens minus TV", "TV", "swapped", "at most 3", lambda g: g["value"] <= 0.03),
    )
    for what, a, b, wanted, good in asked:
        gap = measures.accuracy_gap(runs, a, b, params)
        yield Line(
            what, f"{100 * gap['value']:+.1f} [{100 * gap['low']:+.1f}, {100 * gap['high']:+.1f}]", wanted, good(gap)
        )


def _bands(plan: Plan) -> Iterator[Line]:
    """Masks, metadata and shuffled labels against their bands."""
    by_mask, by_metadata, by_shuffled = [], [], []
    for number in range(plan.corpora):
        data = plan.corpus(number) / "data"
        manifest = read_manifest(data / "manifest.jsonl")
        with open_tokens(data / "tokens.h5") as source, open_cache(data / "cache" / "face.h5", "face") as face:
            by_mask.append((manifest, measures.masks(manifest, source)))
            by_metadata.append((manifest, measures.metadata(manifest, face)))
        by_shuffled += [_answers_to_shuffled(plan, number, deal) for deal in range(SHUFFLES)]
    yield _banded("regression on masks alone", measures.regression_band(by_mask, PERMUTATIONS, seed=0))
    metadata = "regression on metadata alone (length, frames, bytes, position, speaker)"
    yield _banded(metadata, measures.regression_band(by_metadata, PERMUTATIONS, seed=0))
    yield _banded(
        f"TVB trained on shuffled labels, {SHUFFLES} times per corpus",
        measures.answer_band(by_shuffled, RESAMPLES, seed=0),
    )


def _answers_to_shuffled(plan: Plan, number: int, deal: int) -> tuple[Manifest, test_set.Answers]:
    manifest = read_manifest(plan.shuffled(number, deal) / "data" / "manifest.jsonl")
    return manifest, _answers(manifest, plan.shuffled(number, deal), "TVB")


def _banded(what: str, band: measures.Band) -> Line:
    return Line(
        what, f"{100 * band.value:.1f}", f"{100 * band.low:.1f} to {100 * band.high:.1f} by chance", band.inside
    )


def _levels(runs: Sequence[measures.Runs], params: evaluation.Params) -> str:
    """Accuracy of every system, for the reader who wants levels and not gaps."""
    names = {
        "T": "T",
        "TV": "TV",
        "TVB": "TVB",
        "swapped": "TVB, swapped tokens",
        "words": "regression on own words",
        "window": "regression on words and speakers in the window",
        "words + tokens": "regression on own words and tokens",
        "window + tokens": "regression on words and speakers in the window, and tokens",
    }
    rows = []
    for key, name in names.items():
        level = measures.accuracy(runs, key, params)
        rows.append(f"| {name} | {100 * level['value']:.1f} [{100 * level['low']:.1f}, {100 * level['high']:.1f}] |")
    return "\n".join(["| | accuracy |", "| --- | ---: |", *rows])


def _units(plan: Plan) -> tuple[Line, str]:
    """Do the stored action units follow what was planted? The median r over the units that the recipes move."""
    clips, speakers, names = _intensities(plan)
    agreement = measures.unit_agreement(clips, speakers)
    stored, own = np.diag(agreement.stored), np.diag(agreement.pooled)
    others = np.where(np.eye(len(names), dtype=bool), 0, np.abs(agreement.pooled))
    off = others[~np.eye(len(names), dtype=bool)]
    line = Line(
        "action units follow planted intensities (plumbing), each speaker's mean taken off: median r over units",
        f"{np.median(own):.2f} (as stored {np.median(stored):.2f}, within clips {np.nanmedian(agreement.within):.2f}; "
        f"off the diagonal: median abs. r {np.median(off):.2f}, largest {off.max():.2f})",
        "at least 0.80",
        bool(np.median(own) >= 0.8),
    )
    head = [
        "| unit | r as stored | r within speakers | largest abs. r with another unit's | r within clips that move it |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    table = np.column_stack([stored, own, others.max(1), agreement.within])
    rows = [f"| {name} | {_cells(row)} |" for name, row in zip(names, table, strict=True)]
    return line, "\n".join([*head, *rows, f"| median | {_cells(np.nanmedian(table, axis=0))} |"])


def _cells(row: metrics.Floats) -> str:
    return " | ".join(f"{r:.2f}" for r in row)


def _intensities(plan: Plan) -> tuple[list[tuple[metrics.Floats, metrics.Floats]], list[str], list[str]]:
    """(stored, planted) units of every clip over the frames with a face, the clips' speakers, and the units' names."""
    clips: list[tuple[metrics.Floats, metrics.Floats]] = []
    speakers: list[str] = []
    names: list[str] = []
    for number in range(plan.corpora):
        data = plan.corpus(number) / "data"
        truth = read_intensities(data / "sample")
        speaker_of = {
            utterance.id: utterance.speaker for utterance in read_manifest(data / "manifest.jsonl").utterances
        }
        with open_cache(data / "cache" / "face.h5", "face") as face:
            names = [name for name in next(iter(truth.values())).unit_names if f"{name}_r" in face.columns]
            for id_ in face.ids:
                stored = np.stack([face[id_].column(f"{name}_r") for name in names], axis=1).astype(np.float64)
                planted = np.stack([truth[id_].unit(name) for name in names], axis=1).astype(np.float64)
                measured = np.isfinite(stored).all(1)
                clips.append((stored[measured], planted[measured]))
                speakers.append(f"{number} {speaker_of[id_]}")
    return clips, speakers, names


def document(plan: Plan, lines: Sequence[Line], below: Sequence[str]) -> str:
    """docs/controls.md."""
    command = command_of_plan("benchmarks.controls", plan, "first", "corpora", "seeds", "dialogues")
    rows = [
        f"| {line.what} | {line.measured} | {line.asked} | {'yes' if line.passed else '**no**'} |" for line in lines
    ]
    return "\n".join(
        [
            "# Controls: is behavior worth anything, and does anything leak?",
            "",
            f"Written by `{command}` (corpus seeds {plan.first} to {plan.first + plan.corpora - 1} x {plan.seeds} "
            f"training seeds, {plan.dialogues} dialogues each; {plan.trained}).",
            "Made corpora: the table says that the plumbing carries signals and nothing else, not how people are read.",
            "Gaps are points of accuracy over all test utterances, averaged over training seeds, with 95 % intervals "
            "over dialogues and",
            f"training seeds ({RESAMPLES} resamples of dialogues; docs/evaluation/intervals.md says how well they "
            "hold). Bands hold 95 % of",
            f"{PERMUTATIONS} repetitions on permuted labels, the whole procedure each time; a permutation keeps the labels of a",
            f"dialogue together. For trained models they hold 95 % of {RESAMPLES} times that the labels' names are dealt out "
            "anew.",
            "",
            "| control | measured | asked | holds |",
            "| --- | ---: | ---: | --- |",
            *rows,
            "",
            *[part + "\n" for part in below],
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the controls and write their table.")
    parser.add_argument("--first", type=int, default=FIRST, help="seed of the first corpus; the next ones follow")
    parser.add_argument("--corpora", type=int, default=3, help="corpus seeds")
    parser.add_argument("--seeds", type=int, default=3, help="training seeds on each corpus")
    parser.add_argument("--dialogues", type=int, default=160, help="dialogues in each corpus; a quarter is test")
    parser.add_argument(
        "--work", type=Path, default=ROOT / "build" / "controls", help="where the work lies; resumed if it is there"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "controls.md", help="the table")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="trainings side by side")
    parser.add_argument("--from", dest="done", type=Path, help="judge a finished work folder anew, and train nothing")
    given = parser.parse_args()
    start = time.monotonic()
    if given.done:
        plan = Plan.load(given.done.resolve())
    else:
        work = given.work.resolve()
        plan = Plan(given.first, given.corpora, given.seeds, given.dialogues, work, given.jobs, where())
        run_all(plan)
    lines, below = judge(plan)
    text = document(plan, lines, below)
    atomic.write_text(given.out, text, atomic.PUBLIC)
    print(text)
    print(f"{(time.monotonic() - start) / 60:.0f} minutes; the table is in {given.out}")
    sys.exit(0 if all(line.passed for line in lines) else 1)


if __name__ == "__main__":
    main()
