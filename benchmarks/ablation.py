"""`make ablation`: what each input, align and each source of descriptions is worth, one table against TVB.

    python -m benchmarks.ablation [--dialogues 60] [--seeds 3] [--rows T,TV,no_face,...] [--work build/ablation]
    python -m benchmarks.ablation --recipe recipes/sample_smollm2.yaml --dialogues 80 --rows T,TV,no_align,rules
    python -m benchmarks.ablation --from build/ablation

The rows are variants of params.yaml, trained on one synthetic corpus with several training seeds, and TVB on tokens of
other calibrations. Every step is a stage of dvc.yaml in a work folder (benchmarks/pipeline_steps.py): a run can be
stopped, resumed, and extended by seeds or rows; --from WORK makes the table anew from the predictions that are there.
The table is bemerc/evaluate/compare.py's: metrics per seed, intervals over dialogues and seeds, paired with TVB, Holm
over the rows; below them stand logistic regressions on what the variants read. --recipe trains by the settings of a
file of recipes/, as with a pretrained model. The same for your own corpus: docs/experiments.md.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bemerc.behavior.tokens.file import open_tokens
from bemerc.core import atomic
from bemerc.core.config import load
from bemerc.corpus.manifest import Manifest, read_manifest
from bemerc.evaluate import baselines, compare, evaluation, results, test_set
from bemerc.evaluate.compare import Comparison
from bemerc.language.inputs import prompts, variants
from benchmarks.pipeline_steps import (
    CORPUS_STEPS,
    ROOT,
    SEEDED,
    Steps,
    command_of_plan,
    in_parallel,
    mirror,
    read_plan,
    save_plan,
    where,
    write_params,
)

BASE, PAGE = "TVB", "ablation.md"
# Rows of TVB on other tokens: name -> tokens.calibration.
CALIBRATIONS = {"calibration_global": "global", "calibration_none": "none"}
PROMPTS = {"short_question": {"repeat_target_utterance": False}}
TITLES = {
    "T": "words alone",
    "TV": "words and voice",
    "TB": "words, face, body and posture",
    "TVB": "words, voice, face, body and posture",
    "voice_sentence": "words, and voice as SpeechCueLLM's sentence in place of tokens (compare with TV)",
    "no_face": "without facial movement (action units)",
    "no_body": "without body language (head, gaze, hands, movement)",
    "no_posture": "without posture (lean, sway, slump, shoulders)",
    "no_align": "without stage 1",
    "same_speaker": "behavior of the speaker's earlier turns too",
    "all_turns": "behavior of all earlier turns too",
    "rules": "the rules' descriptions as text beside the tokens",
    "teacher": "the teacher's descriptions as text beside the tokens",
    "crossfit": "the align model's own descriptions as text beside the tokens, crossed on train",
    "calibration_global": "tokens measured against train's mean alone",
    "calibration_none": "tokens as measured",
    "short_question": "the question does not repeat the utterance (`prompt.repeat_target_utterance: false`)",
}
DEFAULT = tuple(name for name in TITLES if name not in ("teacher", "short_question"))
REGRESSIONS = {
    "words": "a logistic regression on the utterance's own words",
    "window": "a logistic regression on the words and speakers of the prompt",
    "words + tokens": "a logistic regression on the utterance's own words and behavior tokens",
    "window + tokens": "a logistic regression on the words and speakers of the prompt and behavior tokens",
}


@dataclass(frozen=True)
class Plan:
    """What is run and where; ``recipe``: a file of settings; ``trained``: the commit and machine of the trainings."""

    dialogues: int
    seeds: int
    rows: tuple[str, ...]
    corpus_seed: int
    work: Path
    jobs: int
    recipe: str = ""
    trained: str = ""

    def save(self) -> None:
        """Keep what the work folder holds, for ``load``."""
        save_plan(self, "dialogues", "seeds", "rows", "corpus_seed", "recipe", "trained")

    @classmethod
    def load(cls, work: Path) -> Plan:
        """The plan of a work folder whose trainings are done."""
        kept = read_plan(work)
        return cls(**{**kept, "rows": tuple(kept["rows"])}, work=work, jobs=1)

    @property
    def corpus(self) -> Path:
        return self.work / "corpus"

    def calibrated(self, mode: str) -> Path:
        return self.work / f"tokens_{mode}"

    def run(self, seed: int, row: str) -> Path:
        """Rows on the same tokens and of the same chain share a folder, so that align is trained once per seed."""
        kind = CALIBRATIONS.get(row, row if row == "crossfit" or row in PROMPTS else "")
        return self.work / "-".join(filter(None, (f"seed{seed}", kind)))

    def variant(self, row: str) -> str:
        return BASE if row in CALIBRATIONS or row in PROMPTS else row

    def params(self, **changes: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """The recipe's settings with ``changes`` on top, for ``write_params``."""
        settings = read_recipe(self.recipe)
        return {name: settings.get(name, {}) | changes.get(name, {}) for name in {*settings, *changes}}

    @property
    def embedded(self) -> bool:
        """Is the model the embedded one, which is made for the run?"""
        return "name_or_path" not in read_recipe(self.recipe).get("model", {})


