"""Tells a request that our page made from one that another site had a browser make.

The page's token is in a cookie that scripts cannot read, and in the page itself, which other sites
cannot read. A request that changes something must bring both. No process remembers a token, so any
process of the web app can check it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from hmac import compare_digest
from typing import Any
from urllib.parse import urlsplit

COOKIE = "mm-page"
#: The header in which the page sends its token, as WSGI spells it.
_HEADER = "HTTP_X_MM_TOKEN"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


def token_of(environ: Mapping[str, Any]) -> str | None:
    """The token in the request's cookie; None if there is none, or it is not one of ours."""
    token = cookie_of(environ, COOKIE)
    return token if token and _TOKEN.fullmatch(token) else None


def new_token() -> str:
    """Make a token."""
    return secrets.token_urlsafe(32)


def cookie_of(environ: Mapping[str, Any], name: str) -> str | None:
    """The value of one of the request's cookies."""
    # http.cookies stops at the first cookie that it cannot read, and it may be another app's.
    for part in environ.get("HTTP_COOKIE", "").split(";"):
        its_name, separator, value = part.strip().partition("=")
        if separator and its_name == name:
            return str(value)
    return None


def set_cookie(environ: Mapping[str, Any], name: str, value: str, path: str = "") -> str:
    """The header that sets a cookie which only our own pages send back.

    Without a *path*, it is for what lies beside the address to which this is the answer, as the
    browser knows that: a proxy may have changed it.
    """
    where = f"; Path={path}" if path else ""
    secure = "; Secure" if environ.get("wsgi.url_scheme") == "https" else ""
    return f"{name}={value}{where}; HttpOnly; SameSite=Strict{secure}"


def why_forged(environ: Mapping[str, Any]) -> str | None:
    """Return why the request may not be our page's; None if it is."""
    token, sent = token_of(environ), environ.get(_HEADER, "")
    if not token or not compare_digest(token.encode(), sent.encode("utf-8", "replace")):
        return "the page's token is missing or wrong: reload the page"
    if environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower() != "application/json":
        return "the request is not JSON"
    # Browsers that send this header know better than we do which address the page has: a proxy
    # may have changed the host.
    site, origin = environ.get("HTTP_SEC_FETCH_SITE"), environ.get("HTTP_ORIGIN")
    own = site == "same-origin" if site else not origin or _same_host(origin, environ)
    return None if own else "the request comes from another site"


def _same_host(origin: str, environ: Mapping[str, Any]) -> bool:
    """Compare without the scheme, which is not known for sure behind a proxy that ends TLS."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    known = parts.scheme in ("http", "https") and bool(parts.netloc)
    return known and parts.netloc == environ.get("HTTP_HOST")
