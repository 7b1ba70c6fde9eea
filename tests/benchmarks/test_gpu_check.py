"""benchmarks/gpu_check.py runs: every part on a CPU in tiny shapes, without a video library, and what fails costs nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import gpu_check
from tests.cli.test_cli import ROOT

PARTS = ("training 7B", "labelling 1B", "encoder")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
def test_every_part_measures_and_has_its_place_in_the_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = {}
    for part in PARTS:
        answer = tmp_path / "answer.json"
        given = ["gpu_check", "--device", "cpu", "--tiny", "--one", part, str(answer)]
        monkeypatch.setattr(sys, "argv", given)
        gpu_check.main()
        results[part] = json.loads(answer.read_text())
    for one in (results["training 7B"]["trees"], results["training 7B"]["rows"]):
        assert one["per_s"] > 0
        assert one["steps"] > 1
        assert one["estimated_gib"] > 0
    labelling = results["labelling 1B"]
    assert all(labelling[name]["per_s"] > 0 for name in ("masks", "paths", "rows", "generate"))
    assert max(labelling[name]["away"] for name in ("paths", "rows")) < 0.05  # bfloat16
    assert results["encoder"]["float32"]["away"] < 1e-3
    text = gpu_check.document(results, gpu_check.machine("cpu"), "command")
    assert "nan" not in text
    for part in PARTS:
        assert f"## {part[0].upper()}{part[1:]}" in text


def test_a_part_that_takes_too_long_is_named_and_the_others_are_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "gpu.md"
    limits = {"encoder": 0.01, "labelling 1B": 0.01}
    assert not gpu_check.check(list(limits), "cpu", True, out, limits)
    assert out.read_text() == capsys.readouterr().out.removesuffix("\n")
    parts = json.loads(out.with_suffix(".json").read_text())["parts"]
    assert [set(one) for one in parts.values()] == [{"error"}, {"error"}]


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_says_so() -> None:
    command = [sys.executable, "-m", "benchmarks.gpu_check", "--device", "cuda"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 1
    assert "torch sees no GPU here" in done.stderr


@pytest.mark.slow
def test_neither_it_nor_its_tests_need_a_video_library() -> None:
    code = (
        "import sys, benchmarks.gpu_check, tests.language.test_gpu;"
        "assert not {'cv2', 'av', 'ai_edge_litert', 'librosa', 'dvc', 'skimage'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, cwd=ROOT)


def test_the_limits_add_up_to_less_than_ten_minutes() -> None:
    assert sum(gpu_check.LIMITS_S.values()) < 600
