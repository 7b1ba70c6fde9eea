"""How much attention goes to voice, face and body where labels are scored, by layer and head: measured, not changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bemerc.core.errors import ModelError
from bemerc.corpus.conflict import ConflictItem
from bemerc.corpus.manifest import MODALITIES, Manifest
from bemerc.language.inputs import variants
from bemerc.language.model.attention_rows import Rows, Rule
from bemerc.language.predict import reallocate
from bemerc.language.predict.score_labels import MercModel, Params

if TYPE_CHECKING:
    from bemerc.behavior.tokens.file import TokenFile

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class AttentionMaps:
    """Attention on behavior tokens at P positions where labels are scored.

    masses  (P, layers, heads, 3 * K) on each slot (modality as in MODALITIES * K + token); 0 where nothing was measured
    item    (P,) index into ``ids``
    inner   (P,) whether the position lies inside a label; else at the end of a prompt
    ids     of the items
    """

    masses: Floats
    item: NDArray[np.int64]
    inner: NDArray[np.bool_]
    ids: tuple[str, ...]

    @property
    def k(self) -> int:
        """Behavior tokens per modality."""
        return int(self.masses.shape[3]) // len(MODALITIES)

    def rho(self, sinks: Mapping[int, Sequence[int]] | None = None) -> Floats:
        """(P, layers, heads) the voice's share of the attention on behavior; NaN where a side is absent. ``sinks``: left out."""
        of_layers = [
            reallocate.share(
                torch.from_numpy(self.masses[:, layer]) @ reallocate.sides(self.k, (sinks or {}).get(layer, ()))[:-1]
            )
            for layer in range(self.masses.shape[1])
        ]
        return np.asarray(torch.stack(of_layers, 1).numpy(), np.float32)

    def at_the_end(self, values: Floats) -> dict[str, Floats]:
        """Item's id -> (layers, heads) of ``values`` (P, layers, heads) at the end of its prompt."""
        return {self.ids[self.item[p]]: values[p] for p in np.flatnonzero(~self.inner)}


class _Recorder(Rule):
    """Keeps what it sees of every row, and changes nothing."""

    def __init__(self) -> None:
        self.masses: list[list[Tensor]] = []
        self.of: list[tuple[str, bool]] = []

    def heads(self, layer: int, count: int) -> Tensor | None:
        return torch.arange(count)

    def change(self, layer: int, weights: Tensor, rows: Rows) -> Tensor | None:
        real = rows.real.to(weights.device)
        if layer == 0:
            numbers = zip(rows.example[rows.real].tolist(), rows.inner[rows.real].tolist(), strict=True)
            self.of += [(rows.keys[example][0], inner) for example, inner in numbers]
            self.masses.append([])
        slots = torch.zeros(*weights.shape[:3], len(MODALITIES) * rows.k + 1, device=weights.device)
        slots.scatter_add_(3, rows.slot.to(weights.device)[:, None, None].expand_as(weights), weights)
        self.masses[-1].append(slots.transpose(1, 2)[real][..., :-1].cpu())
        return None

    def maps(self) -> AttentionMaps:
        if not self.of:
            raise ModelError(
                "Of no item was anything measured that this model reads: there is no attention to look at."
            )
        ids = tuple(sorted({id for id, _ in self.of}))
        number = {id: n for n, id in enumerate(ids)}
        masses = torch.cat([torch.stack(batch, 1) for batch in self.masses]).numpy()
        return AttentionMaps(
            masses, np.array([number[id] for id, _ in self.of]), np.array([inner for _, inner in self.of]), ids
        )


def measure(
    model: MercModel,
    manifest: Manifest,
    tokens: TokenFile,
    items: Sequence[ConflictItem],
    params: Params,
    described: variants.Described = variants.NOBODY,
) -> AttentionMaps:
    """The attention of ``model`` on behavior, where it scores its labels for ``items``; of items without behavior, nothing.

    Raises ModelError where the model gives no attention weights.
    """
    model.must_give_rows()
    recorder = _Recorder()
    model.score_items(manifest, tokens, items, params, described, recorder)
    return recorder.maps()


def by_subset(maps: AttentionMaps, items: Sequence[ConflictItem]) -> dict[str, Floats]:
    """Subset -> (layers, heads) median of rho at the end of its items' prompts; NaN where it is not defined for any."""
    ends = maps.at_the_end(maps.rho())
    subsets: dict[str, list[Floats]] = {}
    for item in items:
        if item.id in ends:
            subsets.setdefault("recombined" if item.way == "recombined" else item.subset, []).append(ends[item.id])
    return {name: median(np.stack(rows)) for name, rows in sorted(subsets.items())}


def median(values: Floats) -> Floats:
    """(N, ...) -> (...), over what is no NaN; NaN where everything is."""
    ordered, count = np.sort(values, axis=0), (~np.isnan(values)).sum(0)
    low, high = (np.take_along_axis(ordered, np.maximum(at, 0)[None], 0)[0] for at in ((count - 1) // 2, count // 2))
    return np.where(count > 0, (low + high) / 2, np.nan).astype(np.float32)
