"""Time and memory of the pipeline on a corpus of MELD's size.

    python -m benchmarks.dry_run [--work DIR] [--out docs/dry_run.md]

13,708 utterances in 1,432 dialogues in MELD's tables and folders, with synthetic words and clips of under a second.
Every step is a process of its own, whose time and peak memory the system measures. Nothing may grow faster than the
corpus, and memory must stay flat; the clips are tiny, so this does not measure decoding. Training stops after its
first steps: for a whole one see docs/speed.md. What evaluate judges is made up, predictions and tokens of all
modalities; --words gives it MELD's own words, so that the regressions have its vocabulary.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import yaml

from bemerc.language.train.log import log_of

ROOT = Path(__file__).resolve().parents[1]
# Utterances and dialogues per split as MELD has them (Poria et al. 2019), and its folders' names.
SPLITS = {
    "train": (9989, 1038, "train_splits"),
    "dev": (1109, 114, "dev_splits_complete"),
    "test": (2610, 280, "output_repeated_splits_test"),
}
LABELS = ("neutral", "joy", "surprise", "anger", "sadness", "disgust", "fear")
HEADER = (
    *("Sr No.", "Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID"),
    *("Season", "Episode", "StartTime", "EndTime"),
)
SAYING = "so what we said was that the other one never came back here and nobody really knows why it would be"
TEMPLATES = 24
FIRST_STEPS = 20
MADE_UP = "predictions and tokens are made up"


@dataclass(frozen=True)
class Taken:
    """What a step took: wall-clock and CPU seconds of the process and its children, the largest of them in MB."""

    step: str
    wall_s: float
    cpu_s: float
    peak_mb: float


# ----------------------------------------------------------------------------------------------------------- the corpus


def make(folder: Path) -> None:
    """Tables and clips; every clip has bytes of its own, by a box at its end that players skip."""
    films = [_film(folder / f"template{i}.mp4", 0.4 + 0.02 * i, i) for i in range(TEMPLATES)]
    rng, number = random.Random(0), 0
    for split, (count, dialogues, name) in SPLITS.items():
        (folder / name).mkdir(parents=True)
        with (folder / f"{split}_sent_emo.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(HEADER)
            for dialogue, turn in _turns(count, dialogues):
                film, seconds = films[number % TEMPLATES]
                table.writerow(_row(number, rng, dialogue, turn, seconds))
                box = (16).to_bytes(4, "big") + b"free" + number.to_bytes(8, "big")
                (folder / name / f"dia{dialogue}_utt{turn}.mp4").write_bytes(film + box)
                number += 1
    for i in range(TEMPLATES):
        (folder / f"template{i}.mp4").unlink()


def _turns(count: int, dialogues: int) -> Iterator[tuple[int, int]]:
    """(dialogue, turn): ``count`` turns shared out evenly."""
    for dialogue in range(dialogues):
        for turn in range(count // dialogues + (dialogue < count % dialogues)):
            yield dialogue, turn


def _row(number: int, rng: random.Random, dialogue: int, turn: int, seconds: float) -> list[object]:
    text = " ".join(rng.choices(SAYING.split(), k=rng.randint(1, 16)))
    start_s = 5.0 * turn
    times = [_clock(start_s), _clock(start_s + seconds)]
    person = f"Person {rng.randrange(260)}"
    return [number + 1, text, person, rng.choice(LABELS), "neutral", dialogue, turn, 1, 1, *times]


def _clock(seconds: float) -> str:
    ms = round(1000 * seconds)
    return f"{ms // 3_600_000:02d}:{ms // 60_000 % 60:02d}:{ms // 1000 % 60:02d},{ms % 1000:03d}"


def _film(path: Path, seconds: float, seed: int) -> tuple[bytes, float]:
    """A clip of noise, in picture and sound, and how long it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    frames, samples = round(25 * seconds), round(16_000 * seconds)
    with av.open(str(path), "w") as container:
        video, audio = container.add_stream("libx264", rate=25), container.add_stream("aac", rate=16_000, layout="mono")
        video.width = video.height = 32
        video.pix_fmt = "yuv420p"
        for i in range(frames):
            picture = av.VideoFrame.from_ndarray(rng.integers(0, 255, (32, 32, 3), np.uint8), format="rgb24")
            picture.pts, picture.time_base = i, Fraction(1, 25)
            container.mux(video.encode(picture))
        tone = 0.2 * np.sin(2 * np.pi * (120 + 10 * seed) * np.arange(samples) / 16_000)
        sound = av.AudioFrame.from_ndarray(tone[None].astype(np.float32), format="fltp", layout="mono")
        sound.sample_rate, sound.pts = 16_000, 0
        container.mux(audio.encode(sound))
        for stream in (video, audio):
            container.mux(stream.encode(None))
    return path.read_bytes(), seconds


