"""How likely each moment of a sound is speech: Silero VAD 6.2's network, computed in numpy.

Loudness and pitch alone take music, laughter and the noise of a street for a voice; this network was trained on speech
in many languages and on what is no speech. Its weights are Silero's (MIT; see NOTICE), speech_detector.npz beside this
module, made by fits/speech_detector.py of their package. numpy needs no further runtime, and gives what ONNX
Runtime gives to 2e-5.

The network reads 32 ms at a time and remembers what came before, so a moment's probability never depends on later sound.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

CHUNK = 512  # samples that one probability stands for: 32 ms
_CONTEXT = 64  # samples before a chunk that its network sees too
_WINDOW, _HOP, _BINS = 256, 128, 129  # of the spectrum: four columns a chunk
_STRIDES = (1, 2, 2, 1)  # of the four convolutions over these columns, which leave one
_STATE = 128
_LOUDEST = 100.0
_BLOCK = 512  # chunks computed at a time, so that memory does not grow with the sound


class SpeechDetector:
    """Sound in pieces of any length -> probabilities of speech. One detector per sound: it remembers."""

    def __init__(self) -> None:
        self._weights = weights()
        self._rest = np.empty(0, np.float32)
        self._context = np.zeros(_CONTEXT, np.float32)
        self._hidden = self._cell = np.zeros(_STATE, np.float32)

    def push(self, samples: Float32) -> Float32:
        """(N,) mono at 16 kHz, full scale 1, what follows the sound before -> (C,) probabilities, 0 to 1, one per chunk
        of 512 samples that it completes."""
        # One sample that is no number would stay in its memory for ever.
        finite = np.clip(np.nan_to_num(samples.astype(np.float32, copy=False)), -_LOUDEST, _LOUDEST)
        sound = np.concatenate([self._rest, finite])
        whole = len(sound) // CHUNK * CHUNK
        self._rest = sound[whole:]
        if not whole:
            return np.empty(0, np.float32)
        chunks = sound[:whole].reshape(-1, CHUNK)
        contexts = np.vstack([self._context, chunks[:-1, -_CONTEXT:]])
        self._context = chunks[-1, -_CONTEXT:]
        return self._remember(self._encode(np.hstack([contexts, chunks])))

    def _encode(self, chunks: Float32) -> Float32:
        """(C, 576) samples -> (C, 128) features of each chunk for itself."""
        padded = np.pad(chunks, ((0, 0), (0, _CONTEXT)), mode="reflect")
        windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW, axis=1)[:, ::_HOP]
        waves = windows @ self._weights["spectrum"]
        columns = np.sqrt(waves[..., :_BINS] ** 2 + waves[..., _BINS:] ** 2)
        for layer, stride in enumerate(_STRIDES):
            columns = _convolve(columns, self._weights[f"conv{layer}"], self._weights[f"conv{layer}_bias"], stride)
        return columns[:, 0]

    def _remember(self, features: Float32) -> Float32:
        """(C, 128) features -> (C,) probabilities, by an LSTM that goes on where it stood."""
        gates, recurrent = (
            features @ self._weights["lstm"] + self._weights["lstm_bias"],
            self._weights["lstm_recurrent"],
        )
        states = np.empty((len(features), _STATE), np.float32)
        for number, inputs in enumerate(gates):
            given, forget, new, out = np.split(inputs + self._hidden @ recurrent, 4)
            self._cell = _sigmoid(forget) * self._cell + _sigmoid(given) * np.tanh(new)
            self._hidden = states[number] = _sigmoid(out) * np.tanh(self._cell)
        return _sigmoid(np.maximum(states, 0) @ self._weights["output"] + self._weights["output_bias"])


def speech_probability(samples: NDArray[np.floating], heartbeat: Callable[[], None] = lambda: None) -> Float32:
    """(N,) mono at 16 kHz, full scale 1 -> (ceil(N / 512),) probabilities of speech; the last chunk ends with silence.

    ``heartbeat`` is called between blocks of 16 s.
    """
    detector, step = SpeechDetector(), _BLOCK * CHUNK
    result = [np.empty(0, np.float32)]
    for start in range(0, len(samples), step):
        heartbeat()
        piece = samples[start : start + step].astype(np.float32)
        result.append(detector.push(np.pad(piece, (0, -len(piece) % CHUNK))))
    return np.concatenate(result)


@cache
def weights() -> dict[str, Float32]:
    """The weights, by layer: matrices as (inputs, outputs), the LSTM's gates in the order input, forget, new, output."""
    with np.load(str(files("bemerc.media") / "speech_detector.npz")) as file:
        return {name: file[name] for name in file.files}


def _convolve(columns: Float32, matrix: Float32, bias: Float32, stride: int) -> Float32:
    """(C, T, I) -> (C, T', O): three columns at a time, one of zeros at either end, and a ReLU. ``matrix``: (3 I, O)."""
    padded = np.pad(columns, ((0, 0), (1, 1), (0, 0)))
    steps = np.arange(0, columns.shape[1], stride)
    neighbours = padded[:, steps[:, None] + np.arange(3)].reshape(len(columns), len(steps), -1)
    result: Float32 = np.maximum(neighbours @ matrix + bias, 0)
    return result


def _sigmoid(values: Float32) -> Float32:
    return np.asarray((1 + np.tanh(values / 2)) / 2, np.float32)  # 1 / (1 + exp(-values)), which would overflow
