"""Serve a page and its videos on this machine alone, at an address that nobody can guess, until Ctrl-C."""

from __future__ import annotations

import contextlib
import hmac
import re
import secrets
import tempfile
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO

from bemerc.view import build, media_files
from bemerc.view.sources import Sources

HOST = "127.0.0.1"
_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")
_TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript", ".webm": "video/webm"}
_CHUNK = 1 << 16


def run(sources: Sources, options: build.Options, ready: Callable[[str], None]) -> None:
    """Make the page and serve it until KeyboardInterrupt. ``ready`` is called with its address."""
    with tempfile.TemporaryDirectory() as folder:
        page = build.write_page(sources, Path(folder) / "page.html", options, served=True)
        served = {"": page.file} | {media_files.served_name(n, video): video for n, video in enumerate(page.videos)}
        with server(served) as (running, address):
            ready(address)
            running.serve_forever()


def new_token() -> str:
    """What nobody can guess, and whoever knows it may have the page."""
    return secrets.token_urlsafe(24)


@contextlib.contextmanager
def server(files: dict[str, Path], token: str = "") -> Iterator[tuple[ThreadingHTTPServer, str]]:
    """A server of these files (path below the token -> file) on a free port, and the address of the path "".

    ``token``: one that was made before; empty: a new one.
    """
    token = token or new_token()

    class Handler(_Handler):
        def file(self) -> Path | None:
            # Another site's page that has its name point here sends that name.
            if self.headers.get("Host") not in names:
                return None
            given, _, name = self.path.removeprefix("/").partition("/")
            return files.get(name) if hmac.compare_digest(given.encode(), token.encode()) else None

    running = ThreadingHTTPServer((HOST, 0), Handler)
    names = {f"{host}:{running.server_port}" for host in (HOST, "localhost")}
    running.daemon_threads = True
    try:
        yield running, f"http://{HOST}:{running.server_port}/{token}/"
    finally:
        running.server_close()


class _Handler(BaseHTTPRequestHandler):
    """Answers GET with a file, or a range of it, which players need to seek."""

    protocol_version = "HTTP/1.1"

    def file(self) -> Path | None:
        """The file that is asked for; None where there is none, or where nobody may have it."""
        raise NotImplementedError

    def do_GET(self) -> None:
        path = self.file()
        if path is None or not path.is_file():
            self.send_error(404)
            return
        with path.open("rb") as file, contextlib.suppress(ConnectionError):  # a player that jumps hangs up
            self._send(file, path.stat().st_size, path.suffix.lower())

    def _send(self, file: IO[bytes], size: int, suffix: str) -> None:
        first, last = _range(self.headers.get("Range", ""), size)
        part = (first, last) != (0, size - 1)
        self.send_response(HTTPStatus.PARTIAL_CONTENT if part else HTTPStatus.OK)
        if part:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.send_header("Content-Type", _TYPES.get(suffix, "video/mp4"))
        self.send_header("Content-Length", str(last - first + 1))
        for name, value in (
            ("Accept-Ranges", "bytes"),
            ("Cache-Control", "no-store"),
            ("Referrer-Policy", "no-referrer"),
            ("X-Content-Type-Options", "nosniff"),
            ("X-Frame-Options", "DENY"),
        ):
            self.send_header(name, value)
        self.end_headers()
        file.seek(first)
        left = last - first + 1
        while left > 0 and (data := file.read(min(left, _CHUNK))):
            self.wfile.write(data)
            left -= len(data)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the log would hold the token."""


def _range(text: str, size: int) -> tuple[int, int]:
    """First and last byte of a Range header; all of the file where it names none that is there."""
    match = _RANGE.fullmatch(text)
    if match is None or match.groups() == ("", ""):
        return 0, size - 1
    first, last = match.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(int(last), size - 1) if first and last else size - 1
    return (start, end) if start <= end else (0, size - 1)
