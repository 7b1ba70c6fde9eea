"""The example notebook runs from top to bottom, offline, and its outputs are those of this code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "docs" / "notebooks" / "first_look.ipynb"


@pytest.mark.slow
def test_the_notebook_runs_and_says_what_it_shows(tmp_path: Path) -> None:
    for needed in ("cv2", "skimage", "espeakng_loader", "pandas", "matplotlib"):
        pytest.importorskip(needed)
    cells = [cell for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    # As in a notebook the code has no ``if __name__ == "__main__"``: the program is not a file that workers could run anew.
    program = "\n".join("".join(cell["source"]) for cell in cells)
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=surroundings, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    printed = [o for cell in cells for o in cell["outputs"] if o["output_type"] == "stream"]
    sentences = [line for o in printed for line in "".join(o["text"]).splitlines() if "measured in" not in line]
    assert set(sentences) <= set(done.stdout.splitlines())
