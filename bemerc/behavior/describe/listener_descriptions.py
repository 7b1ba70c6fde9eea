"""Descriptions of the listeners, among those of the utterances and by the same rules: by ``listener_id``."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from bemerc.behavior.describe import rules
from bemerc.behavior.describe.description import Description, read_descriptions, write_descriptions
from bemerc.behavior.describe.references import References
from bemerc.cache import FrameCache, Kind, open_cache
from bemerc.cache.listener import VISUAL, features_of
from bemerc.core.errors import CacheError
from bemerc.corpus.manifest import Manifest, listener_id


def add(
    manifest: Manifest, cache_paths: Mapping[Kind, Path | None], out: Path, references: References, params: rules.Params
) -> None:
    """Add the listeners to the descriptions in ``out``, where a cache keeps other people; else nothing is changed.

    CorpusError where there are no descriptions, DiskError where the disk refuses.
    """
    with ExitStack() as stack:
        paths = {kind: path for kind in VISUAL if (path := cache_paths.get(kind)) is not None}
        caches: dict[Kind, FrameCache] = {
            kind: stack.enter_context(open_cache(path, kind)) for kind, path in paths.items()
        }
        if "face" in caches and caches["face"].others is not None:
            described = _described(manifest, caches, references, params)
            write_descriptions(out, {**read_descriptions(out), **described})


def _described(
    manifest: Manifest, caches: Mapping[Kind, FrameCache], references: References, params: rules.Params
) -> dict[str, Description]:
    descriptions = {}
    for u in manifest.utterances:
        if u.id in caches["face"]:
            try:
                clip = features_of(caches, u.id)
            except CacheError:  # one damaged clip costs itself alone
                continue
            if clip:
                descriptions[listener_id(u.id)] = rules.describe(clip, references, params=params)
    return descriptions
