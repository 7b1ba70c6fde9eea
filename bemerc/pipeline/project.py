"""A project: the folders in which a corpus becomes a trained model, and the params of its stages."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from bemerc.core import config

T = TypeVar("T")


@dataclass(frozen=True)
class Project:
    """Where the files of a project lie, and what its params file says.

    params   the params file, or the defaults
    data     folder of the manifest, of the caches and of everything made of them
    models   folder of backbone, align and merc/VARIANT
    results  folder of predictions, metrics and report
    cache    folder of face.h5, pose.h5, audio.h5, speech.h5; None = data/cache
    store    folder of the extraction store, from which interrupted runs resume; None = data/store
    """

    params: config.Source = field(default_factory=lambda: config.Document({}, "the defaults"))
    data: Path = Path("data")
    models: Path = Path("models")
    results: Path = Path("results")
    cache: Path | None = None
    store: Path | None = None

    def load(self, section: str, cls: type[T]) -> T:
        """A section of the params file as ``cls``, whose defaults stand for what is missing. Raises ConfigError."""
        return config.load(self.params, section, cls)

    def value(self, section: str, key: str, default: T) -> T:
        """One value of another stage's section, unchecked; ``default`` where it is not there."""
        if section not in config.read_document(self.params):
            return default
        value: T = config.read_section(self.params, section).get(key, default)
        return value

    @property
    def manifest_file(self) -> Path:
        return self.data / "manifest.jsonl"

    @property
    def cache_dir(self) -> Path:
        return self.cache or self.data / "cache"

    @property
    def store_dir(self) -> Path:
        return self.store or self.data / "store"

    @property
    def tokens(self) -> Path:
        return self.data / "tokens.h5"

    @property
    def references(self) -> Path:
        return self.data / "references.json"

    @property
    def conflict_items(self) -> Path:
        return self.data / "conflict.jsonl"

    @property
    def backbone(self) -> Path:
        return self.models / "backbone"

    @property
    def align(self) -> Path:
        return self.models / "align"

    def merc(self, variant: str) -> Path:
        """Folder of a variant's model."""
        return self.models / "merc" / variant

    def evidence(self, variant: str) -> Path:
        """The ledgers of a variant's predictions."""
        return self.results / "evidence" / f"{variant}.jsonl"

    def predictions(self, variant: str) -> Path:
        """A variant's predictions of dev and test."""
        return self.results / "predictions" / f"{variant}.jsonl"
