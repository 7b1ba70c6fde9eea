"""The picture of README.md: one utterance of the embedded sample, what is measured of it, said of it and predicted.

    python docs/utterance.py          (after `make run`; writes docs/utterance.png)

The upper part is what `bemerc inspect` draws. Below it stand the words, the four sentences of descriptions.jsonl and the
probabilities of the model TVB.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import textwrap
from pathlib import Path

import matplotlib.image
from matplotlib.figure import Figure

ID = "sample/test/dia10_utt2"
OUT = Path(__file__).with_suffix(".png")
SENTENCES = {"face": "facial_expression", "body": "body_language", "posture": "posture", "voice": "voice"}


def record(path: str) -> dict[str, object]:
    """The line of the utterance in a JSON lines file."""
    lines = map(json.loads, Path(path).read_text(encoding="utf-8").splitlines())
    return next(line for line in lines if line.get("id") == ID)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        plot = Path(folder) / "inspect.png"
        clips = ["--video-dir", "data/sample"]
        subprocess.run(["bemerc", "inspect", "data/cache/face.h5", ID, *clips, "--out", str(plot)], check=True)
        measured = matplotlib.image.imread(plot)
    said, predicted = record("data/descriptions.jsonl"), record("results/predictions/TVB.jsonl")
    scores: dict[str, float] = predicted["scores"]  # type: ignore[assignment]
    utterance = record("data/manifest.jsonl")

    figure = Figure(figsize=(11, 8.3), dpi=100)
    above = figure.add_axes((0, 0.29, 1, 0.71))
    above.imshow(measured)
    above.set_axis_off()
    y = 0.262
    figure.text(0.03, y, f'{utterance["speaker"]}: "{utterance["text"]}"', fontsize=13, weight="bold")
    for name, key in SENTENCES.items():
        y -= 0.038
        lines = textwrap.wrap(str(said[key]), 84)
        figure.text(0.03, y, name, fontsize=10, color="#777777", va="baseline")
        for line in lines:
            figure.text(0.10, y, line, fontsize=10)
            y -= 0.026
        y += 0.026
    bars = figure.add_axes((0.77, 0.035, 0.17, 0.2))
    best_last = sorted(scores, key=scores.__getitem__)
    bars.barh(best_last, [scores[label] for label in best_last], color="#2f6fb5")
    for row, label in enumerate(best_last):
        bars.text(scores[label] + 0.02, row, f"{scores[label]:.2f}", va="center", fontsize=9)
    bars.set_xlim(0, 1)
    bars.set_xticks([])
    bars.tick_params(axis="y", length=0, labelsize=9)
    bars.set_title("emotion as perceived, probability", fontsize=10)
    for side in bars.spines.values():
        side.set_visible(False)
    figure.savefig(OUT, metadata={"Software": None})


if __name__ == "__main__":
    main()
