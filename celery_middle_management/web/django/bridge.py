"""Calls a WSGI app from a Django view, under WSGI and ASGI alike."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable
from typing import Any

from django.http import HttpRequest, HttpResponse

from celery_middle_management.web.page import VISITOR


def call_wsgi(app: Any, request: HttpRequest, path: str, visitor: object) -> HttpResponse:
    """Return what *app*, mounted where *path* begins, answers to the request.

    The host and the scheme are those that Django has checked, whichever proxy is before it.
    """
    response = HttpResponse()
    del response.headers["Content-Type"]

    def start_response(
        status: str, headers: Iterable[tuple[str, str]], exc_info: object = None
    ) -> Callable[[bytes], None]:
        code, _, response.reason_phrase = status.partition(" ")
        response.status_code = int(code)
        for name, value in headers:
            response.headers[name] = value
        return response.write  # type: ignore[no-any-return]

    body = app(_environ(request, path, visitor), start_response)
    try:
        response.content = b"".join(body)
    finally:
        getattr(body, "close", lambda: None)()
    return response


def _environ(request: HttpRequest, path: str, visitor: object) -> dict[str, Any]:
    mount = request.path.removesuffix(path).rstrip("/")
    headers = {name: value for name, value in request.META.items() if isinstance(value, str)}
    body = request.body
    return {
        **headers,
        "SCRIPT_NAME": _wsgi_text(mount),
        "PATH_INFO": "/" + _wsgi_text(path),
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_HOST": request.get_host(),
        VISITOR: visitor,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": request.scheme,
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": request.META.get("wsgi.errors", sys.stderr),
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }


def _wsgi_text(text: str) -> str:
    """Return *text* as WSGI has it: each character is a byte of its UTF-8."""
    return text.encode().decode("latin-1")
