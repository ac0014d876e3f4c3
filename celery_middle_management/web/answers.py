"""Answers of the page's server, with headers that keep other sites out."""

from __future__ import annotations

import gzip
import json
from typing import Any

import bottle

#: Answers shorter than this (bytes) are not worth compressing.
_WORTH = 500

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
#: BokehJS puts style elements into the page, so styles need a nonce, or all that are not ours
#: would have to be allowed.
_POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "style-src 'self'{nonce}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def answer(
    body: bytes | str,
    content_type: str = "text/plain; charset=utf-8",
    *,
    status: int = 200,
    nonce: str = "",
    packed: bytes | None = None,
    **headers: str,
) -> bottle.HTTPResponse:
    """Make an answer; *packed* is the body as it is sent to a browser that reads gzip."""
    plain = body.encode() if isinstance(body, str) else body
    response = bottle.HTTPResponse(plain, status)
    style = f" 'nonce-{nonce}'" if nonce else ""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    for name, value in {
        "Content-Type": content_type,
        "Cache-Control": "no-store",
        "Content-Security-Policy": _POLICY.format(nonce=style),
        **_HEADERS,
        **named,
    }.items():
        response.set_header(name, value)
    if len(plain) >= _WORTH:
        response.set_header("Vary", "Accept-Encoding")
        if "gzip" in bottle.request.get_header("Accept-Encoding", ""):
            response.body = packed if packed is not None else gzip.compress(plain, 6, mtime=0)
            response.set_header("Content-Encoding", "gzip")
    response.set_header("Content-Length", str(len(response.body)))
    return response


def json_answer(document: Any, *, status: int = 200) -> bottle.HTTPResponse:
    """Make an answer of JSON."""
    packed = json.dumps(document, separators=(",", ":"))
    return answer(packed, "application/json", status=status)


def error(sentence: str, status: int, *, unknown: bool = False) -> bottle.HTTPResponse:
    """Make an answer that says what is wrong, or that it is *unknown* whether it was done."""
    document = {"error": sentence, "unknown": True} if unknown else {"error": sentence}
    return json_answer(document, status=status)
