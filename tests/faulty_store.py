"""An S3 server on this machine (moto's), in which faults can be ordered: answers of 503, slow ones, truncated ones.

with served() as store:          # AWS_ENDPOINT_URL and credentials are set meanwhile
    store.faults = lambda method, path: "503"
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from unittest import mock

SECRET = "a-secret-that-nobody-may-read"
BUCKET = "bucket"


class FaultyStore:
    """The server's application. ``faults(method, path)``: "503", "slow", "truncated", "denied" or "" for each request;
    ``requests``: what came, as (method, path)."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.faults: Callable[[str, str], str] = lambda method, path: ""
        self.slow_s = 1.0
        self.requests: list[tuple[str, str]] = []
        self.port = 0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.requests.append((method, path))
        fault = self.faults(method, path)
        if fault == "503":
            return self._refuse(method, start_response, "503 Slow Down", "SlowDown")
        if fault == "denied":
            return self._refuse(method, start_response, "403 Forbidden", "AccessDenied")
        if fault == "slow":
            time.sleep(self.slow_s)
        answer = self._app(environ, start_response)
        if fault != "truncated":
            return answer  # type: ignore[no-any-return]
        body = b"".join(answer)
        return [body[: len(body) // 2]]

    @staticmethod
    def _refuse(method: str, start_response: Any, status: str, code: str) -> list[bytes]:
        body = f"<Error><Code>{code}</Code><Message>no, {SECRET}</Message></Error>".encode()
        start_response(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
        return [] if method == "HEAD" else [body]


@contextlib.contextmanager
def served() -> Iterator[FaultyStore]:
    """A running server with an empty bucket; see the module's docstring."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    from bemerc.core import objects

    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    store = FaultyStore(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, store, threaded=True)
    store.port = server.server_port
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    environment = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{store.port}",
        "AWS_ACCESS_KEY_ID": "an-access-key",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    try:
        with mock.patch.dict(os.environ, environment):
            objects._files.cache_clear()
            objects._files("s3").makedirs(BUCKET, exist_ok=True)
            yield store
    finally:
        objects._files.cache_clear()
        server.shutdown()
        thread.join()
        server.server_close()
