"""The entries of the history that other processes write while this one looks."""

from __future__ import annotations

from typing import Any

from celery_middle_management.ledger.model import HISTORY
from celery_middle_management.ledger.redis import RedisLedger


class NewEntries:
    """Reads each entry once, from the first call of :meth:`read` on."""

    def __init__(self, ledger: RedisLedger) -> None:
        self._ledger = ledger
        #: The id of the last entry that was read, or that was there before.
        self._last: str | None = None

    def read(self) -> list[str]:
        """Return the packed entries since the last call, the oldest first; none the first time.

        Raises:
            redis.RedisError: the ledger cannot be read.
        """
        untyped: Any = self._ledger.redis
        actions = self._ledger.keys["actions"]
        if self._last is None:
            last = untyped.xrevrange(actions, count=1)
            self._last = last[0][0] if last else "0-0"
            return []
        latest = untyped.xrevrange(actions, min=self._last, count=HISTORY)
        new = [fields["entry"] for place, fields in reversed(latest) if place != self._last]
        self._last = latest[0][0] if latest else self._last
        return [entry for entry in new if entry not in self._ledger.own_entries]
