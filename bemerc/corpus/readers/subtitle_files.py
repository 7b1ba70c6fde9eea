"""Match subtitle files to clips: ``talk.srt`` or ``talk.en.vtt`` beside ``talk.mp4``, one for each clip.

Of several for one clip the first in this order is read, with a finding on the others: without a language before those
with one; complete tracks before forced ones (which hold foreign words only); the original language, if the name says
so, then English; tracks for the deaf last; .vtt before .srt before tables; then by name.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from bemerc.corpus.readers import subtitles
from bemerc.corpus.reading import Finding

# A language (BCP 47, as downloaders write it: en, es-419, zh-Hant-TW, pt_BR, en-orig) or its English or own name, in
# any case.
_CODE = re.compile(r"[a-z]{2,3}(?:[-_][a-z0-9]{2,12}){0,4}", re.IGNORECASE)
_LANGUAGES = frozenset(
    re.findall(
        r"\w+",
        """arabic brazilian bulgarian cantonese catalan chinese chs cht croatian czech danish dansk deutsch dutch
        english español espanol estonian farsi finnish français francais french german greek hebrew hindi hungarian
        icelandic indonesian italian italiano japanese korean latvian lithuanian malay mandarin nederlands norsk
        norwegian persian polish polski portuguese português portugues romanian russian serbian simplified slovak
        slovenian spanish suomi svenska swedish tamil telugu thai traditional turkish türkçe ukrainian urdu
        vietnamese""",
    )
)
_FORCED = frozenset(("forced", "foreign", "signs"))
_FOR_THE_DEAF = frozenset(("sdh", "cc", "hi"))
_QUALIFIERS = _FORCED | _FOR_THE_DEAF | {"auto", "default", "full", "orig", "original", "captions", "subtitles", "asr"}
_MAX_TAGS = 3


def pair(
    clips: Iterable[Path], files: Iterable[Path], suffixes: Sequence[str]
) -> tuple[dict[Path, Path], list[Finding]]:
    """Clip -> its file of cues, among ``files`` with one of ``suffixes``; and findings on the other files of cues and
    on subtitles in formats that are not read."""
    by_name: dict[tuple[Path, str], list[Path]] = {}
    for clip in clips:
        by_name.setdefault((clip.parent, _nfc(clip.stem)), []).append(clip)
    claims: dict[Path, list[tuple[tuple[object, ...], Path]]] = {}
    findings: list[Finding] = []
    for file in files:
        suffix = file.suffix.lower()
        if suffix in suffixes:
            name, tags = _split(file, by_name)
            if name not in by_name:
                reason = "No clip beside it has this name, before a language or without one."
                findings.append(Finding("subtitles", file.as_posix(), reason, "leaves out"))
            for clip in by_name.get(name, ()):
                claims.setdefault(clip, []).append((_rank(file, tags, suffixes), file))
        elif suffix in subtitles.UNREAD:
            reason = f"Subtitles in {suffix} are not read: make SubRip of them, such as with 'ffmpeg -i FILE {file.stem}.srt'."
            findings.append(Finding("subtitles", file.as_posix(), reason, "leaves out"))
    chosen = {clip: min(mine)[1] for clip, mine in claims.items()}
    findings += [
        Finding("subtitles", file.as_posix(), f"{chosen[clip].name} is read for {clip.name} instead.", "leaves out")
        for clip, mine in claims.items()
        for _, file in sorted(mine)[1:]
    ]
    return chosen, findings


def _split(file: Path, clips: Mapping[tuple[Path, str], object]) -> tuple[tuple[Path, str], tuple[str, ...]]:
    """Folder and stem of the clip that a file belongs to, and the tags between stem and suffix, such as a language."""
    stem, tags = _nfc(file.stem), list[str]()
    while (file.parent, stem) not in clips and len(tags) < _MAX_TAGS:
        rest, dot, tag = stem.rpartition(".")
        if not (dot and rest and _is_tag(tag)):
            break
        stem = rest
        tags.append(tag.lower())
    return (file.parent, stem), tuple(tags)


def _is_tag(tag: str) -> bool:
    return tag.lower() in _LANGUAGES | _QUALIFIERS or _CODE.fullmatch(tag) is not None


def _rank(file: Path, tags: Sequence[str], suffixes: Sequence[str]) -> tuple[object, ...]:
    words = {word for tag in tags for word in re.split(r"[-_]", tag)} | set(tags)
    original = bool({"orig", "original"} & words)
    english = any(tag == "english" or re.split(r"[-_]", tag)[0] in ("en", "eng") for tag in tags)
    return (
        bool(tags),
        bool(_FORCED & words),
        not original,
        not english,
        bool(_FOR_THE_DEAF & words),
        suffixes.index(file.suffix.lower()),
        file.name,
    )


def _nfc(name: str) -> str:
    return unicodedata.normalize("NFC", name)
