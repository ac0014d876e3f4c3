"""One POST to the webhook: bounded in time, and its address never shown.

It is made with a plain socket, because HTTP libraries log the path of a request, which is secret
here, as do the tracers that patch them; and because their timeouts bound each read, so that a
server that sends a byte now and then could hold them for hours.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
from time import monotonic
from typing import NamedTuple
from urllib.parse import urlsplit

from requests.utils import DEFAULT_CA_BUNDLE_PATH

from celery_middle_management.settings.secret import Secret, shown
from celery_middle_management.version import __version__

#: Each of the server's addresses gets this long (s) to accept a connection.
CONNECT_TIMEOUT = 3.0
#: Once connected, all else may take this long (s).
TOTAL_TIMEOUT = 10.0
#: The head of an answer is read up to this length (bytes).
_LONGEST_HEAD = 16_384
#: The status suffices, except for "too many requests".
_ENOUGH = re.compile(rb"HTTP/1\.[01] (?!429)\d{3}[^\r]*\r\n|.*\r\n\r\n", re.S)
#: After "too many requests", wait this long (s) if the server does not say how long.
_WAIT = 5.0


class Outcome(NamedTuple):
    """The outcome of a request."""

    #: What went wrong, in words without secrets; empty if it was accepted.
    trouble: str = ""
    #: True if the message surely did not arrive, so that it may be sent again ...
    undelivered: bool = False
    #: ... after this time (s).
    again_in: float = 0.0


def post(address: Secret, body: bytes, longest: float = TOTAL_TIMEOUT) -> Outcome:
    """Send *body* (JSON) once, in *longest* seconds at most. Follow no redirect; raise nothing.

    The time that the system takes to look up the host's name comes on top.
    """
    until = monotonic() + longest
    try:
        connection = _connect(address, until)
    except ssl.SSLError as error:  # it will fail again
        return Outcome(_told(address, error))
    except Exception as error:  # noqa: BLE001 - not even a frame may show the address
        return Outcome(_told(address, error), undelivered=True)
    try:
        with connection:
            return _outcome(address, _exchange(connection, address, body, until))
    except Exception as error:  # noqa: BLE001 - as above
        return Outcome(_told(address, error))


def reach(address: Secret) -> str:
    """Connect to the webhook's server and send nothing; return what went wrong, or nothing."""
    try:
        _connect(address, monotonic() + TOTAL_TIMEOUT).close()
    except Exception as error:  # noqa: BLE001 - not even a frame may show the address
        return _told(address, error)
    return ""


def _connect(address: Secret, until: float) -> socket.socket:
    parts = urlsplit(address.reveal())
    host, encrypted = parts.hostname or "", parts.scheme == "https"
    plain = _connected(host, parts.port or (443 if encrypted else 80), until)
    if not encrypted:
        return plain
    try:
        plain.settimeout(_left(until))
        # Made here, from modules as they are now: gevent or eventlet may patch them late.
        return _context().wrap_socket(plain, server_hostname=host)
    except BaseException:
        plain.close()
        raise


def _connected(host: str, port: int, until: float) -> socket.socket:
    """Connect to the first of the host's addresses that accepts."""
    error: OSError = TimeoutError()
    for *_, place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        try:
            at = (str(place[0]), port)
            return socket.create_connection(at, min(CONNECT_TIMEOUT, _left(until)))
        except OSError as failure:
            error = failure
    raise error


def _left(until: float) -> float:
    """Return the seconds that are left. Raises TimeoutError if there are none."""
    left = until - monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _context() -> ssl.SSLContext:
    """Make a context that verifies host and certificate, by the authorities that requests uses."""
    given = (os.environ.get(name) for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"))
    authorities = next(filter(None, given), DEFAULT_CA_BUNDLE_PATH)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if os.path.isdir(authorities):
        context.load_verify_locations(capath=authorities)
    else:
        context.load_verify_locations(cafile=authorities)
    return context


def _exchange(connection: socket.socket, address: Secret, body: bytes, until: float) -> bytes:
    """Send the request, and return the head of the answer, or as much of it as matters."""
    connection.settimeout(_left(until))
    connection.sendall(_head(address, len(body)) + body)
    answer = b""
    while not _ENOUGH.match(answer) and len(answer) < _LONGEST_HEAD:
        connection.settimeout(_left(until))
        part = connection.recv(4096)
        if not part:
            break
        answer += part
    return answer


def _head(address: Secret, length: int) -> bytes:
    parts = urlsplit(address.reveal())
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = (
        f"POST {target} HTTP/1.1",
        f"Host: {parts.netloc}",
        f"User-Agent: celery-middle-management/{__version__}",
        "Content-Type: application/json",
        f"Content-Length: {length}",
        "Connection: close",
    )
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("ascii")


def _outcome(address: Secret, head: bytes) -> Outcome:
    found = re.match(rb"HTTP/1\.[01] (\d{3})\b", head)
    if found is None:
        return Outcome(f"{shown(address.reveal())} closed the connection or does not speak HTTP")
    status = int(found[1])
    if 200 <= status < 300:
        return Outcome()
    trouble = f"{shown(address.reveal())} answered {status}"
    if status != 429:
        return Outcome(trouble)
    asked = re.search(rb"\r\nretry-after:[ \t]*(\d{1,9})[ \t]*\r\n", head, re.I)
    return Outcome(trouble, undelivered=True, again_in=float(asked[1]) if asked else _WAIT)


def _told(address: Secret, error: Exception) -> str:
    where = shown(address.reveal())
    if isinstance(error, TimeoutError):
        return f"{where} did not answer in time"
    return f"{where} cannot be reached or used ({type(error).__name__})"
