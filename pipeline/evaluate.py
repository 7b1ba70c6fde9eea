"""Predictions -> what they are worth: metrics, plots, pictures and a report, with plain regressions beside the models.

in: data/manifest.jsonl, data/tokens.h5, data/cache/face.h5 (which clips show several faces), results/predictions/*.jsonl,
the models' epochs.csv, and for the embedded sample the truth beside it.  out: results/metrics.json, results/plots/, results/mistakes.csv, results/report.md;
and results/test_looks.jsonl, which counts how often test was looked at and is no output, since DVC would remove it
"""

from bemerc.core.config import load, read_section
from bemerc.evaluate import metrics, report, results
from bemerc.language.inputs import prompts
from pipeline import CACHE, DATA, MANIFEST, MODELS, PARAMS, PREDICTIONS, RESULTS, TOKENS, stage


@stage
def main() -> None:
    params, shown = load(PARAMS, "evaluate", metrics.Params), load(PARAMS, "prompt", prompts.Params)
    truth = None
    if read_section(PARAMS, "prepare")["corpora"] == ["sample"]:
        truth = results.sample_truth(DATA / "sample" / "truth.jsonl", read_section(PARAMS, "sample")["hint_share"])
    given = {variant: PREDICTIONS / f"{variant}.jsonl" for variant in params.variants}
    epochs = {variant: MODELS / "merc" / variant / "epochs.csv" for variant in params.variants}
    report.run(MANIFEST, given, TOKENS, RESULTS, params, shown, truth, epochs, CACHE / "face.h5")
    print(f"The report is in {RESULTS / 'report.md'}; its table in a terminal: bemerc evaluate --show")


if __name__ == "__main__":
    main()
