"""The folder of one corpus -> data/survey/NAME.json, the hash of every file in it.

in: data/NAME.  out: data/survey/NAME.json
"""

from __future__ import annotations

from pathlib import Path

from bemerc.core.progress import bar
from bemerc.corpus import prepare, survey
from bemerc.pipeline.project import Project


def run(project: Project, corpus: str) -> tuple[Path, int]:
    """Hash the files of ``corpus``; returns the file with the hashes, and how many they are."""
    params, folder = project.load("prepare", prepare.Params), project.data / corpus
    out = project.data / "survey" / f"{corpus}.json"
    with bar(f"Surveying {folder}", survey.count(folder), "files") as advance:
        return out, survey.run(params, corpus, folder, out, advance)
