"""The queues that a process need not report again yet."""

from __future__ import annotations

from collections.abc import Iterable

from celery_middle_management.ledger.model import MOST_QUEUES, TELL_QUEUES
from celery_middle_management.settings.model import Settings


class RecentQueues:
    """The queues that this process has reported lately, and when (``monotonic()``)."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.reported: dict[str, float] = {}

    def new(self, queues: Iterable[str], now: float) -> list[str]:
        """Return those of *queues* that have to be reported *now*."""
        if not queues:
            return []
        since = now - TELL_QUEUES
        self.reported = {q: at for q, at in self.reported.items() if at > since}
        if len(self.reported) > 2 * MOST_QUEUES:
            self.reported = {}
        return [q for q in queues if q not in self.reported and self._only_publishers_know(q)]

    def add(self, queues: Iterable[str], now: float) -> None:
        """Remember that these *queues* have been reported."""
        self.reported |= dict.fromkeys(queues, now)

    def _only_publishers_know(self, queue: str) -> bool:
        """Return whether no pool names the queue."""
        pool = self._settings.pool_for(queue)
        return pool is None or pool.queues is None
