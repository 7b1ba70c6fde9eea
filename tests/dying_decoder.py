"""The mean colour again, with a decoder that ends the process at one place of the clip, as a bug in a codec does."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import mean_color
from tests.mean_color import MeanColor, columns

__all__ = ["VERSION", "Params", "columns", "open_extractor"]

VERSION = "dying-decoder/1"


@dataclass(frozen=True)
class Params(mean_color.Params):
    """dies_at_s: where in the clip. opened: a file that gets a line whenever a clip is opened."""

    dies_at_s: float = 0.0
    opened: str = ""


def open_extractor(params: Params) -> MeanColor:
    from bemerc.extraction import video_pass

    module: Any = video_pass

    class Dying(module.Video):  # type: ignore[misc]
        def __iter__(self) -> Iterator[Any]:
            with Path(params.opened).open("a") as log:
                log.write("opened\n")
            for frame in super().__iter__():
                if frame.timestamp_s >= params.dies_at_s:
                    os.kill(os.getpid(), signal.SIGSEGV)
                yield frame

    if not hasattr(module.Video, "dies"):
        Dying.dies = True
        module.Video = Dying
    return MeanColor(params)
