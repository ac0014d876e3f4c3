"""Whether the ledger's Redis has run out of something."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def what_is_full(info: Mapping[str, Any]) -> str:
    """Return a sentence that says what a server lacks, memory or connections; empty if nothing.

    *info* has what Redis's ``INFO`` says about memory and clients, as far as we may ask.
    """
    memory, most = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    if 0 < most <= memory and info.get("maxmemory_policy") == "noeviction":
        return (
            f"the ledger's Redis has no memory left: {memory} of {most} bytes are in use. See "
            'what uses it (`redis-cli -u "$REDIS_URL" --bigkeys`) and delete that, or take a '
            "larger plan"
        )
    connected, limit = int(info.get("connected_clients", 0)), int(info.get("maxclients", 0))
    if 0 < limit <= connected:
        return (
            f"the ledger's Redis has no connection left: {connected} of {limit} are in use. See"
            ' what holds them (`redis-cli -u "$REDIS_URL" client list`), or take a larger plan'
        )
    return ""