# ------------------------------------------------------------------------------------------------------------ the steps

TOKENS = """
from pathlib import Path
from bemerc.behavior.describe import rules, run
from bemerc.behavior.tokens import file as tokens
from bemerc.corpus.manifest import read_manifest
manifest, caches = read_manifest(Path("data/manifest.jsonl")), {"audio": Path("data/cache/audio.h5")}
if %r == "tokens":
    tokens.run(manifest, caches, Path("data/tokens.h5"), tokens.Params())
else:
    run.run(manifest, caches, Path("data/descriptions.jsonl"), rules.Params())
"""
TRAIN = """
from pathlib import Path
from bemerc.behavior.tokens import file as tokens
from bemerc.core.config import load
from bemerc.corpus.manifest import read_manifest
from bemerc.language.inputs import prompts
from bemerc.language.model import behavior_model as model
from bemerc.language.train import merc
params = Path("params.yaml")
with tokens.open_tokens(Path("data/tokens.h5")) as read:
    manifest, shape = read_manifest(Path("data/manifest.jsonl")), load(params, "prompt", prompts.Params)
    merc.run("TV", manifest, read, None, None, shape, load(params, "model", model.Params), load(params, "merc", merc.Params), Path("models/merc/TV"))
"""


EVALUATE = """
import csv
from dataclasses import replace
from pathlib import Path
import numpy as np
from bemerc.behavior.tokens import file as tokens
from bemerc.corpus.manifest import read_manifest, write_manifest
from bemerc.language.predict.records import Prediction, write_predictions
from bemerc.behavior.tokens.calibration import Calibration, Statistics
manifest, rng = read_manifest(Path("data/manifest.jsonl")), np.random.default_rng(0)
count, labels = len(manifest.utterances), manifest.labels
if %r:
    sentences = [row["Utterance"] for table in sorted(Path(%r).glob("*_sent_emo.csv")) for row in csv.DictReader(table.open(encoding="utf-8", errors="replace"))]
    spoken = tuple(replace(u, text=sentences[i %% len(sentences)]) for i, u in enumerate(manifest.utterances))
    write_manifest(Path("data/manifest.jsonl"), spoken, labels, manifest.corpora)
    manifest = read_manifest(Path("data/manifest.jsonl"))
wide = {"face": 84, "pose": 21, "audio": 19}
made = {m: (rng.normal(size=(count, 8, n)).astype(np.float32), np.ones((count, 8), bool)) for m, n in wide.items()}
statistics = {m: Statistics("made up", tuple(f"{m}{i}" for i in range(n)), (0.0,) * n, (1.0,) * n) for m, n in wide.items()}
tokens.write_tokens(Path("data/tokens.h5"), [u.id for u in manifest.utterances], made, Calibration(statistics), tokens.Params())
for variant in ("T", "TV", "TVB"):
    predictions = []
    for u in manifest.by_split("test"):
        scores = rng.dirichlet(np.ones(len(labels)))
        if rng.random() < 0.5:
            best, gold = int(scores.argmax()), labels.index(u.label)
            scores[[best, gold]] = scores[[gold, best]]
        named = dict(zip(labels, map(float, scores / scores.sum())))
        predictions.append(Prediction(u.id, u.label, max(named, key=named.get), named))
    write_predictions(Path(f"results/predictions/{variant}.jsonl"), predictions)
"""


