"""The server of ``celery mm web``, on this machine alone."""

from __future__ import annotations

import logging
import re
import resource
import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from celery import Celery

from celery_middle_management.settings.secret import Secret
from celery_middle_management.web.gate import Gate
from celery_middle_management.web.page import Page, StartResponse

HOST = "127.0.0.1"
#: The variable that fixes the token, for a Prometheus that asks for `/metrics` with it.
TOKEN_VARIABLE = "MM_WEB_TOKEN"
SHORTEST_TOKEN = 20
#: A token that means itself in an address as well as in a header.
_MEANS_ITSELF = re.compile(r"[A-Za-z0-9._~-]+")
#: The longest request body (bytes) that is read at all, and the most connections, if the process
#: may have so many files open.
_MOST_BYTES, _MOST_CONNECTIONS = 65536, 1000
#: A connection over which nothing comes for this time (s) is closed at the next look, and how often
#: (s) waitress looks. A page that is seen asks every two seconds.
_SILENCE, _LOOK_EVERY = 10, 3


def token_of(environ: Mapping[str, str]) -> Secret:
    """The token that the environment fixes, or else a new one.

    Raises:
        ValueError: it can be guessed, or cannot be sent.
    """
    given = environ.get(TOKEN_VARIABLE)
    if given is None:
        return Secret(secrets.token_urlsafe(32))
    if len(given) < SHORTEST_TOKEN or not _MEANS_ITSELF.fullmatch(given):
        raise ValueError(
            f"{TOKEN_VARIABLE} has {len(given)} characters; allowed: {SHORTEST_TOKEN} or more, "
            "all of them letters of ASCII, digits, or one of -._~"
        )
    return Secret(given)


def make_server(app: Celery, port: int, token: Secret, name: str) -> Any:
    """Return a server of waitress' that listens and does not yet answer.

    Args:
        app: the Celery app.
        port: where to listen; 0: on any that is free.
        token: see :class:`Gate`.
        name: who acts on the page.

    Raises:
        OSError: the port is taken.
    """
    from waitress.server import create_server

    def answer(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        return door(environ, start_response)

    # It warns of a "task queue", which is none of Celery's, whenever all threads are busy.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    server: Any = create_server(
        answer,
        host=HOST,
        port=port,
        threads=8,
        ident="",
        max_request_body_size=_MOST_BYTES,
        connection_limit=_most_connections(),
        channel_timeout=_SILENCE,
        cleanup_interval=_LOOK_EVERY,
        asyncore_use_poll=True,  # select() knows no file descriptor above 1023
    )
    gate = Gate(token, server.effective_port, name)
    # Nothing is answered before the server runs.
    door = gate.before(Page(app, gate.visitor))
    return server


def _most_connections() -> int:
    """Return how many connections there may be, with files to spare for all else."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_CONNECTIONS if files < 0 else min(_MOST_CONNECTIONS, files // 2)
