"""Make the embedded sample corpus: conversations of a warped portrait with a synthesised voice, in MELD's shape.

in: nothing.  out: data/sample (three CSV files, clips, and beside them the truth that no model is given); a word of
explanation instead where prepare.corpora does not ask for it
"""

from __future__ import annotations

from collections.abc import Mapping

from bemerc.core import atomic
from bemerc.core.cpu import usable_cores
from bemerc.core.progress import bar
from bemerc.pipeline.project import Project
from bemerc.sample import make, plan


def run(project: Project, workers: int = 0) -> Mapping[str, Mapping[str, float]]:
    """Make the corpus by the section ``sample``.

    Returns the best accuracy that is possible, split -> inputs -> fraction; nothing where ``prepare.corpora`` does not
    name the sample.
    """
    params, folder = project.load("sample", plan.Params), project.data / "sample"
    if "sample" not in project.value("prepare", "corpora", ("sample",)):
        atomic.write_text(folder / "README.txt", "Not made: prepare.corpora does not name it.\n", atomic.PUBLIC)
        return {}
    with bar("Making clips", params.dialogues * params.turns, "clips") as advance:
        return make.make(
            params, folder, workers=workers or usable_cores(), progress=lambda done, total: advance(params.turns)
        )
