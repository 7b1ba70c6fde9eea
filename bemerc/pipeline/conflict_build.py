"""Manifest and behavior tokens -> conflict items: utterances whose face and voice disagree.

in: data/manifest.jsonl, data/tokens.h5.  out: data/conflict.jsonl
"""

from __future__ import annotations

from pathlib import Path

from bemerc.behavior.tokens.file import open_tokens
from bemerc.core.errors import CorpusError
from bemerc.corpus.conflict import ConflictSet, write_conflict_set
from bemerc.corpus.manifest import read_manifest
from bemerc.evaluate.conflict import build, unimodal
from bemerc.pipeline.project import Project


def run(
    project: Project,
    manifest: Path | None = None,
    tokens: Path | None = None,
    out: Path | None = None,
    *,
    or_empty: bool = False,
) -> tuple[Path, ConflictSet]:
    """Build the conflict items by the section ``conflict``; returns where they were written, and the items.

    manifest, tokens, out  None = those of the project: manifest.jsonl, tokens.h5 and conflict.jsonl in its data folder
    or_empty  of a corpus without conflict, an empty set with the reason in place of the error
    """
    corpus = read_manifest(manifest or project.manifest_file)
    with open_tokens(tokens or project.tokens) as opened:
        try:
            made = build.run(corpus, opened, project.load("conflict", build.Params))
        except (unimodal.ChanceError, CorpusError) as error:
            if not or_empty:
                raise
            made = build.empty(corpus, str(error))
    path = out or project.conflict_items
    write_conflict_set(path, made)
    return path, made
