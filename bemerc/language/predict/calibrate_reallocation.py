"""What attention reallocation needs to know of one model, measured on dev: tau and its band, heads, sinks, strengths.

Nothing here looks at test. Strengths are chosen by dev's conflict items under the condition that consistent ones lose
nothing; the smallest that is no worse than the best by one standard error of their paired difference wins, so that what
is chance stays at 0.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bemerc.core.errors import ModelError
from bemerc.corpus.conflict import ConflictItem, ConflictSet
from bemerc.corpus.manifest import Manifest
from bemerc.language.inputs import variants
from bemerc.language.predict import attention_maps, reallocation_file, score_labels
from bemerc.language.predict.attention_maps import AttentionMaps, Floats, median
from bemerc.language.predict.modes import Mode
from bemerc.language.predict.reallocation_file import Heads, Reallocation
from bemerc.language.predict.score_labels import MercModel

if TYPE_CHECKING:
    from bemerc.behavior.tokens.file import TokenFile

log = logging.getLogger(__name__)
Right = NDArray[np.bool_]

FEWEST = 10  # items of a kind below which a median or a difference says little
EVERYWHERE = 2.0  # a band that rho, between 0 and 1, cannot leave
OFTEN = 0.95  # of a layer's rows in which a sink takes its mass
FLOOR = 0.01  # of spreads: what is smaller is rounding
BETAS, BOOSTS, GAMMAS = (0.25, 0.5, 0.75, 1.0), (0.1, 0.2, 0.3, 0.5), (0.1, 0.2, 0.3, 0.5)


@dataclass(frozen=True)
class Params:
    """How a model is calibrated.

    skip_first, skip_last  layers in which attention is never moved, as far as a shallow model has others (``eligible``)
    share      of the eligible heads that are chosen; at least one
    sink       how many times its even share of the attention on behavior a sink takes
    most       items at most whose attention is kept, for memory
    beta       the strength; None: dev decides
    controls   whether the strengths of the boost and of the text's belief are chosen too
    seed       of the heads drawn for comparison, and of the items where there are too many
    """

    skip_first: int = 2
    skip_last: int = 1
    share: float = 0.25
    sink: float = 3.0
    most: int = 400
    beta: float | None = None
    controls: bool = True
    seed: int = 0


def run(
    model: MercModel,
    manifest: Manifest,
    tokens: TokenFile,
    items: ConflictSet,
    params: Params,
    predict: score_labels.Params,
    described: variants.Described = variants.NOBODY,
) -> Reallocation:
    """Measure on dev how the model's attention is to be moved.

    Raises ModelError where dev has too few items in which face and voice agree, none in which they disagree and the label is
    known (unless ``params.beta`` is given), or the model gives no attention weights.
    """
    agree, differ, recombined = _of_dev(items)
    if len(agree) < FEWEST or (params.beta is None and not differ):
        raise ModelError(
            f"Dev has {len(agree)} items in which face and voice agree and {len(differ)} in which they disagree and the label is "
            f"known; {FEWEST} and some are needed. A larger dev split has more; --beta gives a strength without the latter."
        )
    plain = replace(predict, reallocate="none")
    some = [one for part in (agree, differ, recombined) for one in _some(part, params)]
    maps = attention_maps.measure(model, manifest, tokens, some, plain, described)
    made = _measured(model, maps, agree, differ, recombined, params)

    def scores(how: score_labels.Params) -> dict[str, NDArray[np.float64]]:
        return model.score_items(manifest, tokens, [*agree, *differ], how, described)

    return _with_strengths(model, made, agree, differ, scores, params, plain)


def _of_dev(items: ConflictSet) -> tuple[list[ConflictItem], list[ConflictItem], list[ConflictItem]]:
    """Dev's items: consistent ones, conflicts whose label is known, recombinations of two that do not show the same."""
    dev = items.of("dev")
    own = [item for item in dev if item.way != "recombined" and item.label is not None]
    return (
        [item for item in own if item.subset == "consistent"],
        [item for item in own if item.subset in ("video_aligned", "audio_aligned")],
        [item for item in dev if item.way == "recombined" and item.label_face != item.label_voice],
    )


def _some(items: Sequence[ConflictItem], params: Params) -> list[ConflictItem]:
    if len(items) <= params.most:
        return list(items)
    return [items[i] for i in sorted(np.random.default_rng(params.seed).permutation(len(items))[: params.most])]


