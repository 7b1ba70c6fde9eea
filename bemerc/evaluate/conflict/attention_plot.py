"""The picture of a model's attention: how it is divided between voice and face, by layer and head; a map per subset."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bemerc.evaluate import plots

MOST_SIDE = 6.0  # inches


def save(path: Path, maps: Mapping[str, NDArray[np.float32]]) -> None:
    """maps: subset -> (layers, heads) rho; NaN where it is not defined, which stays white."""
    layers, heads = next(iter(maps.values())).shape
    width, height = (min(MOST_SIDE, 0.9 + 0.25 * count) for count in (heads, layers))
    figure = plots.new_figure(len(maps) * (width + 0.4) + 1.2, height + 1.0)
    panels = plots.row_of_axes(figure, len(maps))
    for number, (axes, (name, rho)) in enumerate(zip(panels, maps.items(), strict=True)):
        shown = axes.imshow(rho, cmap="PuOr", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        axes.set_title(name.replace("_", "-"), fontsize=10)
        axes.set_xlabel("head", fontsize=9)
        axes.tick_params(length=0, labelsize=8)
        if number == 0:
            axes.set_ylabel("layer", fontsize=9)
    bar = figure.colorbar(shown, ax=panels, shrink=0.8)
    bar.set_ticks([0, 0.5, 1], labels=["face, body", "both", "voice"], fontsize=8)
    plots.save(figure, path)
