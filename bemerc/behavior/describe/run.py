"""Describe every utterance of a manifest from its frame caches: descriptions, events, and train's references.

Utterances are described in the order of their dialogues, since a turn is judged against its speaker's earlier turns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bemerc.behavior.describe import acts, micro_expressions, phrases, rules
from bemerc.behavior.describe.acts import Levels
from bemerc.behavior.describe.clip import Clip
from bemerc.behavior.describe.description import OURS, Description, write_descriptions, write_lines
from bemerc.behavior.describe.references import GENERAL, References, fit_quantiles, fit_reaches, fit_rest
from bemerc.behavior.describe.rules import NOT_LOOKED_FOR, Params, Reasons
from bemerc.behavior.tokens.calibration import earlier_turns
from bemerc.cache import NO_TRACK, Features, FrameCache, Kind, open_cache, same_person
from bemerc.core.errors import CacheError
from bemerc.core.ownership import lines_with, must_be_ours
from bemerc.core.progress import bar
from bemerc.corpus import provenance
from bemerc.corpus.manifest import MODALITIES, Manifest, Modality, Utterance

EVENTS = "events.jsonl"
OUR_EVENTS = lines_with("id", "events")
Caches = Mapping[Modality, FrameCache]


def run(
    manifest: Manifest,
    cache_paths: Mapping[Kind, Path | None],
    out: Path,
    params: Params,
    trained: References | None = None,
) -> References:
    """Write the descriptions of every utterance to ``out``, and events.jsonl beside it; returns the references used.

    trained  the references of a model folder; None: they are fitted on the manifest's train utterances, or general ones are
             used where it has none
    """
    must_be_ours(out, OURS)
    must_be_ours(out.with_name(EVENTS), OUR_EVENTS)
    with ExitStack() as stack:
        paths: dict[Modality, Path | None] = {m: cache_paths.get(m) for m in MODALITIES}  # not the speech encoder's
        caches = {m: stack.enter_context(open_cache(path, m)) for m, path in paths.items() if path is not None}
        references = trained or fit(manifest, caches)
        descriptions, events = dict[str, Description](), dict[str, str]()
        for turn in turns(manifest, caches):
            key = turn.utterance.id
            descriptions[key] = rules.describe(turn.clip, references, turn.earlier, params, turn.reasons)
            if "face" in turn.clip:
                events[key] = micro_expressions.to_line(key, turn.clip)
    write_descriptions(out, descriptions)
    write_lines(out.with_name(EVENTS), [line for _, line in sorted(events.items())])
    return references


@dataclass(frozen=True)
class Turn:
    """An utterance with its frames, why a modality is missing from them, and the levels of its speaker's earlier
    turns."""

    utterance: Utterance
    clip: Clip
    reasons: Reasons
    earlier: Sequence[Levels]


def turns(manifest: Manifest, caches: Caches) -> Iterator[Turn]:
    """Every utterance in the order of the dialogues, as it is to be judged."""
    earlier, levels = earlier_turns(manifest), dict[str, Levels]()
    with bar("describing", len(manifest.utterances), "utterances") as advance:
        for utterance in _in_turn(manifest):
            clip, reasons = read_clip(caches, utterance.id)
            levels[utterance.id] = acts.levels(clip)
            yield Turn(utterance, clip, reasons, [levels[u.id] for u in earlier[utterance.id]])
            advance(1)


def fit(manifest: Manifest, caches: Caches) -> References:
    """References of the train utterances alone; GENERAL where there are none."""
    train = [u for u in _in_turn(manifest) if u.split == "train"]
    if not train:
        return GENERAL
    levels = {u.id: acts.levels(read_clip(caches, u.id)[0]) for u in train}
    rest = fit_rest((u.speaker, levels[u.id]) for u in train)
    earlier = earlier_turns(manifest)
    reached, measures = [], []
    with bar("fitting references", len(train), "utterances") as advance:
        for utterance in train:
            clip, before = read_clip(caches, utterance.id)[0], [levels[u.id] for u in earlier[utterance.id]]
            reached.append(acts.reached(clip, acts.rests(levels[utterance.id], before, References(rest, {}, {}))))
            measures.append(rules.measures(clip))
            advance(1)
    reaches = fit_reaches(phrases.ITEMS, reached)
    return References(rest, reaches, fit_quantiles(measures), provenance.fitted(manifest))


def _in_turn(manifest: Manifest) -> list[Utterance]:
    return [u for dialogue in manifest.dialogues() for u in dialogue.utterances]


def read_clip(caches: Caches, key: str) -> tuple[Clip, Reasons]:
    """One utterance's frames per modality, without other people's bodies; and why a modality is missing from them.

    A clip without such a track has no frames; one that failed, whose rows are damaged, or whose body
    is another person's counts as not measured.
    """
    clip: dict[Modality, Features] = {}
    reasons: dict[Modality, str] = {}
    for modality in MODALITIES:
        try:
            reasons[modality] = _unmeasured(caches.get(modality), key)
            if not reasons[modality]:
                features, reasons[modality] = same_person.read_with_reason(caches, modality, key)
                if not reasons[modality]:
                    clip[modality] = features
        except CacheError as error:  # one damaged clip costs itself alone
            reasons[modality] = str(error)
    return Clip(clip), {modality: reason for modality, reason in reasons.items() if reason}


def _unmeasured(cache: FrameCache | None, key: str) -> str:
    """Why a cache has no measurement of an utterance; empty where it has one."""
    if cache is None:
        return NOT_LOOKED_FOR
    if key not in cache:
        return "The cache does not have it."
    failure = cache.failures.get(key, "")
    if failure:
        return "" if failure in NO_TRACK else failure
    return "" if cache.frames(key) else "No frame of it could be measured."
