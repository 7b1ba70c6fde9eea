"""Questions that fit a model: words of utterances that are longer than it takes are cut."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from bemerc.core.terminal import printable
from bemerc.corpus.manifest import Manifest
from bemerc.language.inputs import encoding
from bemerc.language.inputs import prompts as prompt

log = logging.getLogger(__name__)
Asked = Sequence[tuple[prompt.Prompt, tuple[str, ...]]]


def fitting(
    manifest: Manifest,
    ask: Callable[[Manifest], Asked],
    encoder: encoding.Encoder,
    words_of: Mapping[str, str] = MappingProxyType({}),
) -> tuple[Asked, dict[str, str]]:
    """What ``ask`` makes of the manifest, with the words of utterances that are longer than the model takes cut to their first
    half until they fit; and a note for each of those. One endless cue must not cost the others their labels.

    words_of  prompt's id -> the utterance whose words it holds, where that is another

    Raises ExampleError where an utterance does not fit even without words.
    """
    asked, whole = ask(manifest), {u.id: len(u.text) for u in manifest.utterances}
    left = dict(whole)
    while long := [(one, labels) for one, labels in asked if not _fits(one, labels, encoder)]:
        for one, labels in long:
            if left[words_of.get(one.id, one.id)] == 0:
                _encoded(one, labels, encoder)
        for id in {words_of.get(one.id, one.id) for one, _ in long}:
            left[id] //= 2
        cut = tuple(
            u if left[u.id] == whole[u.id] else replace(u, text=u.text[: left[u.id]]) for u in manifest.utterances
        )
        asked = ask(replace(manifest, utterances=cut))
    notes = {
        id: f"only the first {left[id]} of its {whole[id]} letters were read: the model takes {encoder.max_length} tokens"
        for id in whole
        if left[id] < whole[id]
    }
    for id, note in notes.items():
        log.warning("%s: %s.", printable(id), note)
    return asked, notes


def _fits(one: prompt.Prompt, labels: Sequence[str], encoder: encoding.Encoder) -> bool:
    try:
        _encoded(one, labels, encoder)
    except encoding.ExampleError:
        return False
    return True


def _encoded(one: prompt.Prompt, labels: Sequence[str], encoder: encoding.Encoder) -> list[encoding.Example]:
    return encoder.encode_answers(one, [prompt.label_target(label) for label in labels])
