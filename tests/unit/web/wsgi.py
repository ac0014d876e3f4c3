"""Requests to a WSGI app, without a server."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

App = Callable[[dict[str, Any], Any], Iterable[bytes]]


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: str


def environ_of(path: str = "/", method: str = "GET", body: bytes = b"", **more: Any) -> Any:
    path, _, query = path.partition("?")
    return {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SCRIPT_NAME": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8765",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "127.0.0.1:8765",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
        "wsgi.url_scheme": "http",
        **more,
    }


def ask(app: App, path: str = "/", method: str = "GET", body: bytes = b"", **more: Any) -> Answer:
    started: list[Any] = []
    chunks = app(environ_of(path, method, body, **more), lambda *answer: started.append(answer))
    text = b"".join(chunks).decode()
    status, headers = started[0][:2]
    return Answer(int(status.split()[0]), dict(headers), text)
