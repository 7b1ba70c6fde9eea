"""bemerc doctor: what is there is listed with its version or hash, what is missing with its cost and the remedy."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from bemerc import doctor
from tests.cli.test_cli import ROOT, bemerc
from tests.speaker_networks import brightness, write


def named(folder: Path) -> dict[str, doctor.Check]:
    return {check.name: check for check in doctor.checks(folder)}


def test_every_model_that_the_extractors_load_has_its_hash_and_licence(tmp_path: Path) -> None:
    checks = named(tmp_path)
    for path in (ROOT / "bemerc" / "extraction" / "networks" / "models").glob("*.tflite"):
        check = checks[f"model {path.stem}"]
        assert check.ok
        assert hashlib.sha256(path.read_bytes()).hexdigest() in check.detail
        assert "Apache-2.0" in check.detail
    fitted = hashlib.sha256((ROOT / "bemerc" / "extraction" / "face" / "action_units.npz").read_bytes()).hexdigest()
    assert checks["model action_units"].detail == f"sha256 {fitted}"


def test_a_missing_and_a_foreign_model_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = tmp_path / "extraction" / "networks" / "models"
    shutil.copytree(ROOT / "bemerc" / "extraction" / "networks" / "models", models)
    (models / "pose_landmark_full.tflite").write_bytes(b"another model")
    (models / "hand_landmark_full.tflite").unlink()
    monkeypatch.setattr(doctor, "__file__", str(tmp_path / "doctor.py"))
    checks = {check.name: check for check in doctor._packaged_models()}
    assert [name for name, check in checks.items() if not check.ok] == [
        "model hand_landmark_full",
        "model pose_landmark_full",
    ]
    assert checks["model hand_landmark_full"].detail == "missing"
    assert checks["model pose_landmark_full"].detail == hashlib.sha256(b"another model").hexdigest()


def test_what_the_params_name_is_looked_for(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    task = tmp_path / "face.task"
    task.write_bytes(b"shapes")
    text = text.replace("task: null", f"task: {task}").replace("face_backend: mesh", "face_backend: openface")
    text = text.replace("speech_backend: none", "speech_backend: encoder")
    text = text.replace("binary: FeatureExtraction", f"binary: {tmp_path / 'FeatureExtraction'}")
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    checks = named(tmp_path)
    assert hashlib.sha256(b"shapes").hexdigest() in checks["extract_video.face.task"].detail
    assert not checks["OpenFace"].ok
    assert "extract_video.openface.binary" in checks["OpenFace"].remedy
    assert not checks["speech encoder"].ok
    shutil.copy(sys.executable, tmp_path / "FeatureExtraction")
    assert named(tmp_path)["OpenFace"].ok
    (tmp_path / "params.yaml").write_text(text.replace("rate_hz: 8.0", "rate_hz: eight"), encoding="utf-8")
    assert "rate_hz" in named(tmp_path)["params.yaml"].remedy


def test_settings_of_the_command_line_are_judged(tmp_path: Path) -> None:
    def missing(*arguments: str) -> dict[str, str]:
        answer = bemerc("doctor", "--json", *arguments, cwd=tmp_path)
        return {check["name"]: check["remedy"] for check in json.loads(answer.stdout) if not check["ok"]}

    before = missing().keys()
    policy = ("--set", "extract_video.face.policy=network")
    for network, reason in (("", "none is named"), (".", "folder"), ("none.onnx", "no file")):
        found = missing(
            *policy, "--set", f"extract_video.face.network={network}", "--set", "extract_audio.speech_backend=encoder"
        )
        assert found.keys() - before == {"the settings", "speech encoder"}
        assert reason in found["the settings"]
        assert "extract_video.face.network=FILE.onnx" in found["the settings"]
    (tmp_path / "p.yaml").write_text("extract_audio: {speech_backend: encoder}\n")
    assert missing("--params", "p.yaml").keys() - before == {"speech encoder"}


def test_the_network_for_the_target_face_is_opened(tmp_path: Path) -> None:
    network = write(tmp_path / "speaker.onnx", brightness())
    params = f"extract_video: {{face: {{policy: network, network: {network}}}}}\n"
    (tmp_path / "params.yaml").write_text(params, encoding="utf-8")
    check = named(tmp_path)["extract_video.face.network"]
    assert check.ok
    assert hashlib.sha256(network.read_bytes()).hexdigest() in check.detail
    network.write_bytes(b"nonsense")
    check = named(tmp_path)["extract_video.face.network"]
    assert not check.ok
    assert "speaker.onnx" in check.remedy


def test_the_command_ends_with_one_where_something_is_missing(tmp_path: Path) -> None:
    listed = bemerc("doctor", "--json", cwd=tmp_path)
    checks = {check["name"]: check for check in json.loads(listed.stdout)}
    assert listed.returncode == int(not all(check["ok"] for check in checks.values()))
    assert checks["model face_landmarks_detector"]["detail"].startswith("sha256 ")
    (tmp_path / "params.yaml").write_text("extract_video: {face_backend: openface}\n", encoding="utf-8")
    missing = bemerc("doctor", cwd=tmp_path)
    assert missing.returncode == 1
    assert "MISSING OpenFace" in missing.stdout


@pytest.mark.parametrize(("count", "bf16"), [(1, True), (4, False)])
def test_a_gpu_is_described_by_what_training_asks_of_it(count: int, bf16: bool) -> None:
    cuda = SimpleNamespace(
        get_device_properties=lambda _: SimpleNamespace(name="H", total_memory=80_000_000_000),
        device_count=lambda: count,
        mem_get_info=lambda _: (71_000_000_000, 80_000_000_000),
        is_bf16_supported=lambda: bf16,
    )
    check = doctor._cuda(SimpleNamespace(cuda=cuda))
    assert check.ok
    assert check.detail.startswith(f"{'4 x ' if count > 1 else ''}H, 80 GB, 71 free, ")
    assert ("no bfloat16" in check.detail) is not bf16
