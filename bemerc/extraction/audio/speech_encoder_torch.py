"""Running a speech encoder: waveforms in, rows of one layer (or the mean of several) out.

Apart from speech_encoder.py so that nothing imports torch before a worker needs it. Batching never changes the rows:
padding is masked where a model was trained with masks; other sounds run alone or, in a Whisper, at its one length. On a
GPU a batch is also filled up to its full size, since the last bits of a product depend on its shape.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from transformers import AutoFeatureExtractor

from bemerc.cache import Features
from bemerc.core import huggingface
from bemerc.core.errors import BemercError, MediaError
from bemerc.core.progress import transformers_quiet
from bemerc.extraction.audio.windows import batches, round_to_half, split, stitch
from bemerc.media.pitch import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from bemerc.extraction.audio.speech_encoder import ResolvedEncoder

Sound = NDArray[np.float32]

_CLASSES = {"wav2vec2": "Wav2Vec2Model", "hubert": "HubertModel", "wavlm": "WavLMModel", "whisper": "WhisperModel"}
# Lengths of one bucket are padded to the same whole number of steps, so that a GPU sees few shapes.
_STEP = SAMPLE_RATE_HZ


class Encoder:
    """An audio extractor (bemerc.extraction.extractor_pool): ``clip(waveform)``, or ``clips(waveforms)`` for batches.

    ``heartbeat`` is called between batches. ``batched``: whether sounds share batches, where that changes nothing; None
    = on a GPU.
    """

    def __init__(
        self, encoder: ResolvedEncoder, columns: tuple[str, ...], device: str, batched: bool | None = None
    ) -> None:
        self.encoder, self.columns = encoder, columns
        self.heartbeat: Callable[[], None] = lambda: None
        self._batched = torch.device(device).type == "cuda" if batched is None else batched
        self._prepare, network = _load(encoder)
        self._network = network.to(device)
        self._stack = network.layers if encoder.family == "whisper" else network.encoder.layers
        self._whisper = encoder.family == "whisper"
        self._masked = not self._whisper and network.config.feat_extract_norm == "layer"

    def reset(self) -> None:
        """Nothing: no state is carried from clip to clip."""

    def clip(self, waveform: Sound) -> Features:
        """(N,) float32 mono at 16 kHz -> one row per hop; none where N is less than one frame's field (400).

        MediaError where the arithmetic overflowed.
        """
        features = self.clips([waveform])[0]
        if isinstance(features, MediaError):
            raise features
        return features

    def clips(self, waveforms: Sequence[Sound]) -> list[Features | MediaError]:
        """The features of each sound, or why it has none, the same as alone but for float32's last digits."""
        sounds = [self._normalised(np.nan_to_num(waveform)) for waveform in waveforms]
        overlap = round(self.encoder.params.overlap_s * self.encoder.rate_hz) * self.encoder.hop
        cuts = [split(len(sound), self._window, overlap, self.encoder.hop) for sound in sounds]
        windows = [(i, w) for i, sound in enumerate(sounds) if len(sound) >= self.encoder.field for w in cuts[i]]
        frames: list[list[tuple[int, NDArray[np.float32]]]] = [[] for _ in sounds]
        with _exact(self._network.device):
            rows = self._encode([sounds[i][window.start : window.end] for i, window in windows])
        for (i, window), values in zip(windows, rows, strict=True):
            frames[i].append((window.start // self.encoder.hop, values))
        return [self._features(len(sound), parts) for sound, parts in zip(sounds, frames, strict=True)]

    def _features(self, samples: int, parts: list[tuple[int, NDArray[np.float32]]]) -> Features | MediaError:
        frames = self._frames(samples) if parts else 0
        times_s = (np.arange(frames) * self.encoder.hop + self._first) / SAMPLE_RATE_HZ
        if not parts:
            return Features(np.empty((0, self.encoder.width), np.float32), times_s, self.columns)
        values = round_to_half(stitch(parts, frames))
        if not np.isfinite(values).all():
            dtype = self.encoder.params.dtype
            return MediaError(f"The encoder's numbers overflowed in {dtype}. Take extract_audio.encoder.dtype float32.")
        return Features(values, times_s, self.columns)

    @property
    def _window(self) -> int:
        """Samples of a window, whole hops."""
        return round(self.encoder.window_s * self.encoder.rate_hz) * self.encoder.hop

    @property
    def _first(self) -> float:
        """The middle of the first frame, in samples: a Whisper's spectrogram is centred on its first sample."""
        return 0.0 if self._whisper else self.encoder.field / 2

    def _frames(self, samples: int) -> int:
        """Frames whose middle (of a Whisper) or whole field (of the others) lies in ``samples`` samples."""
        if self._whisper:
            return -(-samples // self.encoder.hop)
        return (samples - self.encoder.field) // self.encoder.hop + 1

    def _normalised(self, sound: Sound) -> Sound:
        """Zero mean and unit variance over the whole clip where the model was trained so; windows then share one
        scale."""
        if self._whisper or not self._prepare.do_normalize or not len(sound):
            return sound.astype(np.float32)
        wide = sound.astype(np.float64)
        return np.asarray((wide - wide.mean()) / np.sqrt(wide.var() + 1e-7), np.float32)

    # ---------------------------------------------------------------------------------------------------------- batches

    def _encode(self, sounds: list[Sound]) -> list[NDArray[np.float32]]:
        """The frames (T_i, D) of windows."""
        frames: list[NDArray[np.float32]] = [np.empty((0, 0), np.float32)] * len(sounds)
        for indices in batches(
            [self._width(i, sound) for i, sound in enumerate(sounds)], list(map(self._max_batch, sounds))
        ):
            self.heartbeat()
            batch = [sounds[index] for index in indices]
            filled = batch + [batch[0]] * (self._max_batch(batch[0]) - len(batch))
            with torch.inference_mode(), _room(self.encoder.params.batch_s):
                values = (self._log_mel(filled) if self._whisper else self._waves(filled)).cpu().numpy()
            for index, sound, rows in zip(indices, batch, values, strict=False):
                frames[index] = rows[: self._frames(len(sound))]
        return frames

    def _width(self, index: int, sound: Sound) -> Hashable:
        """Sounds of one width may share a batch: a Whisper's all, masked ones of one bucket, others none."""
        if self._whisper:
            return "window"
        return _bucket(sound) if self._masked else ("alone", index)

    def _max_batch(self, sound: Sound) -> int:
        """How many sounds as wide as this one share a batch. A CPU gains nothing by it, and memory would grow."""
        if not self._batched or not (self._whisper or self._masked):
            return 1
        return max(
            1, int(self.encoder.params.batch_s * SAMPLE_RATE_HZ) // (self._window if self._whisper else _bucket(sound))
        )

    def _waves(self, sounds: list[Sound]) -> torch.Tensor:
        masked = self._masked and self._batched
        width = _bucket(sounds[0]) if masked else len(sounds[0])
        values, mask = np.zeros((len(sounds), width), np.float32), np.zeros((len(sounds), width), np.int64)
        for row, sound in enumerate(sounds):
            values[row, : len(sound)], mask[row, : len(sound)] = sound, 1
        options = {"attention_mask": torch.from_numpy(mask).to(self._network.device)} if masked else {}
        return self._layers(values, options)

    def _log_mel(self, sounds: list[Sound]) -> torch.Tensor:
        log_mel = self._prepare([*sounds], sampling_rate=SAMPLE_RATE_HZ, return_tensors="np")["input_features"]
        return self._layers(log_mel, {})

    def _layers(self, inputs: NDArray[np.float32], options: dict[str, torch.Tensor]) -> torch.Tensor:
        """(B, T, H) float32: the mean of the layers that were asked for."""
        kept: dict[int, torch.Tensor] = {}
        hooks = [self._stack[0].register_forward_pre_hook(lambda _, args: _keep(kept, 0, args))]
        for number, layer in enumerate(self._stack, start=1):
            hooks.append(layer.register_forward_hook(lambda _, __, out, number=number: _keep(kept, number, out)))
        try:
            into = torch.from_numpy(inputs).to(self._network.device, self._network.dtype)
            last = self._network(into, **options).last_hidden_state
        finally:
            for hook in hooks:
                hook.remove()
        if self.encoder.depth in self.encoder.layers:
            kept[self.encoder.depth] = last
        total = torch.stack([kept[layer].float() for layer in self.encoder.layers])
        return total.mean(0)


def _bucket(sound: Sound) -> int:
    """Samples, up to a whole number of steps."""
    return -(-len(sound) // _STEP) * _STEP


def _keep(kept: dict[int, torch.Tensor], number: int, states: Any) -> None:
    """A layer gives its states alone, or first of several things."""
    kept[number] = states[0] if isinstance(states, tuple) else states


@contextlib.contextmanager
def _exact(device: torch.device) -> Iterator[None]:
    """Deterministic float32 arithmetic inside the block; the process's settings are restored after it."""
    cudnn = torch.backends.cudnn
    threads, before = torch.get_num_threads(), (cudnn.allow_tf32, cudnn.deterministic)
    if device.type == "cpu":
        torch.set_num_threads(1)  # the workers are the parallel part; and sums split among threads differ in bits
    cudnn.allow_tf32, cudnn.deterministic = False, True
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        cudnn.allow_tf32, cudnn.deterministic = before


@contextlib.contextmanager
def _room(batch_s: float) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError:
        raise BemercError(
            f"The GPU has no room for {batch_s:g} s of sound at once. Lower extract_audio.encoder.batch_s (or window_s)."
        ) from None


# -------------------------------------------------------------------------------------------------------------- loading


def _load(encoder: ResolvedEncoder) -> tuple[Any, Any]:
    """The feature extractor and the network. BemercError where they cannot be loaded or weights are missing."""
    options = {"dtype": getattr(torch, encoder.params.dtype), "use_safetensors": True, "output_loading_info": True}
    try:
        with transformers_quiet():
            prepare = huggingface.load(AutoFeatureExtractor, encoder.folder)
            network, loading_info = huggingface.load(
                getattr(transformers, _CLASSES[encoder.family]), encoder.folder, **options
            )
    except huggingface.PretrainedError as error:
        raise BemercError(
            f"no {encoder.family} could be loaded from {encoder.folder} ({error.reason}).",
            key="extract_audio.encoder.name_or_path",
        ) from error
    _check(encoder, prepare, loading_info["missing_keys"])
    if encoder.family == "whisper":
        network = network.encoder
    else:
        network.adapter = None  # it would shorten the last layer's output
    stack = network if encoder.family == "whisper" else network.encoder
    stack.layers = stack.layers[
        : max(1, *encoder.layers)
    ]  # what lies above the highest layer asked for is not computed
    return prepare, network.eval().requires_grad_(False)


def _check(encoder: ResolvedEncoder, prepare: Any, missing: Iterable[str]) -> None:
    """BemercError where weights are missing: transformers would fill them with random numbers."""
    lacking = sorted(name for name in missing if not name.startswith("decoder.") and "masked_spec_embed" not in name)
    if lacking:
        raise BemercError(
            f"{len(lacking)} of the encoder's weights are not in its files (such as {lacking[0]}). Save it again.",
            path=encoder.folder,
        )
    if prepare.sampling_rate != SAMPLE_RATE_HZ:
        raise BemercError(
            f"this encoder takes {prepare.sampling_rate} Hz, and sound is read at {SAMPLE_RATE_HZ} Hz. Name another.",
            path=encoder.folder,
        )
