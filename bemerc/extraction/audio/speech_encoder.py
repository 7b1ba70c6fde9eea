"""Speech frames by a transformers encoder: wav2vec 2.0, HuBERT, WavLM, or the encoder half of a Whisper.

A long clip is encoded in overlapping windows (windows.py), short ones in batches where that changes nothing; no row
comes from padding, and a row's time is the middle of its field. Models whose first layer normalises over time (group
norm: wav2vec2-base, hubert-base, wavlm-base) would be changed by padding, so they run clip by clip.

A model is a folder, or a name in Hugging Face's cache on this machine: nothing is downloaded, weights are safetensors,
and a repository's own code is never run. This module imports no torch; speech_encoder_torch.py runs the model. The
columns are named by family, weights and layers (``wavlm_3fa9c1_0000``), so that behavior tokens of other ones do not
match.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bemerc.core.errors import BemercError
from bemerc.media.pitch import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from bemerc.extraction.audio.speech_encoder_torch import Encoder

VERSION = "encoder/1"
FAMILIES = ("wav2vec2", "hubert", "wavlm", "whisper")
# Files that decide the numbers besides the weights: the architecture, and how the sound is prepared.
_DECIDE = ("config.json", "preprocessor_config.json", "processor_config.json")
# Clips that a GPU's process takes at once, to have lengths to choose from.
_BATCH_CLIPS = 32


@dataclass(frozen=True)
class Params:
    """Section ``extract_audio.encoder`` of params.yaml.

    name_or_path  a folder with a wav2vec 2.0, HuBERT, WavLM or Whisper, or a name in Hugging Face's cache here
    layers        which layers' outputs to keep, averaged where there are several: 0 is what enters the first layer, -1
                  the last one's output (after the model's closing norm)
    dtype         of the arithmetic; rows are kept with half precision's 11 significant bits in any case
    device        auto: a GPU where there is one
    window_s, overlap_s  longer clips are encoded in windows of this length that overlap by so much; Whisper: 30 s
    batch_s       seconds of sound in a GPU's batch; it changes no number
    """

    name_or_path: str = "models/encoder"
    layers: tuple[int, ...] = (-1,)
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    window_s: float = 15.0
    overlap_s: float = 3.0
    batch_s: float = 60.0

    def check(self) -> Iterator[str]:
        """What is wrong with these values, a sentence each."""
        if not self.layers:
            yield "layers: name at least one, such as [-1] for the last."
        if not 1 <= self.window_s <= 120:
            yield f"window_s: {self.window_s} must lie between 1 and 120."
        if not 0.1 <= self.overlap_s <= self.window_s / 2:
            yield f"overlap_s: {self.overlap_s} must lie between 0.1 and half of window_s, {self.window_s / 2:g}."
        if not 0 < self.batch_s <= 3600:
            yield f"batch_s: {self.batch_s} must be more than 0 and at most 3600."
        if self.dtype == "float16" and self.device == "cpu":
            yield "dtype: float16 wants a GPU; on a CPU take float32 or bfloat16."


@dataclass(frozen=True)
class ResolvedEncoder:
    """A model on this machine, with what the extractor needs of it.

    layers   counted from 0, sorted, each once
    hop      samples from one frame to the next
    depth    how many layers there are
    field    receptive field in samples of one frame of the convolutions, or of one column of a Whisper's spectrogram
    weights  a hash over the files that decide the numbers
    """

    params: Params
    folder: Path
    family: str
    width: int
    layers: tuple[int, ...]
    depth: int
    hop: int
    field: int
    weights: str

    @property
    def rate_hz(self) -> float:
        """Rows per second."""
        return SAMPLE_RATE_HZ / self.hop

    def recorded(self) -> dict[str, Any]:
        """The params for store keys and caches: no name and no path, which change; no device, no batch size."""
        windows = {"window_s": self.window_s, "overlap_s": self.params.overlap_s}
        model = {"encoder": self.family, "depth": self.depth, "width": self.width, "weights": self.weights}
        return {**model, "layers": list(self.layers), "dtype": self.params.dtype, **windows}

    @property
    def window_s(self) -> float:
        """Seconds per window; a Whisper always takes 30 s."""
        return 30.0 if self.family == "whisper" else self.params.window_s


def files(params: Params) -> list[Path]:
    """The files that decide a model's numbers. BemercError says what is not there."""
    folder = _folder(params.name_or_path)
    if not (folder / "config.json").is_file():
        raise BemercError(
            f"{folder} is no model folder, there is no config.json in it.",
            key="extract_audio.encoder.name_or_path",
            missing=True,
        )
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise BemercError(
            f"there are no safetensors weights in {folder}, and pickled ones are not opened "
            "because loading them runs whatever they hold. docs/measurements/voice.md says how to convert a model once.",
            key="extract_audio.encoder.name_or_path",
        )
    return [*weights, *(folder / name for name in _DECIDE if (folder / name).is_file())]


