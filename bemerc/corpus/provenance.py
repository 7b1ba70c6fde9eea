"""Which manifest something was made from: fingerprints that say whether what was fitted has seen what is about to be judged.

Ids hold no split, so that testing on another session of IEMOCAP extracts nothing anew; the files of the earlier choice then
look right and were fitted on what is now the test split. So tokens, references, models and predictions carry a fingerprint
of the utterances that were learned from, and each step refuses what was made from others. The test split is in neither
fingerprint: an utterance that moves there leaves train or dev, and a new clip to predict makes nothing stale.
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
    """Something was made from another manifest, or from other splits of it. ``what``: a file or folder; ``found`` and
    ``wanted``: fingerprints, ``found`` empty where it says nothing of its manifest; ``command``: what makes it anew."""

    def __init__(self, what: Path | str, found: str, wanted: str, command: str) -> None:
        made = (
            f"was made from another manifest or other splits ({printable(found[:8])})"
            if found
            else "says nothing of its manifest"
        )
        super().__init__(
            f"{what}: it {made}, and the manifest at hand is {wanted[:8]}. It may have been fitted on what is now the test split. "
            f"Make it anew: {command}"
        )
        self.what, self.found, self.wanted, self.command = what, found, wanted, command


def fitted(manifest: Manifest) -> str:
    """Of what calibration, references and align are fitted on: which utterances train and dev hold, in which dialogues and
    turns, by which speakers. 32 hex digits; words and labels are not read there and do not count."""
    return _digest([[u.id, u.dialogue, u.index, u.speaker, u.split] for u in manifest.utterances if u.split != "test"])


def learned(manifest: Manifest) -> str:
    """Of what merc learns from, 32 hex digits: as ``fitted``, with words, labels and the label set."""
    turns = [
        [u.id, u.dialogue, u.index, u.speaker, u.split, u.text, u.label]
        for u in manifest.utterances
        if u.split != "test"
    ]
    return _digest([list(manifest.labels), turns])


def is_corpus(manifest: Manifest) -> bool:
    """Whether something can be fitted on it: clips to predict have no train and no dev."""
    return any(u.split != "test" for u in manifest.utterances)


def must_match(what: Path | str, found: Any, wanted: str, command: str) -> None:
    """StaleError unless ``what``, which carries the fingerprint ``found``, was made from the manifest that has ``wanted``."""
    if found != wanted:
        raise StaleError(what, found if isinstance(found, str) else "", wanted, command)


def _digest(told: Any) -> str:
    return hashlib.sha256(json.dumps(told, ensure_ascii=False).encode()).hexdigest()[:32]
