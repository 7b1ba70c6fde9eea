"""How the clips of a folder of features were measured: ``bemerc describe`` and ``predict``, which measure what is not
measured yet, do so as ``bemerc extract`` did. Else its caches would be made anew, of another face, say."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bemerc.core import atomic, config
from bemerc.core.errors import BemercError, ConfigError
from bemerc.core.jsonfile import JsonError, read_json
from bemerc.corpus.manifest import Manifest
from bemerc.corpus.readers import recording

log = logging.getLogger(__name__)
FILE = "settings.json"
_SECTIONS = ("extract_video", "extract_audio")


@dataclass(frozen=True)
class Settings:
    """The sections of the params that say how clips are measured, and the Whisper that wrote down what is said.

    faults  what of the sections holds no longer: a file that has gone, a key of another release
    """

    sections: Mapping[str, Mapping[str, Any]]
    asr: str | None
    faults: tuple[str, ...]


def remember(folder: Path, params: config.Source, asr: str | None) -> None:
    """Leave in ``folder``, beside the caches, how its clips are measured. ConfigError where the params are wrong, or a
    file of that name is there that is not bemerc's; DiskError."""
    sections = {name: config.to_mapping(config.load(params, name, cls)) for name, cls in _classes().items()}
    path = folder / FILE
    _held(path)
    with atomic.disk(path):
        folder.mkdir(parents=True, exist_ok=True)
        atomic.write_text(path, json.dumps({**sections, "asr": asr}, indent=1, ensure_ascii=False) + "\n")


def as_before(folder: Path, params: config.Source, asr: str | None) -> tuple[config.Source, str | None]:
    """Params and Whisper as those of ``folder`` were; settings of the command line, and a Whisper that is named now,
    come first. Where a params file says otherwise, a warning says what is kept to. ConfigError where what was left there
    cannot be read or kept to: without it everything would be measured anew, in another way."""
    if (before := _read(folder)) is None:
        return params, asr
    stated = config.read_document(params)
    again = config.Document({**stated, **before.sections}, str(params))
    if isinstance(params, config.Document):
        again.set([one for one in params.settings if one.partition(".")[0].strip() in _SECTIONS])
        again.settings, again.unread = params.settings, params.unread
    if before.faults and not _holds(again):
        way = "Run `bemerc extract` again, with the options that it had: it writes this file anew."
        raise ConfigError("\n".join((*before.faults, way)))
    if changed := list(_differences(stated, again)):
        log.warning(
            "%s was measured with %s, and that is kept to; `bemerc extract` measures it as %s says.",
            folder,
            ", ".join(changed),
            params,
        )
    return again, asr or before.asr


def read_clips(video_dir: Path, features: Path) -> Manifest:
    """The utterances of a folder of clips, or of a single one, with the words that a Whisper wrote down when they were
    measured into ``features``."""
    from bemerc.corpus import transcribe

    before, transcripts = None, dict[Path, Path]()
    try:
        before = _read(features)
    except BemercError as error:
        log.warning("%s Until then the words that --asr wrote down are missing.", error)
    if before is not None and before.asr is not None and (written := features / "transcripts").is_dir():
        track = before.sections["extract_audio"].get("track", "auto")
        transcripts = transcribe.existing(recording.without_cues(video_dir), before.asr, written, track)
    folder = video_dir.parent if video_dir.is_file() else video_dir
    return recording.read_dir(video_dir, transcripts=transcripts).manifest(folder)


def _classes() -> dict[str, type[Any]]:
    """Section -> its class; loaded when it is asked for, as it brings the extractors."""
    from bemerc.extraction.params import AudioParams, VideoParams

    return dict(zip(_SECTIONS, (VideoParams, AudioParams), strict=True))


def _read(folder: Path) -> Settings | None:
    """What was left in ``folder``, with the defaults of what an earlier release did not know; None where nothing was.
    ConfigError where it is damaged or somebody else's."""
    path = folder / FILE
    if (held := _held(path)) is None:
        return None
    sections, faults = {name: held[name] for name in _SECTIONS}, []
    for name, cls in _classes().items():
        try:
            sections[name] = config.to_mapping(config.from_mapping(held[name], cls, f"{path}: {name}"))
        except ConfigError as error:
            faults.append(str(error))
    return Settings(sections, held["asr"], tuple(faults))


def _holds(sections: Mapping[str, Any]) -> bool:
    """Whether clips can be measured as these sections say."""
    try:
        for name, cls in _classes().items():
            config.from_mapping(sections[name], cls, name)
    except ConfigError:
        return False
    return True


def _held(path: Path) -> dict[str, Any] | None:
    """The settings in a file as they stand there, None where there is no file; ConfigError where they are none."""
    try:
        held = read_json(path)
    except JsonError as error:
        if error.missing:
            return None
        held = None
    wanted = {**dict.fromkeys(_SECTIONS, dict), "asr": str | None}
    if isinstance(held, dict) and all(name in held and isinstance(held[name], of) for name, of in wanted.items()):
        return held
    raise ConfigError(
        "this is not the file in which bemerc keeps how clips were measured, or it is damaged. Move it, or name another "
        "folder; if clips were measured into this one, run `bemerc extract` again with the options that it had.",
        path=path,
    )


def _differences(stated: Mapping[str, Any], again: Mapping[str, Any]) -> Iterator[str]:
    """ "section.key=value" of ``again`` for each value that is another one than was stated."""
    for section in _SECTIONS:
        yield from _unlike(stated.get(section), again[section], section)


def _unlike(stated: Any, kept: Any, name: str) -> Iterator[str]:
    if isinstance(stated, Mapping) and isinstance(kept, Mapping):
        for key in stated.keys() & kept.keys():
            yield from _unlike(stated[key], kept[key], f"{name}.{key}")
    elif stated != kept and not isinstance(kept, Mapping):
        yield f"{name}={'null' if kept is None else kept}"
