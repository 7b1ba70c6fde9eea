"""A trained network for active speaker detection, the user's own: an ONNX file of the form of Light-ASD and LR-ASD.

Inputs, which are recognised by their shapes: 13 cepstra a hundred times a second, (1, 4 T, 13), and grey crops of a face 25 times
a second, (1, T, 112, 112), from 0 to 255. Output: per video frame either the log odds that this face speaks, or the
logits of not speaking and speaking.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bemerc.core.errors import MachineError
from bemerc.core.terminal import printable
from bemerc.extraction.audio.mfcc import CEPSTRA
from bemerc.extraction.networks.onnx_model import BrokenModelFile, open_session

Array = NDArray[np.float64]

CROP_PX = 112
AUDIO_PER_FRAME = 4
_TRIED = 7  # frames of the run that tries the network
_HOW = "It is named by extract_video.face.network; docs/measurements/target_face.md says how to export one."


class SpeakerNetwork:
    """Opened and tried once; BrokenModelFile where it is no such network."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._session = open_session(path)
        except BrokenModelFile as error:
            raise BrokenModelFile(f"{error} {_HOW}") from error
        self._audio, self._crops = self._inputs()
        outputs = self._session.get_outputs()
        if len(outputs) != 1:
            raise self._broken(f"it has {len(outputs)} outputs and not one, the score per frame")
        noise = np.random.default_rng(0)
        cepstra = noise.normal(0, 5, (AUDIO_PER_FRAME * _TRIED, CEPSTRA))
        crops = noise.integers(0, 256, (_TRIED, CROP_PX, CROP_PX), np.uint8)
        try:
            scores = self._run(cepstra, crops)
        except ValueError as error:
            raise self._broken(str(error)) from error
        if _are_probabilities(scores):
            raise self._broken("it returns probabilities, and logits are needed: export it without the softmax")

    def log_odds(self, cepstra: Array, crops: NDArray[np.uint8]) -> Array:
        """(4 T, 13) and (T, 112, 112) -> (T,) log odds that this face speaks. MachineError where one is no number, or
        ONNX Runtime fails, as it does without memory."""
        try:
            scores = self._run(cepstra, crops)
        except ValueError as error:
            raise MachineError(
                f"{error}. Run the same command again; if it fails each time, export the network anew.", path=self._path
            ) from error
        if not np.isfinite(scores).all():
            raise MachineError("the network returns scores that are no numbers. Export it anew.", path=self._path)
        return np.asarray(scores[:, -1] - (scores[:, 0] if scores.shape[1] == 2 else 0.0))

    def _run(self, cepstra: Array, crops: NDArray[np.uint8]) -> Array:
        """(T, 1) or (T, 2). ValueError where the network fails, or its scores have another form."""
        inputs = {self._audio: cepstra[None].astype(np.float32), self._crops: crops[None].astype(np.float32)}
        try:
            (scores,) = self._session.run(None, inputs)
        except Exception as error:  # ONNX Runtime's errors have no class of their own
            raise ValueError(f"it cannot be run on {len(crops)} frames: {printable(error)}") from error
        scores, frames = np.asarray(scores), len(crops)
        if scores.dtype.kind != "f" or scores.size not in (frames, 2 * frames):
            raise ValueError(
                f"for {frames} frames it returns {scores.dtype} of shape {scores.shape}, not one score each"
            )
        if scores.size == 2 * frames and scores.shape[-1] != 2:
            raise ValueError(f"for {frames} frames it returns the shape {scores.shape}, not ({frames}, 2)")
        return scores.reshape(frames, -1).astype(np.float64)

    def _inputs(self) -> tuple[str, str]:
        """The names of the inputs for sound and for crops."""
        inputs = {len(one.shape): one for one in self._session.get_inputs()}
        if len(self._session.get_inputs()) != 2 or set(inputs) != {3, 4}:
            shapes = printable(", ".join(f"{one.name} {one.shape}" for one in self._session.get_inputs()))
            raise self._broken(
                f"its inputs are {shapes or 'none'}, not (1, 4 T, 13) of sound and (1, T, 112, 112) of crops"
            )
        for rank, wanted in ((3, (1, None, CEPSTRA)), (4, (1, None, CROP_PX, CROP_PX))):
            self._check(inputs[rank], wanted)
        return inputs[3].name, inputs[4].name

    def _check(self, given: Any, wanted: tuple[int | None, ...]) -> None:
        """``None`` in ``wanted``: any length of time. Names in place of numbers stand for any length."""
        name, shape = printable(given.name), printable(given.shape)
        if given.type != "tensor(float)":
            raise self._broken(f"its input {name} is {printable(given.type)}, not tensor(float)")
        for size, length in zip(given.shape, wanted, strict=True):
            if isinstance(size, int) and length is None:
                raise self._broken(f"its input {name} has the fixed shape {shape}: export it with dynamic_axes")
            if isinstance(size, int) and size != length:
                raise self._broken(f"its input {name} has the shape {shape}, not {wanted}")

    def _broken(self, what: str) -> BrokenModelFile:
        return BrokenModelFile(f"{what}. {_HOW}", path=self._path)


def _are_probabilities(scores: Array) -> bool:
    """Whether two columns are shares of one, which no logits of noise are."""
    return scores.shape[1] == 2 and bool(np.allclose(scores.sum(axis=1), 1, atol=1e-3) and (scores >= 0).all())
