"""The page as one HTML file: template, styles and scripts inlined, data in script elements that no browser runs.

Nothing is fetched: a content security policy forbids every connection, and lets only the scripts of this page run, by
their hashes. Strangers' words are data (compressed, in base64) or JSON without the character that could end a script
element; the scripts write them as text, never as HTML.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import IO, Any

from bemerc.core.atomic import replacing
from bemerc.core.terminal import settled

SCRIPTS = ("parts.js", "data.js", "player.js", "charts.js", "panel.js", "main.js")
LIVE_SCRIPTS = ("parts.js", "live.js")
NONE = "'none'"
_LIBRARY, _STYLES = "uPlot.iife.min.js", ("uPlot.min.css", "page.css")
_LICENCE = "uPlot.LICENSE.txt"
_ENCODE_BYTES = 3 << 18  # a multiple of three, so that pieces of base64 join


@cache
def _asset(name: str) -> str:
    return asset_path(name).read_text(encoding="utf-8")


def asset_path(name: str) -> Path:
    """A file of the pages."""
    return Path(str(files("bemerc.view"))) / "page" / name


def write(out: Path, title: str, index: dict[str, Any], blocks: Sequence[bytes], videos: Iterable[Path] = ()) -> int:
    """Write the page; returns its bytes. DiskError where the disk refuses.

    index   what the page needs before a dialogue is opened: JSON
    blocks  the dialogues' data (DialogueData.packed), in the order of the index
    videos  files that become part of the page, in the order of the index
    """
    values = _values(title, SCRIPTS)
    head, data_at, tail = _asset("page.html").partition("{{data}}")
    assert data_at, "the template has no place for the data"
    with replacing(out) as file:
        file.write(_filled(head, values).encode())
        file.write(f'<script type="application/json" id="index">{_json(settled_words(index))}</script>\n'.encode())
        for number, block in enumerate(blocks):
            _write_data(file, f"dialogue{number}", [block])
        for number, video in enumerate(videos):
            with video.open("rb") as source:
                _write_data(file, f"video{number}", iter(lambda: source.read(_ENCODE_BYTES), b""))
        file.write(_filled(tail, values).encode())
        return file.tell()


def settled_words(value: Any) -> Any:
    """A JSON value with all its texts, names of keys too, as the page may show them (core.terminal.settled)."""
    if isinstance(value, str):
        return settled(value)
    if isinstance(value, dict):
        return {settled(key): settled_words(one) for key, one in value.items()}
    return [settled_words(one) for one in value] if isinstance(value, list | tuple) else value


def write_live(out: Path, title: str, index: dict[str, Any], socket: str) -> None:
    """Write the page of a conversation that goes on, which may connect to ``socket`` (an address) and to nothing else."""
    values = _values(title, LIVE_SCRIPTS, socket)
    values["data"] = f'<script type="application/json" id="index">{_json(index | {"socket": socket})}</script>'
    with replacing(out) as file:
        file.write(_filled(_asset("live.html"), values).encode())


def _values(title: str, scripts: Sequence[str], socket: str = "") -> dict[str, str]:
    """What a template's {{name}}s are filled with, but for its data."""
    library, own = _asset(_LIBRARY), "(() => {\n" + "\n".join(map(_asset, scripts)) + "\n})();"
    style = "\n".join(map(_asset, _STYLES))
    return {
        "title": escape(settled(title)),
        "policy": _policy([library, own], style, socket),
        "licence": _asset(_LICENCE),
        "style": style,
        "scripts": f"<script>{library}</script>\n<script>{own}</script>",
    }


def _filled(template: str, values: Mapping[str, str]) -> str:
    """The template with each {{name}} replaced once: what is put in may itself look like one."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], template)


def _policy(scripts: Sequence[str], style: str, socket: str) -> str:
    """What the page may do. With a ``socket`` it may connect there, and load scripts from where it is from (sound is
    taken by one of its own)."""
    allowed = " ".join([*(f"'{_hash(script)}'" for script in scripts), *(["'self'"] if socket else [])])
    return (
        f"default-src 'none'; script-src {allowed}; style-src '{_hash(style)}'; media-src 'self' file: blob:; "
        f"img-src data: blob:; connect-src {socket or NONE}; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _json(value: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _write_data(file: IO[bytes], name: str, pieces: Iterable[bytes]) -> None:
    file.write(f'<script type="text/plain" id="{name}">'.encode())
    for piece in pieces:
        file.write(base64.b64encode(piece))
    file.write(b"</script>\n")
