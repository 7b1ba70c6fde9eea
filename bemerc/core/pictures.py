"""Names of corpora in matplotlib's pictures, which may hold any character, and the pictures as PNG files."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bemerc.core.atomic import PRIVATE, replacing
from bemerc.core.terminal import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def in_picture(text: object, longest: int = 200) -> str:
    """As ``printable``, without formulas: matplotlib takes what is between two dollars for one, and may fail on it."""
    return printable(text, longest).replace("$", r"\$")


def save(figure: Figure, path: Path, mode: int = PRIVATE, **how: Any) -> None:
    """Write a PNG, whole or not at all: the same figure gives the same bytes. ``how``: further arguments of savefig.

    Characters that matplotlib's own font lacks, such as Chinese ones, are boxes; tables beside the picture have them.
    """
    with replacing(path, mode) as file, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+")
        figure.savefig(file, format="png", metadata={"Software": None}, **how)
