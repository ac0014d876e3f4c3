"""What must be shown to nobody, and errors that would show it.

An error carries the frames that it went through, and error trackers and Django's error page show
the variables of each. So what handles a secret raises nothing past the function that was given it
in a :class:`Secret`: there, the error is cut off from its frames by :func:`bare`.
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
#: The words in the name of a value that is a secret.
_TELLING = re.compile("pass|secret|token|key", re.I)

_Error = TypeVar("_Error", bound=BaseException)


class Secret:
    """A string that shows itself only when asked to: not in a repr, a log, a format, a pickle."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The string itself."""
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
        return self._value.encode(errors="surrogatepass")  # the environment is any bytes

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret cannot be pickled")


def bare(error: _Error) -> _Error:
    """*error* itself, without the frames that it came through and the errors that led to it.

    Raise it outside of the ``except`` block that caught it: there it would get them again.
    """
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def shown(address: str) -> str:
    """Of a URL, what anybody may see: its scheme, host and port.

    Where the password may reach beyond its place, as with a ``/`` in it, the scheme alone.
    """
    parts = _ADDRESS.fullmatch(address)
    if parts:
        return f"{parts[1]}://{parts[3]}"
    scheme, separator, _ = address.partition("://")
    return f"{scheme}://{_MASK}" if separator and scheme.isalnum() else _MASK


def told(error: BaseException, addresses: Iterable[str]) -> str:
    """What *error* says, without what is secret in the *addresses* that it may be about."""
    name = type(error).__name__
    if isinstance(error, ValueError):  # it may quote part of an address that cannot be parsed
        return name
    text = str(error)
    secrets = {secret for address in addresses for secret in _secrets(address)}
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, _MASK)
    return f"{name}: {text}" if text else name


def _secrets(address: str) -> Iterator[str]:
    """The passwords of a URL, as they are written and as they are meant."""
    # Its authority ends at the first / ? or #, unless these are in the password.
    for pattern in (r"[^:]*://([^/?#]*)@", r"[^:]*://(.*)@"):
        if found := re.match(pattern, address, re.S):
            user, separator, password = found[1].partition(":")
            written = password if separator else user
            yield from filter(None, (written, unquote(written)))
    for name, value in parse_qsl(address.partition("?")[2]):
        if _TELLING.search(name):
            yield value
