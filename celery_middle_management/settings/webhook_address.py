"""The address of the webhook: what is wrong with one, in words that do not show it."""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from urllib.parse import urlsplit

ALLOWED = "an http:// or https:// address without user, password or fragment"


def check(value: object) -> str | None:
    """Return the address, or None.

    Raises:
        ValueError: no message can be sent to it. The error's argument says why.
    """
    if value is None:
        return None
    if wrong := flaw(value):
        raise ValueError(wrong)
    return str(value)


def flaw(value: object) -> str:
    """Say what is wrong with an address, in words that show none of it; empty if nothing is."""
    if not isinstance(value, str):
        return "is not a string"
    if re.search(r"\s", value):
        return "contains white space"
    if not value.isascii():
        return "contains characters that are not ASCII"
    if not value.isprintable():
        return "contains control characters"
    if not re.match("https?://", value, re.I):
        return "does not begin with http:// or https://"
    return _flaw_of_parts(value)


def _flaw_of_parts(address: str) -> str:
    if "#" in address:
        return "has a fragment (#)"
    authority = re.split("[/?]", address.partition("://")[2], maxsplit=1)[0]
    if "@" in authority:
        return "has a user or a password (@)"
    if ("[" in authority) != ("]" in authority):
        return "has a [ without its ], or the other way round"
    bracketed = re.search(r"\[(.*)\]", authority)
    try:
        # Python before 3.11.4 takes any host in brackets.
        if bracketed:
            IPv6Address(bracketed[1])
        parts = urlsplit(address)
    except ValueError:
        return "has a host in [ ] that is no IPv6 address"
    if not parts.hostname:
        return "has no host"
    try:
        port = parts.port
    except ValueError:
        port = 0
    return "has a port that is not a number from 1 to 65535" if port == 0 else ""
