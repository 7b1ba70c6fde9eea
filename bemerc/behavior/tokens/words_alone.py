"""What stands in for the token file where words alone are read, and nothing was extracted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bemerc.behavior.tokens.calibration import Calibration
from bemerc.behavior.tokens.file import Params, TokenFile, open_tokens
from bemerc.corpus import provenance
from bemerc.corpus.manifest import Manifest, Modality


class NoTokens(TokenFile):
    """A token file that holds no utterance and has no column of any modality; there is nothing on disk."""

    def __init__(self, path: Path, fitted: str, k: int) -> None:
        """``path``: where a token file would be, for messages; ``fitted``: the manifest's fingerprint."""
        self.path, self.hidden, self.k, self.params = path, {}, k, asdict(Params(k))
        self.calibration = Calibration({}, fitted)
        self.ids: tuple[str, ...] = ()
        self.columns: dict[Modality, tuple[str, ...]] = {}
        self.widths: dict[Modality, int] = {}
        self._rows: dict[str, int] = {}
        self._file = -1

    def __reduce__(self) -> Any:
        return NoTokens, (self.path, self.calibration.fitted, self.k)


def open_if_read(path: Path, manifest: Manifest, k: int, modalities: Sequence[Modality]) -> TokenFile:
    """The token file at ``path``; where there is none and no ``modalities`` are read of it, NoTokens of ``k`` tokens.

    A file that is there is opened and checked though nothing of it is read: a stale one is an error later. Raises CacheError as
    open_tokens does.
    """
    return open_tokens(path) if modalities or path.exists() else NoTokens(path, provenance.fitted(manifest), k)
