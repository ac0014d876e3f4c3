"""Who may see the page of ``mm web``: those who have its token.

The server listens on this machine alone, but other users and every web site that a browser on it
shows can reach it. A browser sends the cookies of one port to the servers of all others, so those
of the page are for a path that only its visitors know.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qs

from celery_middle_management.settings.secret import Secret
from celery_middle_management.web.forgery import cookie_of, set_cookie
from celery_middle_management.web.page import StartResponse, refuse
from celery_middle_management.web.visitor import Visitor

App = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]

_HOSTS = ("127.0.0.1", "localhost", "[::1]")


class Gate:
    """Exchanges the token in an address for a cookie, and lets in those who have either.

    Args:
        token: the token, which is in the address that ``mm web`` prints.
        port: where the server listens.
        name: who acts on the page, for the history.
    """

    def __init__(self, token: Secret, port: int, name: str) -> None:
        self._token, self._port, self._name = token, port, name
        self._cookie_name = f"mm-{port}"
        self._cookie = Secret(_derived(token, "cookie"))
        self._path = Secret(f"/{_derived(token, 'path')[:32]}")

    def visitor(self, environ: Mapping[str, Any]) -> Visitor | None:
        """Return the visitor of a request; None if it may see nothing."""
        if not self._host_is_ours(environ):
            return None
        scheme, _, bearer = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        cookie = cookie_of(environ, self._cookie_name)
        known = (scheme.lower() == "bearer" and _same(bearer.strip(), self._token)) or (
            cookie is not None and _same(cookie, self._cookie)
        )
        return Visitor(self._name, may_act=True) if known else None

    def before(self, page: App) -> App:
        """Return *page* behind a door at which the token is exchanged for a cookie and a path.

        With the token in each request, the page is at the root as well.
        """
        path = self._path.reveal()

        def door(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
            given = parse_qs(environ.get("QUERY_STRING", "")).get("token")
            if not given or environ.get("REQUEST_METHOD") != "GET":
                inner = environ.get("PATH_INFO", "").removeprefix(path)
                if inner.startswith("/") and inner != environ["PATH_INFO"]:
                    environ = {**environ, "SCRIPT_NAME": path, "PATH_INFO": inner}
                return page(environ, start_response)
            if not self._host_is_ours(environ) or not _same(given[0], self._token):
                return refuse(start_response)
            cookie = set_cookie(environ, self._cookie_name, self._cookie.reveal(), f"{path}/")
            headers = [("Location", f"{path}/"), ("Set-Cookie", cookie), ("Content-Length", "0")]
            headers += [("Cache-Control", "no-store"), ("Referrer-Policy", "no-referrer")]
            start_response("303 See Other", headers)
            return [b""]

        return door

    def _host_is_ours(self, environ: Mapping[str, Any]) -> bool:
        """Return whether the browser addresses this machine by one of its own names.

        A site may have its own name lead here, so that the browser takes our page for the site's.
        """
        host, hosts = environ.get("HTTP_HOST", ""), [f"{h}:{self._port}" for h in _HOSTS]
        return host in (hosts if self._port != 80 else [*hosts, *_HOSTS])


def _derived(token: Secret, purpose: str) -> str:
    return hmac.new(token.reveal().encode(), purpose.encode(), hashlib.sha256).hexdigest()


def _same(given: str, secret: Secret) -> bool:
    return secret == Secret(given)