def _measured(
    model: MercModel,
    maps: AttentionMaps,
    agree: Sequence[ConflictItem],
    differ: Sequence[ConflictItem],
    recombined: Sequence[ConflictItem],
    params: Params,
) -> Reallocation:
    """Everything but the strengths."""
    left_out = sinks(maps, params.sink)
    rho = maps.rho(left_out)
    agreeing = {item.id for item in agree}
    consistent = np.array([maps.ids[n] in agreeing for n in maps.item])
    if (consistent & ~maps.inner).sum() < FEWEST:
        raise ModelError(f"Behavior was measured in fewer than {FEWEST} of dev's items in which face and voice agree.")
    by_position = [_middle_and_band(rho[consistent & at]) for at in (~maps.inner, maps.inner)]
    if not (consistent & maps.inner).any():
        by_position[1] = by_position[0]
    tau, band = (np.stack([one[n] for one in by_position], -1) for n in (0, 1))
    layers = eligible(rho.shape[1], params.skip_first, params.skip_last)
    moved, by = movement(maps.at_the_end(rho), agree, differ, recombined)
    chosen = best_heads(moved, layers, params.share)
    how: dict[str, Any] = {
        "seed": params.seed,
        "items": {"consistent": len(agree), "conflict": len(differ), "recombined": len(recombined)},
        "layers": list(layers),
        "heads_by": by,
        "movement": {
            f"{layer}.{head}": round(float(moved[layer, head]), 4) for layer, of in chosen.items() for head in of
        },
    }
    fingerprint = reallocation_file.fingerprint(model.folder, model.metadata)
    drawn = random_heads(chosen, layers, rho.shape[2], params.seed)
    return Reallocation(fingerprint, maps.k, tau, band, chosen, drawn, left_out, 0.0, 0.0, 0.0, how)


def sinks(maps: AttentionMaps, times: float) -> dict[int, tuple[int, ...]]:
    """Layer -> slots that take ``times`` their even share of the attention on behavior, in every head, whatever stands there."""
    masses = maps.masses[~maps.inner]
    whole = (masses > 0).all((1, 2, 3))  # with gaps, shares of what is there are larger
    masses = masses[whole] if whole.any() else masses
    shares = masses / np.maximum(masses.sum(-1, keepdims=True), 1e-12)
    takes = (shares * shares.shape[-1] >= times).mean(0) >= OFTEN  # (layers, heads, slots)
    sinking = {layer: tuple(int(slot) for slot in np.flatnonzero(of.all(0))) for layer, of in enumerate(takes)}
    return {layer: slots for layer, slots in sinking.items() if slots}


