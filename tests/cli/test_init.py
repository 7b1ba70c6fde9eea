"""``bemerc init``: a project that DVC takes, and the whole way from an empty folder to a report with an installed wheel."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from bemerc.core.errors import BemercError
from bemerc.pipeline import init
from tests.cli.test_cli import ROOT, bemerc
from tests.errors import raises

PARTS = ("dvc.yaml", "params.yaml", "pyproject.toml", "README.md", "LICENSE", "NOTICE")
SMALL = {
    "sample": {"dialogues": 8, "turns": 2, "speakers": 4, "unseen_speakers": 1, "min_s": 0.8, "max_s": 1.0, "width": 160, "height": 160},
    "tokens": {"k": 2},
    "backbone": {"vocabulary": 400, "hidden": 32, "layers": 1, "heads": 2, "steps": 3, "drills": 4, "texts": 1, "length": 32},
    "align": {"epochs": 1},
    "merc": {"epochs": 1},
    "evaluate": {"variants": ["T", "TVB"], "resamples": 200},
}  # fmt: skip


@pytest.mark.parametrize("corpus", ["sample", "meld"])
def test_a_project_has_the_stages_of_the_repository_without_its_code(tmp_path: Path, corpus: str) -> None:
    answer = bemerc("init", tmp_path / "p", "--corpus", corpus)
    assert answer.returncode == 0, answer.stderr
    params = yaml.safe_load((tmp_path / "p" / "params.yaml").read_text(encoding="utf-8"))
    own = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    assert params["prepare"].pop("corpora") == [corpus]
    own["prepare"].pop("corpora")
    assert params == own
    stages = yaml.safe_load((tmp_path / "p" / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    theirs = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert list(stages) == list(theirs)
    for name, stage in stages.items():
        assert stage["cmd"] == theirs[name]["cmd"]
        assert stage["deps"].count(init.VERSION_FILE) == 1
        kept = [dep for dep in theirs[name]["deps"] if not dep.startswith("bemerc/")]
        assert [dep for dep in stage["deps"] if dep != init.VERSION_FILE] == kept
    recipes = {path.name for path in (tmp_path / "p").glob("recipes/*.yaml")}
    own = {"meld": {"meld_7b.yaml", "meld_words_smollm2.yaml"}, "sample": {"sample_smollm2.yaml"}}
    assert recipes == own.get(corpus, set())
    assert {path.name for path in (tmp_path / "p").glob("recipes/*/*")} == {"fsdp.yaml", "train.sh"}
    shown = [line.strip() for line in answer.stdout.splitlines() if line.startswith("  bemerc ")]
    assert shown == list(init.commands(tmp_path / "p"))
    assert shown[0] == ("bemerc sample" if corpus == "sample" else "bemerc prepare")
    assert "bemerc extract data/manifest.jsonl" in shown
    assert "bemerc train --stage 2 --variant TVB" in shown
    for command in shown:
        assert bemerc(*shlex.split(command)[1:], "--help").returncode == 0


def test_a_project_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("mine: 1\n", encoding="utf-8")
    with raises(BemercError, path=tmp_path):
        init.run(tmp_path, "sample")
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]
    assert "dvc.yaml" in init.run(tmp_path, "sample", force=True)
    assert "mine" not in (tmp_path / "params.yaml").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree, installed into a folder of its own, without its dependencies."""
    base = tmp_path_factory.mktemp("wheel")
    source = base / "source"  # a build leaves files where it is done
    for name in ("bemerc", "pipeline", "recipes", ".dvc/config", ".dvcignore", *PARTS):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (source / name).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-index"]
    build = [*pip, "wheel", *options, "--no-build-isolation", "--wheel-dir", str(base), str(source)]
    wheel = subprocess.run(build, capture_output=True, text=True, check=False)
    assert wheel.returncode == 0, wheel.stderr
    (file,) = base.glob("bemerc-*.whl")
    subprocess.run([*pip, "install", *options, "--target", str(base / "site"), str(file)], check=True)
    return base / "site"


@pytest.mark.slow
def test_from_an_empty_folder_to_a_report_with_nothing_but_the_wheel(installed: Path, tmp_path: Path) -> None:
    pytest.importorskip("skimage", reason="the sample's portrait is scikit-image's")
    pytest.importorskip("espeakng_loader", reason="the sample's voice is espeak-ng's")

    def run(*command: str, folder: Path = tmp_path / "p") -> str:
        environment = os.environ | {"PYTHONPATH": str(installed), "BEMERC_WORKERS": "2"}
        answer = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)
        assert answer.returncode == 0, f"{shlex.join(command)}\n{answer.stdout}\n{answer.stderr}"
        assert "Traceback" not in answer.stderr
        return answer.stdout

    where = run(sys.executable, "-c", "import bemerc; print(bemerc.__file__)", folder=tmp_path)
    assert where.startswith(str(installed))
    run(sys.executable, "-m", "bemerc", "init", "p", folder=tmp_path)
    params = yaml.safe_load((tmp_path / "p" / "params.yaml").read_text(encoding="utf-8"))
    for section, values in SMALL.items():
        params[section] |= values
    (tmp_path / "p" / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    for command in init.commands(tmp_path / "p"):
        run(sys.executable, "-m", *shlex.split(command))
    assert "weighted_f1" in json.dumps(json.loads((tmp_path / "p" / "results" / "metrics.json").read_text()))
    assert (tmp_path / "p" / "results" / "report.md").is_file()
    clip = next((tmp_path / "p" / "data" / "sample" / "test").glob("*.mp4"))
    answer = run(sys.executable, "-m", "bemerc", "predict", str(clip), "--model", "models/merc/TVB")
    assert "This model was trained on the embedded sample" in answer


@pytest.mark.slow
def test_dvc_takes_the_project(installed: Path, tmp_path: Path) -> None:
    pytest.importorskip("dvc", reason="dvc is an extra")
    environment = os.environ | {"PYTHONPATH": str(installed)}
    subprocess.run([sys.executable, "-m", "bemerc", "init", "p"], cwd=tmp_path, env=environment, check=True)
    dvc = [sys.executable, "-m", "dvc", "repro", "--dry", "--single-item", "sample"]
    answer = subprocess.run(dvc, cwd=tmp_path / "p", capture_output=True, text=True, check=False, env=environment)
    assert answer.returncode == 0, answer.stderr
    assert "python -m pipeline.sample" in answer.stdout
