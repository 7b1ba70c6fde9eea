"""bemerc doctor: what is there is listed with its version or hash, what is missing with its cost and the remedy."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from bemerc import doctor
from tests.cli.test_cli import ROOT, bemerc


def named(folder: Path) -> dict[str, doctor.Check]:
    return {check.name: check for check in doctor.checks(folder)}


def test_every_model_that_the_extractors_load_has_its_hash(tmp_path: Path) -> None:
    pytest.importorskip("mediapipe")
    checks = named(tmp_path)
    for path, _, expected in doctor.MODELS:
        check = checks[f"model {Path(path).stem}"]
        assert check.ok
        assert check.detail == f"sha256 {expected}"
    fitted = hashlib.sha256((ROOT / "bemerc" / "extraction" / "face" / "action_units.npz").read_bytes()).hexdigest()
    assert checks["model action_units"].detail == f"sha256 {fitted}"


def test_a_missing_and_a_foreign_model_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mediapipe whose folder holds one wrong file and no other."""
    modules = tmp_path / "modules"
    foreign = modules / doctor.MODELS[4][0]
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"another model")
    real = doctor.importlib.util.find_spec

    def find_spec(name: str) -> ModuleSpec | None:
        spec = ModuleSpec(name, None, origin=str(tmp_path / "__init__.py"))
        return spec if name == "mediapipe" else real(name)

    monkeypatch.setattr(doctor.importlib.util, "find_spec", find_spec)
    checks = {check.name: check for check in doctor._mediapipe_models()}
    assert not any(check.ok for check in checks.values())
    assert checks["model pose_landmark_full"].detail == f"sha256 {hashlib.sha256(b'another model').hexdigest()}"
    assert checks["model hand_landmark_full"].detail == "missing"
    assert "hands" in checks["model hand_landmark_full"].remedy
    assert all("pip install" in check.remedy for check in checks.values())


def test_what_a_later_python_cannot_have_is_not_to_be_installed() -> None:
    assert "pip install" in doctor.install("mediapipe", (3, 12))
    assert "pip install" not in doctor.install("mediapipe", (3, 13))
    assert "pip install" in doctor.install("av", (3, 13))


def test_what_the_params_name_is_looked_for(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    task = tmp_path / "face.task"
    task.write_bytes(b"shapes")
    text = text.replace("blendshapes: null", f"blendshapes: {task}").replace(
        "face_backend: mesh", "face_backend: openface"
    )
    text = text.replace("speech_backend: none", "speech_backend: encoder")
    text = text.replace("binary: FeatureExtraction", f"binary: {tmp_path / 'FeatureExtraction'}")
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    checks = named(tmp_path)
    assert hashlib.sha256(b"shapes").hexdigest() in checks["model blendshapes"].detail
    assert not checks["OpenFace"].ok
    assert "extract_video.openface.binary" in checks["OpenFace"].remedy
    assert not checks["speech encoder"].ok
    shutil.copy(sys.executable, tmp_path / "FeatureExtraction")
    assert named(tmp_path)["OpenFace"].ok
    (tmp_path / "params.yaml").write_text(text.replace("rate_hz: 8.0", "rate_hz: eight"), encoding="utf-8")
    assert "rate_hz" in named(tmp_path)["params.yaml"].remedy


def test_the_command_ends_with_one_where_something_is_missing(tmp_path: Path) -> None:
    pytest.importorskip("mediapipe")
    listed = bemerc("doctor", "--json", cwd=tmp_path)
    checks = {check["name"]: check for check in json.loads(listed.stdout)}
    assert listed.returncode == int(not all(check["ok"] for check in checks.values()))
    assert checks["model face_landmark_with_attention"]["detail"].startswith("sha256 ")
    (tmp_path / "params.yaml").write_text("extract_video: {face_backend: openface}\n", encoding="utf-8")
    missing = bemerc("doctor", cwd=tmp_path)
    assert missing.returncode == 1
    assert "MISSING OpenFace" in missing.stdout