def _middle_and_band(rho: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """rho (P, layers, heads) -> its median, and twice its median absolute deviation; where there is none, nothing moves."""
    if not len(rho):
        return np.full(rho.shape[1:], 0.5), np.full(rho.shape[1:], EVERYWHERE)
    tau = median(rho)
    band = 2 * median(np.abs(rho - tau))
    none = np.isnan(tau)
    return np.where(none, 0.5, tau).astype(np.float64), np.where(none, EVERYWHERE, band).astype(np.float64)


def eligible(layers: int, skip_first: int, skip_last: int) -> range:
    """The layers in which attention may be moved: neither the first two nor the last.

    A shallow model gives up half of what is before its last layer at most, and never all: of three layers the middle one.

    >>> [list(eligible(n, 2, 1)) for n in (1, 2, 3, 4, 5, 8)]
    [[0], [0], [1], [1, 2], [2, 3], [2, 3, 4, 5, 6]]
    """
    stop = max(1, layers - skip_last)
    return range(min(skip_first, stop // 2), stop)


def movement(
    rho: Mapping[str, Floats],
    agree: Sequence[ConflictItem],
    differ: Sequence[ConflictItem],
    recombined: Sequence[ConflictItem],
) -> tuple[Floats, str]:
    """(layers, heads): how far rho moves with what face and voice show, in spreads of the consistent items; and by which items.

    Between conflicts in which the voice is right and those in which the face is, where there are enough of both; else by
    how much another face moves the rho of an utterance; else by the spread alone.
    """
    spread = np.maximum(_spread([rho[item.id] for item in agree if item.id in rho]), FLOOR)
    sided = [
        [rho[item.id] for item in differ if item.subset == subset and item.id in rho]
        for subset in ("audio_aligned", "video_aligned")
    ]
    if min(map(len, sided)) >= FEWEST:
        voice, face = (_mean(rows) for rows in sided)
        return np.nan_to_num(np.abs(voice - face) / spread), "subsets"
    swapped = [rho[item.id] - rho[item.voice_of] for item in recombined if item.id in rho and item.voice_of in rho]
    if len(swapped) >= FEWEST:
        return np.nan_to_num(_mean([np.abs(of) for of in swapped]) / spread), "recombined"
    return np.nan_to_num(spread), "spread"


def _mean(rows: Sequence[Floats]) -> Floats:
    """Over what is no NaN; 0 where everything is."""
    stacked = np.stack(rows)
    count = (~np.isnan(stacked)).sum(0)
    return np.asarray(np.nan_to_num(stacked).sum(0) / np.maximum(count, 1), np.float32)


def _spread(rows: Sequence[Floats]) -> Floats:
    """Standard deviation over what is no NaN."""
    stacked = np.stack(rows)
    return np.sqrt(_mean([np.square(of) for of in stacked - _mean(rows)]))


def best_heads(moved: Floats, layers: Sequence[int], share: float) -> Heads:
    """Layer -> the ``share`` of the eligible heads with the largest ``moved`` (layers, heads); at least one."""
    ordered = sorted(
        ((layer, head) for layer in layers for head in range(moved.shape[1])), key=lambda at: (-moved[at], at)
    )
    return _by_layer(ordered[: max(1, round(share * len(ordered)))])


def random_heads(chosen: Heads, layers: Sequence[int], heads: int, seed: int) -> Heads:
    """As many heads as were chosen, drawn among the other eligible ones; where those are too few, among all."""
    taken = {(layer, head) for layer, of in chosen.items() for head in of}
    everything = [(layer, head) for layer in layers for head in range(heads)]
    others = [at for at in everything if at not in taken]
    pool = others if len(others) >= len(taken) else everything
    return _by_layer([pool[i] for i in np.random.default_rng(seed).permutation(len(pool))[: len(taken)]])


def _by_layer(heads: Sequence[tuple[int, int]]) -> Heads:
    return {
        layer: tuple(sorted(head for at, head in heads if at == layer)) for layer in sorted({at for at, _ in heads})
    }


# ----------------------------------------------------------------------------------------------------------- strengths


def _with_strengths(
    model: MercModel,
    made: Reallocation,
    agree: Sequence[ConflictItem],
    differ: Sequence[ConflictItem],
    scores: Callable[[score_labels.Params], dict[str, NDArray[np.float64]]],
    params: Params,
    plain: score_labels.Params,
) -> Reallocation:
    """``made`` with the strengths that dev chooses, and dev's numbers at each."""
    items, labels = [*agree, *differ], model.labels
    gold = np.array([labels.index(item.label) if item.label in labels else -1 for item in items])
    agreeing = np.arange(len(items)) < len(agree)
    groups = [agreeing] + [np.array([item.subset == s for item in items]) for s in ("video_aligned", "audio_aligned")]

    def at(mode: Mode, how: Reallocation) -> NDArray[np.float64]:
        model.reallocation = how
        of_items = scores(replace(plain, reallocate=mode))
        return np.stack([of_items[item.id] for item in items])

    none = at("none", made)
    betas = BETAS if params.beta is None else (params.beta,)
    tried = {"beta": {beta: at("reallocate", replace(made, beta=beta)) for beta in betas}}
    if params.controls and differ:
        tried["boost"] = {boost: at("presoftmax", replace(made, boost=boost)) for boost in BOOSTS}
        # log p - g log q is linear in g.
        whole = at("text_prior", replace(made, gamma=1.0))
        tried["gamma"] = {gamma: (1 - gamma) * none + gamma * whole for gamma in GAMMAS}
    right = {
        name: {strength: of.argmax(1) == gold for strength, of in {0.0: none, **grid}.items()}
        for name, grid in tried.items()
    }
    dev = {
        name: {f"{strength:g}": [_accuracy(of, group) for group in groups] for strength, of in grid.items()}
        for name, grid in right.items()
    }
    chosen = {name: choose(grid, groups) for name, grid in right.items() if name != "beta" or params.beta is None}
    log.info("Strengths %s of %s", chosen, dev)
    return replace(
        made,
        beta=chosen.get("beta", params.beta or 0.0),
        boost=chosen.get("boost", 0.0),
        gamma=chosen.get("gamma", 0.0),
        made={**made.made, "dev": dev},
    )


def _accuracy(right: Right, group: Right) -> float | None:
    return round(float(right[group].mean()), 6) if group.any() else None


def choose(tried: Mapping[float, Right], groups: Sequence[Right]) -> float:
    """The strength: tried (N,) whether each item is named right at it, 0.0 among them; groups (N,) consistent, video- and
    audio-aligned items.

    Of those at which consistent items lose nothing, the smallest whose mean accuracy over the conflict groups is behind the
    best by no more than one standard error of the paired difference.
    """
    consistent, *conflicts = groups
    conflicts = [group for group in conflicts if group.any()]
    kept = sorted(value for value, right in tried.items() if right[consistent].sum() >= tried[0.0][consistent].sum())
    best = max(kept, key=lambda value: (float(np.mean([tried[value][group].mean() for group in conflicts])), -value))
    for value in kept:
        behind = [tried[best][group].astype(float) - tried[value][group] for group in conflicts]
        error = np.sqrt(sum(of.var() / max(len(of) - 1, 1) for of in behind)) / len(behind)
        if float(np.mean([of.mean() for of in behind])) <= error * (1 + 1e-9):
            return value
    return best
