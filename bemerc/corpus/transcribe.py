"""Transcribe recordings without subtitles, with a Whisper model of transformers, into WebVTT files.

The model's timestamps become cues, which are read as subtitles are (readers/recording.py); people may correct them by
hand, and a file beside the video takes precedence. A transcript's name holds hashes of the recording and the model, so
each recording is transcribed once. A user's own files are never written to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from bemerc.core import huggingface
from bemerc.core.atomic import write_text
from bemerc.core.errors import BemercError, MachineError, MediaError
from bemerc.core.hashing import model_identity, sha256
from bemerc.core.progress import bar, transformers_quiet
from bemerc.media.audio import read_sound
from bemerc.media.channels import SILENCE_DB
from bemerc.media.container import NoTrackError
from bemerc.media.pitch import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from bemerc.corpus.readers.recording import Cue

Track = Literal["auto"] | int

# Whisper's own defaults for skipping stretches without speech (Radford et al. 2022, section 4.5).
NO_SPEECH = 0.6
LOG_PROB = -1.0


class TranscribeError(BemercError):
    """The speech recogniser cannot be loaded."""


@dataclass(frozen=True)
class Transcripts:
    """Recording -> transcript, and recording -> sentence why it has none."""

    files: Mapping[Path, Path]
    without: Mapping[Path, str]


def run(videos: Sequence[Path], model: str, folder: Path, device: str = "auto", track: Track = "auto") -> Transcripts:
    """Transcribe ``videos`` with the Whisper ``model`` (a folder or a name) into WebVTT files in ``folder``.

    track  sound track: auto, the one with a voice, or a number, from 1

    Recordings with a transcript by this model are skipped, and the model is loaded only if there are others. Raises
    TranscribeError where it cannot be; a recording that cannot be read is listed in ``without``.
    """
    paths = {video: _cue_file(video, model, folder, track) for video in videos}
    left = [video for video, path in paths.items() if path is None or not path.is_file()]
    without: dict[Path, str] = {}
    if left:
        recognise = whisper(model, device)
        with bar("Transcribing", len(left), "recordings") as advance:
            for video in left:
                reason = _transcribe(video, paths[video], recognise, model, track)
                if reason:
                    without[video] = reason
                advance(1)
    files = {v: path for v, path in paths.items() if path is not None and path.is_file() and v not in without}
    # A transcript without words is kept, so that silence is not transcribed again, but it is no subtitle.
    wordless = [v for v, path in files.items() if not _has_words(path)]
    without |= dict.fromkeys(wordless, "No speech was recognised in it.")
    return Transcripts({v: path for v, path in files.items() if v not in without}, without)


def existing(videos: Sequence[Path], model: str, folder: Path, track: Track = "auto") -> dict[Path, Path]:
    """Recording -> its transcript by ``run``, of those that have one with words; nothing is transcribed."""
    paths = {video: _cue_file(video, model, folder, track) for video in videos}
    return {v: p for v, p in paths.items() if p is not None and p.is_file() and _has_words(p)}


def _has_words(transcript: Path) -> bool:
    return "-->" in transcript.read_text(encoding="utf-8")


def _cue_file(video: Path, model: str, folder: Path, track: Track) -> Path | None:
    """The path of the transcript of this recording by this model; None where the recording cannot be read."""
    try:
        content = sha256(video)
    except OSError:
        return None
    of_track = "" if track == "auto" else f" track {track}"
    key = hashlib.sha256(f"{content} {model_identity(model)}{of_track}".encode()).hexdigest()[:12]
    return folder / f"{video.stem}.{key}.vtt"


def _transcribe(
    video: Path, path: Path | None, recognise: Callable[[NDArray[np.float32]], list[Cue]], model: str, track: Track
) -> str | None:
    """Write one transcript; returns why there is none, or None."""
    if path is None:
        return "The file cannot be read."
    try:
        waveform = read_sound(video, track=track).waveform
    except NoTrackError as error:
        return f"{error} So there is nothing to transcribe."
    except (MediaError, MachineError) as error:
        return str(error)
    cues = recognise(waveform) if is_audible(waveform) else []
    write_text(path, webvtt(cues, model))
    return None


def is_audible(waveform: NDArray[np.float32]) -> bool:
    """Whether (N,) samples at 16 kHz are anywhere above SILENCE_DB, by the RMS of tenths of a second. Of silence a
    Whisper would invent words."""
    length = SAMPLE_RATE_HZ // 10
    blocks = waveform[: len(waveform) // length * length].reshape(-1, length)
    loudest = float(np.sqrt((blocks.astype(np.float64) ** 2).mean(axis=1)).max(initial=0.0))
    return loudest > 10 ** (SILENCE_DB / 20)


def webvtt(cues: Iterable[Cue], model: str) -> str:
    """Cues as the text of a WebVTT file, with a note on the model."""
    head = f"WEBVTT\n\nNOTE Written by bemerc with the speech recogniser {' '.join(model.split())}.\n"
    blocks = [f"\n{_clock(c.start_s)} --> {_clock(c.end_s)}\n{_escaped(c.text)}\n" for c in cues]
    return head + "".join(blocks)


def _clock(seconds: float) -> str:
    ms = round(1000 * seconds)
    return f"{ms // 3_600_000:02d}:{ms // 60_000 % 60:02d}:{ms // 1000 % 60:02d}.{ms % 1000:03d}"


def _escaped(text: str) -> str:
    """Text without markup characters and line breaks."""
    return " ".join(text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").split())


# -------------------------------------------------------------------------------------------------------------- Whisper


def whisper(model: str, device: str = "auto") -> Callable[[NDArray[np.float32]], list[Cue]]:
    """Load a Whisper; returns a function from (N,) float32 samples at 16 kHz to cues.

    Raises TranscribeError where it cannot be loaded or is no Whisper.
    """
    import torch
    from transformers import AutoConfig, AutoProcessor, WhisperForConditionalGeneration

    try:
        folder = huggingface.folder_of(model)
        config = huggingface.load(AutoConfig, folder)
        if config.model_type != "whisper":
            raise TranscribeError(
                f"speech is recognised by a Whisper, and this is a {config.model_type} model. "
                "Name another, such as openai/whisper-small.",
                path=model,
                name=config.model_type,
            )
        with transformers_quiet(advice=False):
            processor = huggingface.load(AutoProcessor, folder)
            network = huggingface.load(WhisperForConditionalGeneration, folder, use_safetensors=True).eval()
    except huggingface.PretrainedError as error:
        raise TranscribeError(
            f"the speech recogniser cannot be loaded ({error.reason}). Give a folder that holds a Whisper with its "
            "processor, or a name that this machine can download.",
            path=model,
        ) from error
    where = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    network.to(where)
    return lambda waveform: _recognise(network, processor, waveform)


def _recognise(network: Any, processor: Any, waveform: NDArray[np.float32]) -> list[Cue]:
    """The cues of a recording of any length, in windows of 30 s that start where the last complete cue ended."""
    import torch

    window_s = processor.feature_extractor.chunk_length
    is_long = len(waveform) > window_s * SAMPLE_RATE_HZ
    inputs = processor(
        waveform,
        sampling_rate=SAMPLE_RATE_HZ,
        return_tensors="pt",
        return_attention_mask=True,
        truncation=False,
        padding="longest" if is_long else "max_length",
    ).to(network.device)
    # transformers accepts the thresholds only for recordings of several windows.
    thresholds = (
        {"no_speech_threshold": NO_SPEECH, "logprob_threshold": LOG_PROB, "temperature": 0.0} if is_long else {}
    )
    with torch.inference_mode(), transformers_quiet(advice=False):
        output = network.generate(
            inputs["input_features"].to(network.dtype),
            attention_mask=inputs["attention_mask"],
            return_timestamps=True,
            return_segments=True,
            condition_on_prev_tokens=False,
            **thresholds,
        )
    return cues_of(output["segments"][0], processor.tokenizer, len(waveform) / SAMPLE_RATE_HZ)


def cues_of(segments: Iterable[Mapping[str, Any]], tokenizer: Any, duration_s: float) -> list[Cue]:
    """Whisper's segments (start and end in seconds, token ids) as cues within the recording; those without words go."""
    from bemerc.corpus.readers.recording import Cue

    cues = []
    for segment in segments:
        text = tokenizer.decode(segment["tokens"], skip_special_tokens=True).strip()
        start_s, end_s = float(segment["start"]), min(float(segment["end"]), duration_s)
        if text and end_s > start_s:
            cues.append(Cue(start_s, end_s, text))
    return cues
