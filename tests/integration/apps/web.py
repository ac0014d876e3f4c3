"""A web application, `tests.integration.apps.web:web`: ``/publish`` publishes a task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .everyday import noop


def web(environ: Mapping[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/publish":
        noop.delay()
    start_response("200 OK", [("Content-Length", "0")])
    return [b""]
