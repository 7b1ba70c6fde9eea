"""Objects of an object store by URL (s3://, gs://, memory://), through fsspec: a bound on retries, no credentials in
messages.

Every fault of the store or the network is a fault of the machine. Credentials are found by the store's own library (the
environment, its files, the machine's role); they stand in no URL and in no message.
"""

from __future__ import annotations

import functools
import os
import random
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooSlow
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, TypeVar

from bemerc.core.errors import BemercError, MachineError
from bemerc.core.terminal import printable

T = TypeVar("T")

# Tries of one request, and the first of the pauses between them, which double.
_TRIES = 8
_FIRST_PAUSE_S = 0.25
# Bytes asked for at once, and how long they may take: what is slower than 100 KB/s counts as a fault.
_CHUNK_BYTES = 8 * 2**20
_CHUNK_S = 80.0
# What in a message may be secret, beside the values of the variables.
_SECRET_VARIABLES = re.compile(r"(KEY|SECRET|TOKEN|PASSWORD|CREDENTIAL)", re.IGNORECASE)
_SECRET_TEXT = re.compile(
    r"(?i)(//[^/@\s]+@|\b[\w-]*(?:signature|credential|token|key_?id|secret)[\w-]*\s*[=:]\s*[^\s&,;]+)"
)
_REASON = 300


class ObjectError(MachineError):
    """An object store did not do what was asked, several times over. ``path``: the URL; ``reason``: what it says."""

    def __init__(self, url: Url | str, reason: str) -> None:
        super().__init__(
            f"the object store does not answer as it should ({reason}). Run the same command again.", path=str(url)
        )
        self.reason = reason