def _folder(name_or_path: str) -> Path:
    """Where a model lies on this machine; nothing is fetched."""
    if Path(name_or_path).is_dir():
        return Path(name_or_path)
    if importlib.util.find_spec("huggingface_hub") is not None and not name_or_path.startswith((".", "/", "~")):
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError

        try:
            config = try_to_load_from_cache(name_or_path, "config.json")
        except HFValidationError:  # more than one slash: a path
            config = None
        if isinstance(config, str):
            return Path(config).parent
    raise BemercError(
        f"'{name_or_path}' is no folder here and is not in Hugging Face's cache on this "
        "machine. bemerc fetches no encoder by itself: name a folder, or fetch one as docs/measurements/voice.md says.",
        key="extract_audio.encoder.name_or_path",
        name=str(name_or_path),
        missing=True,
    )


def resolve(params: Params, hashes: Mapping[Path, str]) -> ResolvedEncoder:
    """The model that ``params`` name; ``hashes`` are SHA-256 of ``files(params)``. BemercError where it cannot be
    used."""
    folder = _folder(params.name_or_path)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        family = str(config.get("model_type"))
    except (OSError, ValueError, AttributeError) as error:
        raise BemercError(f"this cannot be read as a model's config ({error}).", path=folder / "config.json") from None
    if family not in FAMILIES:
        raise BemercError(
            f"{folder} holds a {family} model; supported are {', '.join(FAMILIES)}.",
            key="extract_audio.encoder.name_or_path",
            name=family,
        )
    whisper = family == "whisper"
    depth = int(config.get("encoder_layers" if whisper else "num_hidden_layers", 0))
    width = int(config.get("d_model" if whisper else "hidden_size", 0))
    hop, field = (320, 400) if whisper else _convolutions(config)
    parts = [f"{path.name}:{hashes[path]}" for path in sorted(hashes)]
    weights = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
    return ResolvedEncoder(params, folder, family, width, _layers(params.layers, depth), depth, hop, field, weights)


def _layers(layers: tuple[int, ...], depth: int) -> tuple[int, ...]:
    unknown = [layer for layer in layers if not -depth - 1 <= layer <= depth]
    if unknown:
        raise BemercError(
            f"there is no layer {unknown[0]}; this model has 0 (what enters the first) to {depth}.",
            key="extract_audio.encoder.layers",
        )
    return tuple(sorted({layer % (depth + 1) for layer in layers}))


def _convolutions(config: Mapping[str, Any]) -> tuple[int, int]:
    """Stride and receptive field in samples of wav2vec 2.0's stack of convolutions."""
    hop, field = 1, 1
    for kernel, stride in zip(config["conv_kernel"], config["conv_stride"], strict=True):
        field += (kernel - 1) * hop
        hop *= stride
    return hop, field


def columns(encoder: ResolvedEncoder) -> tuple[str, ...]:
    """The names of the speech columns, in order."""
    mark = hashlib.sha256(json.dumps([encoder.weights, encoder.layers]).encode()).hexdigest()[:6]
    return tuple(f"{encoder.family}_{mark}_{column:04d}" for column in range(encoder.width))


def batch_size(encoder: ResolvedEncoder) -> int:
    """How many clips one process takes at once: more than one on a GPU, which one process then has to itself.

    BemercError where the device cannot do what params ask, or where torch is missing.
    """
    for library in ("torch", "transformers"):
        if importlib.util.find_spec(library) is None:
            raise BemercError(
                f'an encoder needs {library}: pip install "bemerc[encoder]".', key="extract_audio.speech_backend"
            )
    return _BATCH_CLIPS if device(encoder.params) == "cuda" else 1


def device(params: Params) -> str:
    """cpu or cuda. BemercError where it is not there or cannot do the arithmetic."""
    import torch

    has_gpu = torch.cuda.is_available()
    if params.device == "cuda" and not has_gpu:
        raise BemercError("cuda, but torch sees no GPU here. Take auto or cpu.", key="extract_audio.encoder.device")
    device_name = "cuda" if has_gpu and params.device != "cpu" else "cpu"
    if device_name == "cpu" and params.dtype == "float16":
        raise BemercError(
            "float16 wants a GPU, and there is none here. Take float32 or bfloat16.", key="extract_audio.encoder.dtype"
        )
    return device_name


def open_extractor(encoder: ResolvedEncoder) -> Encoder:
    """Load the model: seconds, and its weights' size in memory."""
    from bemerc.extraction.audio.speech_encoder_torch import Encoder

    return Encoder(encoder, columns(encoder), device(encoder.params))