def steps(words: str) -> Iterator[tuple[str, list[str], Callable[[Path], bool] | None]]:
    """(what, command, what ends it early) in the order of the pipeline."""
    python = sys.executable
    yield "corpus check", [python, "-m", "bemerc", "corpus", "check", "meld"], None
    yield "survey", [python, "-m", "bemerc", "corpus", "survey", "meld"], None
    yield "prepare", [python, "-m", "bemerc", "prepare"], None
    audio = [python, "-m", "bemerc", "extract", "data/manifest.jsonl", "--only", "audio"]
    yield "extract_audio", audio, None
    yield "extract_audio again, nothing to do", audio, None
    yield "tokens", [python, "-c", TOKENS % "tokens"], None
    yield "describe", [python, "-c", TOKENS % "describe"], None
    yield "backbone", [python, "-m", "bemerc", "backbone"], None
    yield f"merc TV, its first {FIRST_STEPS} steps", [python, "-c", TRAIN], _stepped
    yield MADE_UP, [python, "-c", EVALUATE % (words, words)], None
    judged = [f"results/predictions/{variant}.jsonl" for variant in ("T", "TV", "TVB")]
    yield "evaluate", [python, "-m", "bemerc", "evaluate", *judged], None


def _stepped(work: Path) -> bool:
    log = log_of(work / "models" / "merc" / "TV")
    return log.is_file() and sum(1 for _ in log.open(encoding="utf-8")) >= FIRST_STEPS


def measure(work: Path, what: str, command: list[str], enough: Callable[[Path], bool] | None) -> Taken:
    """Run one step in ``work``; stops it once ``enough`` says so."""
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    began = time.monotonic()
    with (work / "log.txt").open("a", encoding="utf-8") as log:
        process = subprocess.Popen(command, cwd=work, env=surroundings, stdout=log, stderr=subprocess.STDOUT)
        if enough is not None:
            while process.poll() is None and not enough(work):
                time.sleep(0.2)
            if process.returncode is None:
                process.terminate()
        _, status, used = os.wait4(process.pid, 0) if process.returncode is None else (0, process.returncode, None)
    process.returncode = os.waitstatus_to_exitcode(status) if used else process.returncode
    if used is None or (process.returncode and enough is None):
        tail = "\n".join((work / "log.txt").read_text(encoding="utf-8").splitlines()[-15:])
        sys.exit(f"{what} failed (exit code {process.returncode}):\n{tail}")
    taken = Taken(what, time.monotonic() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
    print(f"{what}: {taken.wall_s:.0f} s, {taken.cpu_s:.0f} s of CPU, {taken.peak_mb:.0f} MB", flush=True)
    return taken


def document(costs: list[Taken], command: str) -> str:
    """docs/dry_run.md."""
    rows = [f"| {t.step} | {t.wall_s:.0f} | {t.cpu_s:.0f} | {t.peak_mb:.0f} |" for t in costs]
    return "\n".join(
        [
            "# A corpus of MELD's size, dry",
            "",
            f"Written by `{command}` (Python {platform.python_version()}, {os.cpu_count()} cores, which other work "
            "may have shared).",
            "13,708 utterances in 1,432 dialogues under MELD's file names, with made words and made clips of 0.4 to "
            "0.9 s: what the",
            "pipeline itself costs at this size. CPU seconds are of the step and its workers together, peak memory "
            "of the largest",
            "single process. Real clips (about 12 hours) add the decoding and the models on top.",
            "",
            "| step | wall, s | CPU, s | peak memory, MB |",
            "| --- | ---: | ---: | ---: |",
            *rows,
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="A corpus of MELD's size through the pipeline.")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "dry_run", help="made anew")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "dry_run.md", help="the table")
    parser.add_argument("--words", type=Path, help="folder with MELD's own tables, for the words that evaluate reads")
    given = parser.parse_args()
    shutil.rmtree(given.work, ignore_errors=True)
    make(given.work / "data" / "meld")
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["prepare"]["corpora"] = ["meld"]
    (given.work / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    costs = [measure(given.work, *step) for step in steps(str(given.words.resolve()) if given.words else "")]
    costs = [one for one in costs if one.step != MADE_UP]
    text = document(costs, " ".join(["python -m benchmarks.dry_run", *sys.argv[1:]]))
    given.out.write_text(text, encoding="utf-8")
    print(f"\n{text}")


if __name__ == "__main__":
    main()
