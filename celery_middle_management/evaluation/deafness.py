"""Finds deaf workers during an evaluation."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from celery_middle_management.core.deafness import counts_again, deaf_workers, suspected
from celery_middle_management.core.demand import Backlog
from celery_middle_management.core.presence import Presence
from celery_middle_management.evaluation.ports import Warn
from celery_middle_management.ledger.codec import pack_suspicions, unpack_suspicions
from celery_middle_management.ledger.model import Changes, Snapshot

#: The message about a deaf worker; the worker's name precedes it.
DEAF = (
    "takes no tasks, though tasks wait in its queues and it has room. It does not count as "
    "capacity, and another is hired within max_workers. Check its log. If this does not pass, "
    "restart it"
)


class Deafness:
    """The ledger's suspicions, updated by each count."""

    def __init__(self, snapshot: Snapshot, changes: Changes, warn: Warn) -> None:
        self._now = snapshot.now
        self._changes = changes
        self._warn = warn
        self._suspicions = unpack_suspicions(snapshot.state.get("deaf"))

    @property
    def wait(self) -> float:
        """Seconds until a count can show more."""
        return counts_again(self._suspicions) - self._now

    @property
    def stale(self) -> bool:
        """True if a count can show more now."""
        return self.wait <= 0

    def counted(
        self, at: float, backlogs: Mapping[str, Backlog], presences: Collection[Presence]
    ) -> None:
        """Update the suspicions against workers that could have taken the tasks counted."""
        known = self._suspicions
        lying = {queue: backlog.ready - backlog.untold for queue, backlog in backlogs.items()}
        self._suspicions = suspected(known, presences, lying, at)
        if self._suspicions == known:
            return
        if self._suspicions:
            self._changes.set["deaf"] = pack_suspicions(self._suspicions)
        else:
            self._changes.unset["deaf"] = None
        before = deaf_workers(known, presences, self._now)
        for name in sorted(self.of(presences).keys() - before.keys()):
            self._warn(f"deaf {name}", "%s %s", name, DEAF)

    def of(self, presences: Collection[Presence]) -> Mapping[str, float]:
        """Return the names of the deaf *presences*, each with the time (Unix, s) it became deaf."""
        return deaf_workers(self._suspicions, presences, self._now)
