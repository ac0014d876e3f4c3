"""The page as a WSGI callable: it decides who may come in, before anything else."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote

from celery import Celery

from celery_middle_management.web.extra import NEEDED, require
from celery_middle_management.web.visitor import FindVisitor, Visitor

#: The key of the WSGI environment under which our own pages find the visitor; no header can set it.
VISITOR = "celery_middle_management.visitor"

StartResponse = Callable[..., Any]


class Page:
    """The page of one app, to be mounted in a web app under any path.

    Args:
        app: the Celery app.
        visitor: gets the WSGI environment of each request, and returns who makes it; None shows
            nothing. The web app's own login must decide that.

    Raises:
        ImproperlyConfigured: the packages of the extra ``[web]`` are not installed.
    """

    def __init__(self, app: Celery, visitor: FindVisitor) -> None:
        require(*NEEDED)
        from celery_middle_management.web.site import site_of

        if not callable(visitor):
            raise TypeError(
                f"visitor is {visitor!r}; allowed: a function that gets the WSGI environment of a "
                "request and returns a Visitor, or None to show nothing"
            )
        self._visitor = visitor
        self._site = site_of(app)

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        visitor = self._visitor(environ)
        if not isinstance(visitor, Visitor):
            if visitor is not None:
                raise TypeError(f"visitor() returned a {type(visitor).__name__}, not a Visitor")
            return refuse(start_response)
        mounted = environ.get("SCRIPT_NAME") or ""
        if not environ.get("PATH_INFO") and mounted:
            return _with_slash(mounted, start_response)
        # A copy: the web app around us may go on with its own.
        answer: Iterable[bytes] = self._site({**environ, VISITOR: visitor}, start_response)
        return answer


def refuse(start_response: StartResponse, status: str = "403 Forbidden") -> Iterable[bytes]:
    """Answer that there is nothing to see. The answer is the same for every path."""
    body = b"You may not see this page.\n"
    start_response(
        status,
        [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
        ],
    )
    return [body]


def _with_slash(mounted: str, start_response: StartResponse) -> Iterable[bytes]:
    """Lead from ``/mm`` to ``/mm/``, from where the page's addresses are relative.

    So is this one: a proxy may have changed what comes before it.
    """
    last = quote(mounted.rpartition("/")[2], encoding="latin-1")
    headers = [("Location", f"./{last}/"), ("Content-Length", "0"), ("Cache-Control", "no-store")]
    start_response("302 Found", headers)
    return [b""]
