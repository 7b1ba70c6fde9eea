"""Everything about bemerc that needs a GPU, in one call of under ten minutes, and docs/gpu.md out of it.

    make gpu-check                                          (or: python -m benchmarks.gpu_check --out docs/gpu.md)
    python -m benchmarks.gpu_check --device cpu --tiny      the same code in a minute on any machine, tiny shapes

Runs the tests marked gpu, then measures a training, a labelling (beside transformers' own generate) and a speech
encoder. The backbones have the shapes of Llama 3.2 1B and Qwen 2.5 7B and random weights, drawn on the device in
bfloat16: speed and memory do not depend on what was learned, and nothing is downloaded. The tokenizer is trained on
the spot. Every part runs in a process of its own with a limit of its own, and the document is written again after
each, so that what fails costs nothing else. Needs torch, transformers, peft, accelerate, h5py and pytest; no video
library.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import torch

from benchmarks.gpu_measures import SIZES, measure_encoder, measure_labelling, measure_training

NEEDED = ("torch", "transformers", "peft", "accelerate", "h5py", "safetensors", "tokenizers", "pytest")
ROOT = Path(__file__).resolve().parents[1]
# Part -> seconds that it may take: nine minutes in all.
LIMITS_S = {"tests": 200, "training 1B": 70, "labelling 1B": 40, "training 7B": 100, "labelling 7B": 60, "encoder": 60}


# --------------------------------------------------------------------------------------------------------- measurements


def gib(size: float | None) -> str:
    return "" if size is None else f"{size:.1f}"


def run_tests(device: str) -> dict[str, Any]:
    """The tests marked gpu, in a process of their own."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-rsfE", "-W", "ignore", "-p", "no:cacheprovider"]
    given = os.environ | {"BEMERC_TEST_DEVICE": device}
    done = subprocess.run(
        [*command, "tests/language/test_gpu.py"], cwd=ROOT, env=given, capture_output=True, text=True, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    noted = [line for line in lines if line.startswith(("FAILED", "ERROR", "SKIPPED"))]
    return {"summary": lines[-1] if lines else done.stderr[-300:], "noted": noted, "passed": done.returncode == 0}


def measure(part: str, device: str, tiny: bool) -> dict[str, Any]:
    """One part, in this process; its numbers, and the seconds that it took."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        what, _, name = part.partition(" ")
        if what == "tests":
            result = run_tests(device)
        elif what == "encoder":
            result = measure_encoder(device, folder, tiny)
        else:
            size = SIZES[name].tiny() if tiny else SIZES[name]
            result = (measure_training if what == "training" else measure_labelling)(size, device, folder)
    return result | {"took_s": time.perf_counter() - start}


# --------------------------------------------------------------------------------------------------------- the document


def apart(part: str, device: str, tiny: bool, limit_s: float) -> dict[str, Any]:
    """One part in a process of its own; where it fails or takes too long, the reason under ``error``."""
    with tempfile.TemporaryDirectory() as place:
        answer = Path(place) / "answer.json"
        command = [sys.executable, "-m", "benchmarks.gpu_check", "--device", device, "--one", part, str(answer)]
        try:
            done = subprocess.run(
                command + ["--tiny"] * tiny, cwd=ROOT, stderr=subprocess.PIPE, text=True, timeout=limit_s, check=False
            )
        except subprocess.TimeoutExpired:
            return {"error": f"It took longer than its limit of {limit_s:.0f} s."}
        if done.returncode or not answer.is_file():
            errors = [line for line in done.stderr.splitlines() if line.strip()]
            return {"error": errors[-1] if errors else f"It ended with code {done.returncode}."}
        result: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
        return result


def machine(device: str) -> dict[str, str]:
    """The device's name and the versions of what computes on it."""
    names = ("torch", "transformers", "peft", "accelerate", "bitsandbytes", "numpy")
    versions = {"Python": platform.python_version()}
    for name in names:
        versions[name] = importlib.metadata.version(name) if importlib.util.find_spec(name) else "not installed"
    if device.startswith("cuda"):
        of = torch.cuda.get_device_properties(device)
        versions |= {"device": f"{of.name}, {of.total_memory / 2**30:.0f} GiB", "CUDA": str(torch.version.cuda)}
    else:
        versions["device"] = f"CPU, {torch.get_num_threads()} threads"
    return versions


def document(results: Mapping[str, Mapping[str, Any]], of: Mapping[str, str], command: str) -> str:
    """docs/gpu.md."""
    lines = [
        "# On a GPU",
        "",
        f"Written by `{command}` on {of['device']} ("
        + ", ".join(f"{name} {value}" for name, value in of.items() if name != "device")
        + "). What is measured and how: the opening of `benchmarks/gpu_check.py`.",
    ]
    for part, result in results.items():
        lines += ["", f"## {part[0].upper()}{part[1:]}", ""]
        if "error" in result:
            lines.append(f"**Not measured.** {result['error']}")
        else:
            lines += TABLES[part.partition(" ")[0]](result)
            lines += ["", f"{result['took_s']:.0f} s in all."]
    return "\n".join(lines) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(head) + " |",
        "| --- |" + " ---: |" * (len(head) - 1),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]


