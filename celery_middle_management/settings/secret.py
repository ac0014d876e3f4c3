"""Secrets, and the errors that could reveal them.

An error carries the frames that it went through, and error trackers and Django's error page show
the variables of each. So a function that receives a :class:`Secret` removes the frames from every
error that it raises, with :func:`bare`.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Iterator
from typing import NoReturn, TypeVar
from urllib.parse import parse_qsl, unquote

_MASK = "***"
_ADDRESS = re.compile(
    r"([a-z][a-z0-9+.-]*)://([^/?#]*@)?((?:[\w.,-]*|\[[\da-f:.]+\])(?::\d+)?)([/?#][^@]*)?", re.I
)
#: Words in a name that show that its value is secret.
_TELLING = re.compile("pass|secret|token|key", re.I)

_Error = TypeVar("_Error", bound=BaseException)


class Secret:
    """A string that is shown only on request, never in a repr, a log, a format or a pickle."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the string itself."""
        return self._value

    def __repr__(self) -> str:
        return _MASK

    def __format__(self, spec: str) -> str:
        return format(_MASK, spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._bytes(), other._bytes())

    def __hash__(self) -> int:
        return hash(self._value)

    def _bytes(self) -> bytes:
        return self._value.encode(errors="surrogatepass")  # The environment may hold any bytes.

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret cannot be pickled")


def bare(error: _Error) -> _Error:
    """Strip *error* of the frames that it came through and of the errors that led to it.

    Raise it outside the ``except`` block that caught it, or it gets them again.
    """
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def shown(address: str) -> str:
    """Return the public part of a URL: its scheme, host and port.

    Return only the scheme if a ``/`` in the password may have moved part of it into the path.
    """
    parts = _ADDRESS.fullmatch(address)
    if parts:
        return f"{parts[1]}://{parts[3]}"
    scheme, separator, _ = address.partition("://")
    return f"{scheme}://{_MASK}" if separator and scheme.isalnum() else _MASK


def told(error: BaseException, addresses: Iterable[str]) -> str:
    """Return the text of *error* without the secrets of the *addresses* that it may mention."""
    name = type(error).__name__
    if isinstance(error, ValueError):  # it may quote part of a malformed address
        return name
    text = str(error)
    secrets = {secret for address in addresses for secret in _secrets(address)}
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, _MASK)
    return f"{name}: {text}" if text else name


def _secrets(address: str) -> Iterator[str]:
    """Yield the passwords of a URL, as written and decoded."""
    # The authority ends at the first / ? or #, unless the password contains one.
    for pattern in (r"[^:]*://([^/?#]*)@", r"[^:]*://(.*)@"):
        if found := re.match(pattern, address, re.S):
            user, separator, password = found[1].partition(":")
            written = password if separator else user
            yield from filter(None, (written, unquote(written)))
    for name, value in parse_qsl(address.partition("?")[2]):
        if _TELLING.search(name):
            yield value
