"""A web application, `tests.integration.apps.web:web`, for gevent.

``/publish`` publishes a task; ``/stalls`` says for how long (s) ours has blocked a worker since it
was first asked that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .everyday import noop
from .patches import Stalls

stalls: list[Stalls] = []


def web(environ: Mapping[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/publish":
        noop.delay()
    told = b""
    if environ["PATH_INFO"] == "/stalls":
        told = str(stalls[0].longest() if stalls else 0).encode()
        stalls[:] = stalls or [Stalls("gevent")]
    start_response("200 OK", [("Content-Length", str(len(told)))])
    return [told]
