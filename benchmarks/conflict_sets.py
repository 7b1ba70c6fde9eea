"""Are conflict items what they are called? Cohen's kappa between the built subsets and what the sample was made to show.

    python -m benchmarks.conflict_sets [--data data] [--confidence .3 .4 .5] [--out FILE]

The sample's truth (data/sample/truth.jsonl) says what words, face and voice of an utterance were made to show; the builder
never reads it. Per confidence: the share of utterances that the predictors decide, kappa over those (asked: 0.6), and of the
recombinations the share whose two sides are as they are called.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path

from sklearn.metrics import cohen_kappa_score

from bemerc.behavior.tokens.file import open_tokens
from bemerc.core import atomic
from bemerc.corpus.conflict import ConflictItem
from bemerc.corpus.manifest import read_manifest
from bemerc.evaluate.conflict import build


@dataclass(frozen=True)
class Shown:
    """What an utterance was made to show."""

    label: str
    face: str
    voice: str

    @property
    def subset(self) -> str:
        right = self.voice == self.label, self.face == self.label
        named = {(True, True): "consistent", (False, True): "video_aligned", (True, False): "audio_aligned"}
        return named.get(right, "other")


def truth(data: Path) -> dict[str, Shown]:
    lines = (data / "sample" / "truth.jsonl").read_text(encoding="utf-8").splitlines()
    return {line["id"]: Shown(line["label"], line["face"], line["voice"]) for line in map(json.loads, lines)}


def row(items: tuple[ConflictItem, ...], planted: dict[str, Shown], confidence: float) -> str:
    own = [item for item in items if item.way == "predictors"]
    mixed = [item for item in items if item.way == "recombined"]
    kappa = cohen_kappa_score([item.subset for item in own], [planted[item.id].subset for item in own])
    right = [(planted[i.voice_of].voice, planted[i.face_of].face) == (i.label_voice, i.label_face) for i in mixed]
    sides = f"{sum(right) / len(right):.3f}" if right else "-"
    return f"| {confidence:g} | {len(own)} | {len(own) / len(planted):.3f} | {kappa:.3f} | {len(mixed)} | {sides} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--confidence", type=float, nargs="+", default=[0.3, 0.35, 0.4, 0.45, 0.5])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    manifest, planted = read_manifest(arguments.data / "manifest.jsonl"), truth(arguments.data)
    lines = ["| confidence | items | decided | kappa | recombined | sides right |", "|--:|--:|--:|--:|--:|--:|"]
    with open_tokens(arguments.data / "tokens.h5") as tokens:
        for confidence in arguments.confidence:
            params = replace(build.Params(), ways=("predictors", "recombined"), confidence=confidence)
            lines.append(row(build.run(manifest, tokens, params).items, planted, confidence))
    print("\n".join(lines))
    if arguments.out:
        atomic.write_text(arguments.out, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