@dataclass(frozen=True)
class Url:
    """The URL of an object, or of all objects below a prefix."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Url:
        """BemercError where credentials stand in it, which would be seen in process lists, or it names no bucket."""
        scheme, _, rest = text.partition("://")
        if "@" in rest.partition("/")[0] or "?" in rest:
            raise BemercError(
                f"A URL of {printable(scheme, 20)}:// holds credentials. Leave them out: they are taken from the "
                "environment or the store's own files, as its documentation says."
            )
        if not rest.strip("/"):
            raise BemercError(
                f"{printable(text, 200)}: this URL names no bucket. Write it as {printable(scheme, 20)}://BUCKET/FOLDER."
            )
        return cls(f"{scheme}://{rest.strip('/')}")

    def __str__(self) -> str:
        return printable(self.text, 1000)

    def __truediv__(self, name: str) -> Url:
        return Url(f"{self.text}/{name}")

    @property
    def scheme(self) -> str:
        return self.text.partition("://")[0]

    @property
    def name(self) -> str:
        """The last part."""
        return PurePosixPath(self.text).name

    @property
    def parent(self) -> Url:
        """Without its last part."""
        return Url(self.text.rpartition("/")[0])


def is_url(text: str) -> bool:
    """Whether a text names objects, and not a path of this machine (file:// does)."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text) is not None and not text.startswith("file://")


def location(given: str | Path) -> Path | Url:
    """What a text names: a path of this machine, or what lies in an object store."""
    text = str(given)
    return Url.parse(text) if isinstance(given, str) and is_url(text) else Path(text.removeprefix("file://"))


@dataclass(frozen=True)
class ObjectInfo:
    """What tells that an object has not changed: its size, and what the store says of its content."""

    size: int
    stamp: str


def listed(url: Url) -> dict[str, ObjectInfo]:
    """All objects below a URL, by their name below it; empty where there are none."""
    files = _files(url.scheme)
    path = files._strip_protocol(url.text)
    entries = _tried(url, lambda: files.find(path, detail=True)) or {}
    prefix = f"{path}/"
    return {
        name.removeprefix(prefix): _info(entry) for name, entry in sorted(entries.items()) if name.startswith(prefix)
    }


def info(url: Url, heartbeat: Callable[[], None] = lambda: None) -> ObjectInfo | None:
    """What there is at a URL; None where there is nothing."""
    entry = _tried(url, lambda: _files(url.scheme).info(url.text), heartbeat)
    return None if entry is None or entry.get("type") != "file" else _info(entry)


def read(url: Url) -> bytes | None:
    """A small object, whole; None where there is none."""
    data: bytes | None = _tried(url, lambda: _files(url.scheme).cat_file(url.text))
    return data


def fetch(url: Url, size: int, file: IO[bytes], heartbeat: Callable[[], None] = lambda: None) -> None:
    """Write an object of ``size`` bytes into a file, in pieces, each of which is tried again by itself.

    ``heartbeat`` is called while pieces come. ObjectError where it is gone, is another one now, or the store fails.
    """
    for start in range(0, size, _CHUNK_BYTES):
        end = min(size, start + _CHUNK_BYTES)
        piece = _tried(url, functools.partial(_piece, url, start, end, heartbeat), heartbeat)
        if piece is None:
            raise ObjectError(url, "it is not there any more")
        file.write(piece)


def _piece(url: Url, start: int, end: int, heartbeat: Callable[[], None]) -> bytes:
    """Bytes from start to end. In a thread, since libraries wait as long as single bytes come."""
    pool = ThreadPoolExecutor(1)
    try:
        answer = pool.submit(_files(url.scheme).cat_file, url.text, start=start, end=end)
        deadline = time.monotonic() + _CHUNK_S
        while True:
            try:
                data: bytes = answer.result(timeout=1.0)
                break
            except TooSlow:
                if answer.done():
                    raise  # the library's own
                heartbeat()
                if time.monotonic() > deadline:
                    raise OSError(f"{end - start} bytes took more than {_CHUNK_S:g} s") from None
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    if len(data) != end - start:
        raise OSError(f"{len(data)} bytes came of {end - start}")
    return data


def put(url: Url, data: bytes, *, replace: bool = False) -> bool:
    """Store an object; False where there is one already, which stays unless ``replace``."""
    mode = "overwrite" if replace else "create"

    def store() -> bool:
        try:
            _files(url.scheme).pipe_file(url.text, data, mode=mode)
        except FileExistsError:
            return False
        return True

    return bool(_tried(url, store))


def upload(url: Url, path: str) -> None:
    """Store a file of this machine, in place of what is there."""
    _tried(url, lambda: _files(url.scheme).put_file(path, url.text) or True)


def remove(url: Url) -> None:
    """Remove an object, if there is one."""
    _tried(url, lambda: _files(url.scheme).rm_file(url.text) or True)


def _tried(url: Url, request: Callable[[], T], heartbeat: Callable[[], None] = lambda: None) -> T | None:
    """The request's answer; None where there is no such object. ObjectError when all tries have failed."""
    for attempt in range(_TRIES):
        try:
            return request()
        except FileNotFoundError:
            return None
        except (MemoryError, BemercError):
            raise
        except Exception as error:  # each library has its own, without a class in common
            reason = without_secrets(error)
            if isinstance(error, PermissionError) or type(error).__name__ in _HOPELESS:
                raise ObjectError(
                    url, f"{reason}; see that this machine has credentials that may read and write there"
                ) from None
            if attempt + 1 == _TRIES:
                raise ObjectError(url, f"{reason}; tried {_TRIES} times") from None
        heartbeat()
        time.sleep(_FIRST_PAUSE_S * 2**attempt * random.uniform(0.5, 1.0))
    raise AssertionError


_HOPELESS = {"NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError", "ProfileNotFound"}


def without_secrets(error: BaseException) -> str:
    """An error in one line, without anything that may be a credential."""
    text = f"{type(error).__name__}: {error}".splitlines()[0]
    for name, value in os.environ.items():
        if len(value) > 5 and _SECRET_VARIABLES.search(name):
            text = text.replace(value, "***")
    return printable(_SECRET_TEXT.sub("***", text), _REASON)


@functools.cache
def _files(scheme: str) -> Any:
    """fsspec's file system. Its own retries are off where they can be: ours are counted."""
    try:
        import fsspec

        if scheme != "s3":
            return fsspec.filesystem(scheme, use_listings_cache=False)
        once = {"retries": {"total_max_attempts": 1}, "connect_timeout": 10, "read_timeout": 20}
        files = fsspec.filesystem("s3", use_listings_cache=False, skip_instance_cache=True, config_kwargs=once)
    except ImportError as error:
        raise BemercError(
            f"{printable(scheme, 20)}:// is not installed here ({without_secrets(error)}). Install it with: pip install "
            "'bemerc[s3]', or bemerc[gcs]."
        ) from None
    except ValueError:
        raise BemercError(
            f"{printable(scheme, 20)}:// is no object store that is known here; s3:// and gs:// are.", name=scheme
        ) from None
    files.retries = 1
    return files


def _info(entry: Any) -> ObjectInfo:
    stamps = ("ETag", "etag", "md5Hash", "generation", "LastModified", "created", "mtime")
    stamp = next((str(entry[name]) for name in stamps if entry.get(name)), "")
    return ObjectInfo(int(entry["size"]), stamp.strip('"'))
