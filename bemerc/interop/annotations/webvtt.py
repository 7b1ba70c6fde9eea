"""Write subtitles with who speaks and the emotion, as WebVTT: any player shows them."""

from __future__ import annotations

import re
from pathlib import Path

from bemerc.core.atomic import write_text
from bemerc.interop.annotations.recordings import Annotated, Recording


def write(recording: Recording, path: Path) -> None:
    """Write one recording, a cue per utterance: ``<v Ann>words``, and on a second line the predicted emotion with its
    probability, else the label. DiskError where the disk refuses."""
    cues = [_cue(number, one) for number, one in enumerate(recording.utterances, 1)]
    write_text(path, "\n\n".join(["WEBVTT", *cues]) + "\n")


def _cue(number: int, one: Annotated) -> str:
    span, speaker = one.span, _line(one.utterance.speaker)
    voice = f"<v {_escaped(speaker)}>" if speaker else ""
    lines = [
        f"{voice}{_escaped(_line(span.value))}",
        *([f"[{_escaped(_line(emotion))}]"] if (emotion := _emotion(one)) else []),
    ]
    return f"{number}\n{_clock(span.onset_ms)} --> {_clock(span.offset_ms)}\n" + "\n".join(
        line for line in lines if line
    )


def _emotion(one: Annotated) -> str:
    if one.predicted is None:
        return one.utterance.label or ""
    return one.predicted + (f" {one.probability:.2f}" if one.probability is not None else "")


def _line(text: str) -> str:
    """Text on one line, without characters that no text has."""
    return " ".join(re.sub("[\x00-\x1f\x7f\ud800-\udfff]", " ", text).split())


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _clock(time_ms: int) -> str:
    minutes, rest = divmod(time_ms, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"
