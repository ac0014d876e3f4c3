"""The address of the ledger's Redis, as Celery spells it, turned into one for redis-py."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import SplitResult, parse_qs, parse_qsl, urlencode, urlsplit

from celery_middle_management.settings.secret import Secret

ALLOWED = (
    "redis://user:password@host:port/database, the same with rediss://, "
    "unix:///path or redis+socket:///path"
)
CERT_REQS = "CERT_NONE, CERT_OPTIONAL or CERT_REQUIRED"

_SOCKETS = ("unix", "redis+socket")
_SCHEMES = ("redis", "rediss", *_SOCKETS)
# The database and the credentials. The rest of a query is for Celery, or would undo our timeouts.
_KEPT_IN_QUERY = ("db", "username", "password")
_FALSE = ("0", "f", "false", "n", "no")


class Found(NamedTuple):
    """A Redis that Celery already uses."""

    setting: str
    url: str
    ssl: object
    """``broker_use_ssl`` or ``redis_backend_use_ssl``: a dict, a boolean or None."""


def celerys(conf: Any) -> Found | None:
    """Return the first Redis among Celery's broker and result backend; None if there is none."""
    candidates = [Found("broker_url", url, conf.broker_use_ssl) for url in urls(conf.broker_url)]
    candidates += [
        Found("result_backend", url, conf.redis_backend_use_ssl)
        for url in urls(conf.result_backend)
    ]
    return next((found for found in candidates if scheme(found.url) in _SCHEMES), None)


def urls(value: object) -> Iterator[str]:
    """Yield the addresses of a failover list: a sequence, or one string with semicolons."""
    for part in value if isinstance(value, (list, tuple)) else [value]:
        if isinstance(part, str):
            # Any other semicolon is part of a password, though Celery takes it for a separator.
            yield from (url.strip() for url in re.split(r";(?=\s*[\w+.-]+://|\s*$)", part))


def scheme(url: object) -> str:
    """Return the scheme of *url*, the only part that is never secret; "" if it has none."""
    found = re.match(r"([a-z][a-z0-9+.-]{0,20})://", url, re.I) if isinstance(url, str) else None
    return found[1].lower() if found else ""


def check(url: object) -> str:
    """Return *url* itself.

    Raises:
        ValueError: redis-py could not use it.
    """
    if not isinstance(url, str) or scheme(url) not in _SCHEMES or re.search(r"\s", url):
        raise ValueError
    parts = urlsplit(url)
    _ = parts.port  # raises ValueError if it is not a number
    socket = scheme(url) in _SOCKETS
    if not (parts.path if socket else re.fullmatch(r"/*\d*", parts.path)):
        raise ValueError
    if not all(db.isdecimal() for db in parse_qs(parts.query).get("db", ())):
        raise ValueError
    return url


def for_redis_py(url: str, use_ssl: object, *, verify: bool) -> tuple[str, dict[str, Any]]:
    """Return the address and the TLS keyword arguments for redis-py.

    Args:
        url: an address that :func:`check` accepts.
        use_ssl: as ``Found.ssl``. With a dict, Celery speaks TLS to a ``redis://`` address too.
        verify: whether to verify the server's certificate if no option says so.

    Raises:
        ValueError: ``ssl_cert_reqs`` is not one of ``CERT_REQS``. The error's argument is that
            value.
    """
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    kept = {key: query[key] for key in _KEPT_IN_QUERY if key in query}
    if scheme(url) in _SOCKETS:
        if "virtual_host" in query:  # Celery's name for the database behind a socket
            kept.setdefault("db", query["virtual_host"].strip("/"))
        return _join("unix", parts, kept), {}
    given = {**use_ssl, **query} if isinstance(use_ssl, Mapping) else query
    tls = {key: value for key, value in given.items() if key.startswith("ssl_")}
    if not tls and scheme(url) == "redis":
        return _join("redis", parts, kept), {}
    return _join("rediss", parts, kept), _tls(tls, verify)


def _join(scheme: str, parts: SplitResult, query: Mapping[str, str]) -> str:
    end = f"?{urlencode(query)}" if query else ""
    return f"{scheme}://{parts.netloc}{parts.path}{end}"


def _tls(given: Mapping[str, Any], verify: bool) -> dict[str, Any]:
    # An option that names a certificate authority means that certificates must be verified.
    verify = verify or any(key.startswith("ssl_ca_") for key in given)
    options = {"ssl_cert_reqs": "required" if verify else "none", **given}
    options["ssl_cert_reqs"] = _cert_reqs(options["ssl_cert_reqs"])
    check_hostname = options.get("ssl_check_hostname")
    if isinstance(check_hostname, str):
        options["ssl_check_hostname"] = check_hostname.lower() not in _FALSE
    if isinstance(password := options.get("ssl_password"), str):
        options["ssl_password"] = Secret(password).reveal  # OpenSSL asks for it
    if options["ssl_cert_reqs"] == "none":  # Older releases of redis-py refuse the combination.
        options["ssl_check_hostname"] = False
    return options


def _cert_reqs(value: object) -> str:
    """Translate a mode, as Celery, Python's ``ssl`` or redis-py spells it, into redis-py's word."""
    for mode in ssl.VerifyMode:
        word = mode.name.removeprefix("CERT_").lower()
        if value in (mode, mode.name, word) or (value is None and mode is ssl.CERT_NONE):
            return word
    raise ValueError(value)
