"""A worker's name: a dyno's, such as ``worker.3``, or what stands for it elsewhere."""

from __future__ import annotations

import re

_CEDAR = re.compile(r"^(?P<pool>[-\w]+)\.(?P<number>[1-9]\d*)$")
_FIR = re.compile(r"^(?P<pool>[-\w]+)-[a-z0-9]{4,}-[a-z0-9]{4,}$")


def pool_of(name: str) -> str | None:
    """The process type in a dyno's name, ``worker`` in ``worker.3`` and in Fir's names."""
    match = _CEDAR.match(name) or _FIR.match(name)
    return match["pool"] if match else None


def number_of(name: str) -> int | None:
    """The ordinal in a dyno's name, None on platforms that do not number them."""
    match = _CEDAR.match(name)
    return int(match["number"]) if match else None
