"""Which entries of the history are news: worth a message, if no process has claimed them yet."""

from __future__ import annotations

from typing import TypedDict

from celery_middle_management.ledger.model import EXPIRY, millis

#: An entry is news for this long (s), ...
OLDEST = 600.0
#: ... or for this long (s) if no entry was ever claimed.
FIRST = 60.0


class ClaimMessage(TypedDict):
    """Which entries of the history to claim. See ``claim.lua``."""

    id: str
    most: int
    oldest: int
    first: int
    expiry: int


def claim_message(id: str, most: int) -> ClaimMessage:
    """Return the message of the claim *id*, of at most *most* entries."""
    return {
        "id": id,
        "most": most,
        "oldest": millis(OLDEST),
        "first": millis(FIRST),
        "expiry": EXPIRY,
    }
