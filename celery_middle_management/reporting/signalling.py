"""Sends the package's signals about what an evaluation has written into the history."""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import datetime
from time import monotonic
from typing import Any

from celery import Celery
from celery.utils.dispatch import Signal

from celery_middle_management.log_throttle import LogThrottle
from celery_middle_management.reporting.side_work import SideWork
from celery_middle_management.signals import (
    scaling_failed,
    stuck_at_max,
    workers_fired,
    workers_hired,
)

logger = logging.getLogger("celery_middle_management")

#: At most this many signals wait for receivers; the oldest is dropped.
MOST_WAITING = 100
#: A receiver that takes longer (s) is logged.
SLOW = 30.0
#: The troubles of single workers: their pool is scaled all the same.
_OF_WORKERS = ("deaf", "missed", "lifetime")


class Signalling:
    """Sends signals for one app, in a thread of its own."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._waiting = deque[tuple[Signal, Mapping[str, Any]]](maxlen=MOST_WAITING)
        self._thread = SideWork("mm-signals", self._send)
        self._trouble = LogThrottle(logger)
        #: When (``monotonic()``) the signal that is being sent was begun.
        self._began: float | None = None

    def send(self, entries: Iterable[str]) -> None:
        """Send the signals of packed *entries* that the ledger has stored. Returns at once."""
        for entry in map(json.loads, entries):
            found = signal_of(entry)
            if found is not None and found[0].has_listeners(self._app):
                self._waiting.append(found)
        if self._waiting:
            self._warn_of_slow_receiver()
            self._thread.wake()

    def _send(self, _: float) -> None:
        while self._waiting and not self._thread.stop:
            signal, arguments = self._waiting.popleft()
            self._began = monotonic()
            try:
                signal.send(sender=self._app, **arguments)
            finally:
                self._began = None

    def _warn_of_slow_receiver(self) -> None:
        began = self._began
        if began is not None and monotonic() - began > SLOW:
            self._trouble.warn(
                "slow",
                "a receiver of celery_middle_management's signals has not returned for %d s: "
                "%d signals wait for it",
                monotonic() - began,
                len(self._waiting),
            )


def signal_of(entry: Mapping[str, Any]) -> tuple[Signal, dict[str, Any]] | None:
    """Return the signal about an *entry* of the history, and its arguments; None: there is none."""
    about = {key: entry.get(key) for key in ("pool", "reason")}
    about["at"] = datetime.fromisoformat(entry["at"])
    action = entry["action"]
    if action in {"hire", "fire"}:
        signal = workers_hired if action == "hire" else workers_fired
        numbers = {"before": entry["from"], "after": entry["to"]}
        return signal, {**about, **numbers, "dry_run": bool(entry.get("dry_run"))}
    kind = entry.get("kind", "").partition(" ")[0]
    if action == "trouble" and kind not in _OF_WORKERS:
        return scaling_failed, {**about, "kind": kind}
    if action == "stuck at max":
        return stuck_at_max, about
    return None
