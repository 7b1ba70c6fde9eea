"""Fingerprints of the training data, which keep results that were fitted on other splits from being used.

Ids hold no split, so that testing on another session of IEMOCAP extracts nothing again; tokens or models of the
earlier splits then fit by their ids, and were fitted on what is now the test split. So tokens, references, models and
predictions carry a fingerprint of train and dev, and each step refuses another one. The test split is not in it: an
utterance that moves there leaves train or dev, and a new clip to predict makes nothing stale.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from bemerc.core.errors import BemercError
from bemerc.core.terminal import printable
from bemerc.corpus.manifest import Manifest


class StaleError(BemercError):
    """Something was made from another manifest, or from other splits of it.

    path     a file or folder
    actual   its fingerprint; "" where it has none
    wanted   the fingerprint of the manifest in use
    command  what makes it again
    """

    def __init__(self, path: Path | str, actual: str, wanted: str, command: str) -> None:
        made = (
            f"was made from another manifest or other splits ({printable(actual[:8])})"
            if actual
            else "says nothing of its manifest"
        )
        super().__init__(
            f"it {made}, and the manifest at hand is {wanted[:8]}. It may have been fitted on what is now the test split. Make "
            f"it anew: {command}",
            path=path,
        )
        self.actual, self.wanted, self.command = actual, wanted, command


def fitted(manifest: Manifest) -> str:
    """Fingerprint (32 hex digits) of the data of calibration, references and align: the ids, dialogues, turns and
    speakers of train and dev. Words and labels do not count."""
    return _digest([[u.id, u.dialogue, u.index, u.speaker, u.split] for u in manifest.utterances if u.split != "test"])


def learned(manifest: Manifest) -> str:
    """Fingerprint (32 hex digits) of the data of merc: as ``fitted``, with words, labels and the label set."""
    turns = [
        [u.id, u.dialogue, u.index, u.speaker, u.split, u.text, u.label]
        for u in manifest.utterances
        if u.split != "test"
    ]
    return _digest([list(manifest.labels), turns])


def is_corpus(manifest: Manifest) -> bool:
    """Whether a model can be fitted on the manifest: clips to predict have neither train nor dev."""
    return any(u.split != "test" for u in manifest.utterances)


def must_match(path: Path | str, actual: Any, wanted: str, command: str) -> None:
    """Raise StaleError unless ``actual``, the fingerprint in ``path``, is ``wanted``, that of the manifest in use."""
    if actual != wanted:
        raise StaleError(path, actual if isinstance(actual, str) else "", wanted, command)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, ensure_ascii=False).encode()).hexdigest()[:32]