def read_recipe(path: str) -> dict[str, dict[str, Any]]:
    """The sections of a file of recipes/ that hold something. A model that is a folder of the project is named by its full
    path, since steps run elsewhere; any other name is a Hugging Face model's."""
    if not path:
        return {}
    sections = yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))
    settings = {name: values for name, values in sections.items() if values}
    name = settings.get("model", {}).get("name_or_path")
    if name is not None and (ROOT / name).is_dir():
        settings["model"]["name_or_path"] = str(ROOT / name)
    return settings


def run_all(plan: Plan) -> None:
    """The corpus, its tokens in every calibration, then one chain of trainings per seed and kind."""
    plan.save()
    kinds = {plan.run(0, row).name for row in plan.rows}
    modes = [CALIBRATIONS[row] for row in plan.rows if row in CALIBRATIONS]
    extra = plan.seeds * ((1 + plan.embedded) * len(kinds) + 2 * len(plan.rows) + ("crossfit" in plan.rows))
    steps = Steps(len(CORPUS_STEPS) + len(modes) + extra, max(1, (os.cpu_count() or 1) // plan.jobs))
    write_params(plan.corpus, plan.params(sample={"seed": plan.corpus_seed, "dialogues": plan.dialogues}))
    state = ""
    for stage in CORPUS_STEPS:
        state = steps.run(plan.corpus, state, stage)
    states = {mode: recalibrate(plan, steps, mode, state) for mode in modes}
    chains: list[Callable[[], None]] = []
    for seed in range(plan.seeds):
        for kind in sorted(kinds):
            rows = [row for row in plan.rows if plan.run(0, row).name == kind]
            before = states.get(CALIBRATIONS.get(rows[0], ""), state)
            chains.append(lambda s=seed, r=rows, b=before: train(plan, steps, s, r, b))  # type: ignore[misc]
    in_parallel(chains, plan.jobs)


def recalibrate(plan: Plan, steps: Steps, mode: str, state: str) -> str:
    """The corpus's caches as tokens of another calibration, in a folder beside it."""
    folder = plan.calibrated(mode)
    write_params(folder, plan.params(tokens={"calibration": mode}))
    mirror(folder / "data", plan.corpus / "data", without="tokens.h5")
    return steps.run(folder, state, "tokens")


def train(plan: Plan, steps: Steps, seed: int, rows: Sequence[str], state: str) -> None:
    """Backbone (if it is the embedded one) and align once, then every row."""
    folder = plan.run(seed, rows[0])
    changes: dict[str, dict[str, Any]] = {section: {"seed": seed} for section in SEEDED}
    changes["prompt"] = PROMPTS.get(rows[0], {})
    source = plan.corpus / "data"
    if rows[0] in CALIBRATIONS:
        source = plan.calibrated(CALIBRATIONS[rows[0]]) / "data"
    write_params(folder, plan.params(**changes, crossfit={"folds": 2 if rows == ["crossfit"] else 0}))
    mirror(folder / "data", source, without="crossfit.jsonl")
    for stage in ("backbone",) * plan.embedded + ("align", "crossfit"):
        if stage == "crossfit" and rows != ["crossfit"]:
            (folder / "data" / "crossfit.jsonl").touch()
        else:
            state = steps.run(folder, state, stage)
    for row in rows:
        name = plan.variant(row)
        steps.run(folder, steps.run(folder, state, "merc", name), "predict", name)


def judge(plan: Plan) -> Comparison:
    """Every row and the regressions against TVB on the corpus's test split, with the training seeds that are done."""
    manifest = read_manifest(plan.corpus / "data" / "manifest.jsonl")
    runs = []
    for row in plan.rows:
        places = [
            plan.run(s, row) / "results" / "predictions" / f"{plan.variant(row)}.jsonl" for s in range(plan.seeds)
        ]
        if done := tuple(compare.answers(manifest, place) for place in places if place.is_file()):
            runs.append(compare.Run(row, done))
    runs += [compare.Run(f"regression: {name}", (answers,)) for name, answers in regressions(plan, manifest).items()]
    return compare.compare(manifest, runs, evaluation.Params())


def regressions(plan: Plan, manifest: Manifest) -> dict[str, test_set.Answers]:
    """The test answers of the logistic regressions; they have no training seed."""
    shown = load(plan.corpus / "params.yaml", "prompt", prompts.Params)
    found = {}
    with open_tokens(plan.corpus / "data" / "tokens.h5") as source:
        for name in REGRESSIONS:
            fit = baselines.regress(manifest, baselines.options(manifest, source, baselines.INPUTS[name], shown))
            found[name] = test_set.answers(manifest, results.as_predictions(manifest, fit.scores), name=name)
    return found


def document(plan: Plan, comparison: Comparison, out: str = PAGE) -> str:
    """docs/ablation.md."""
    some = [] if set(plan.rows) == {BASE, *DEFAULT} else ["rows"]
    command = command_of_plan("benchmarks.ablation", plan, "recipe", "dialogues", "corpus_seed", "seeds", *some)
    command += "" if out == PAGE else f" --out docs/{out}"
    fewer = any(row.seeds < plan.seeds for row in comparison.rows if not row.name.startswith("regression"))
    return "\n".join(
        [
            f"# Ablation: what each part is worth on the sample{'' if plan.embedded else ', with a pretrained model'}",
            "",
            f"Written by `{command}` ({plan.dialogues} dialogues, {'up to ' * fewer}{plan.seeds} training "
            f"seed{'s' * (plan.seeds > 1)}, corpus seed {plan.corpus_seed}; {plan.trained}).",
            "A synthetic corpus: warped pictures of one face and a speech synthesiser, with planted emotions, and "
            + ("a toy of a language" if plan.embedded else "a pretrained"),
            ("model of about a million weights." if plan.embedded else f"language model, by `{plan.recipe}`.")
            + " The table shows that every variant can be trained and evaluated, and what carries signal",
            "**here**; how the parts rank on MELD or IEMOCAP does not follow from it. The same table on your own corpus: "
            "[experiments.md](experiments.md).",
            "",
            compare.markdown(comparison),
            "",
            "| row | what it is |",
            "| --- | --- |",
            *[f"| {row} | {TITLES.get(row, 'a variant of params.yaml')} |" for row in plan.rows],
            *[f"| regression: {name} | {what} |" for name, what in REGRESSIONS.items()],
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the ablation on the sample and write its table.")
    parser.add_argument(
        "--dialogues", type=int, default=60, help="dialogues of the synthetic corpus; a quarter is test"
    )
    parser.add_argument("--seeds", type=int, default=3, help="training seeds")
    parser.add_argument(
        "--recipe", default="", help="a file of recipes/ whose settings are used, as recipes/sample_smollm2.yaml"
    )
    parser.add_argument("--corpus-seed", type=int, default=310, help="seed of the synthetic corpus")
    parser.add_argument(
        "--rows",
        default=",".join(DEFAULT),
        help="names of params.yaml's variants, or calibration_global, calibration_none, short_question",
    )
    parser.add_argument(
        "--work", type=Path, default=ROOT / "build" / "ablation", help="where the work lies; resumed if it is there"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / PAGE, help="the table")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="trainings side by side")
    parser.add_argument("--from", dest="done", type=Path, help="judge a finished work folder anew, and train nothing")
    given = parser.parse_args()
    start = time.monotonic()
    if given.done:
        plan = Plan.load(given.done.resolve())
    else:
        rows, work = asked_rows(given.rows), given.work.resolve()
        plan = Plan(given.dialogues, given.seeds, rows, given.corpus_seed, work, given.jobs, given.recipe, where())
        run_all(plan)
    text = document(plan, judge(plan), given.out.name)
    atomic.write_text(given.out, text, atomic.PUBLIC)
    print(text)
    print(f"{(time.monotonic() - start) / 60:.0f} minutes; the table is in {given.out}")


def asked_rows(names: str) -> tuple[str, ...]:
    """--rows as a tuple that begins with TVB; a sentence where a name is unknown."""
    variant_names = variants.read(ROOT / "params.yaml")
    rows = tuple(dict.fromkeys([BASE, *names.split(",")]))
    unknown = [row for row in rows if row not in {*variant_names, *CALIBRATIONS, *PROMPTS}]
    if unknown:
        sys.exit(
            f"--rows: {', '.join(unknown)} is no variant of params.yaml; there are "
            f"{', '.join([*variant_names, *CALIBRATIONS, *PROMPTS])}."
        )
    return rows


if __name__ == "__main__":
    main()