def tests_table(of: Mapping[str, Any]) -> list[str]:
    return [of["summary"], *(f"- {line}" for line in of["noted"])]


def training_table(of: Mapping[str, Any]) -> list[str]:
    head = (
        "",
        "utterances/s",
        "positions/s",
        "TFLOPS",
        "peak memory, GiB",
        "estimated, GiB",
        "steps",
        "loss, first to last",
    )
    titles = {"trees": "a dialogue as one tree (`row_tokens: 1024`)", "rows": "a row per utterance (`row_tokens: 0`)"}
    rows = [
        (
            titles[name],
            f"{one['per_s']:.1f}",
            f"{one['positions_per_s']:.0f}",
            f"{one['tflops']:.3g}",
            gib(one["peak_gib"]),
            f"{one['estimated_gib']:.1f}",
            f"{one['steps']:.0f}",
            f"{one['loss_first']:.2f} to {one['loss_last']:.2f}",
        )
        for name in titles
        if (one := of[name])
    ]
    weights, faster = of["trees"]["parameters"] / 1e9, of["trees"]["per_s"] / of["rows"]["per_s"]
    return [
        f"{weights:.2f} billion frozen weights in bfloat16, LoRA of rank 16"
        + (", layers computed again on the way back" if of["checkpointing"] else "")
        + f". A tree is **{faster:.1f} times** as fast.",
        "",
        *table(head, rows),
    ]


def labelling_table(of: Mapping[str, Any]) -> list[str]:
    head = ("", "utterances/s", "to generate", "peak memory, GiB", "largest difference of a score")
    titles = {
        "masks": "a dialogue as one tree, under a mask (what a GPU takes)",
        "paths": "a dialogue as one tree, along its paths",
        "rows": "a row per label",
        "generate": f"generate, 32 prompts at a time, {of['generate']['written']} tokens each",
    }
    rows = [
        (
            title,
            f"{of[name]['per_s']:.1f}",
            f"{of[name]['per_s'] / of['generate']['per_s']:.2f}",
            gib(of[name]["peak_gib"]),
            f"{of[name]['away']:.1e}" if "away" in of[name] else "",
        )
        for name, title in titles.items()
    ]
    return [f"{of['utterances']} utterances, seven labels.", "", *table(head, rows)]


def encoder_table(of: Mapping[str, Any]) -> list[str]:
    head = ("", "seconds of sound per second", "peak memory, GiB", "largest difference from a CPU's float32")
    rows = [
        (name, f"{one['per_s']:.0f}", gib(one["peak_gib"]), f"{one['away']:.1e}")
        for name, one in of.items()
        if isinstance(one, Mapping)
    ]
    return [
        f"A WavLM large of random weights, {of['seconds']:.0f} s of sound in clips of 1 to 5 s.",
        "",
        *table(head, rows),
    ]


TABLES: dict[str, Callable[[Mapping[str, Any]], list[str]]] = {
    "tests": tests_table,
    "training": training_table,
    "labelling": labelling_table,
    "encoder": encoder_table,
}


def check(parts: Sequence[str], device: str, tiny: bool, out: Path | None, limits_s: Mapping[str, float]) -> bool:
    """Every part in turn, the document written after each; whether nothing failed."""
    of = machine(device)
    shown = " ".join(["python -m benchmarks.gpu_check", *(["--device", device, "--tiny"] if tiny else [])])
    results: dict[str, dict[str, Any]] = {}
    for part in parts:
        print(f"{part} ...", file=sys.stderr, flush=True)
        results[part] = apart(part, device, tiny, limits_s[part])
        if out is not None:
            out.write_text(document(results, of, shown), encoding="utf-8")
            out.with_suffix(".json").write_text(
                json.dumps({"machine": of, "parts": results}, indent=1), encoding="utf-8"
            )
    print(document(results, of, shown))
    return all("error" not in one and one.get("passed", True) for one in results.values())


def main() -> None:
    parser = argparse.ArgumentParser(description="The tests and benchmarks that need a GPU, in under ten minutes.")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1; cpu with --tiny, to see that everything runs")
    parser.add_argument("--tiny", action="store_true", help="tiny shapes: to see that everything runs, not how fast")
    parser.add_argument("--out", type=Path, help="write the document there after every part, and its numbers beside it")
    parser.add_argument("--parts", nargs="+", default=list(LIMITS_S), choices=list(LIMITS_S), help="default: all")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        part, answer = given.one
        Path(answer).write_text(json.dumps(measure(part, given.device, given.tiny)), encoding="utf-8")
        return
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        sys.exit(f"{', '.join(missing)} must be installed: pip install {' '.join(missing)}")
    if given.device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit("torch sees no GPU here. --device cpu --tiny runs the same code without one.")
    if not check(given.parts, given.device, given.tiny, given.out, LIMITS_S):
        sys.exit("Not everything passed: see above.")


if __name__ == "__main__":
    main()
