"""What a worker logs when it is drained: that it takes no more tasks, why, and when it is done."""

from __future__ import annotations

import json
import logging
from time import monotonic

from celery_middle_management.core.cordon import Cordon
from celery_middle_management.core.presence import Presence

logger = logging.getLogger("celery_middle_management")


class DrainLog:
    """The log of one worker. Each line has keys and values that a log search can use."""

    def __init__(self, worker: str) -> None:
        self._worker = worker
        #: Since when it drains (``monotonic()``); None while it does not.
        self._since: float | None = None
        self._drained = False

    def update(self, cordon: Cordon, presence: Presence, why: str = "") -> None:
        """Log what has changed, given the *presence* that the worker has just reported.

        *cordon* is the one that holds it now, empty if none does; *why* is the reason, in words.
        """
        running = sum(held.running for held in presence.held.values())
        # If `at` is 0, no scaler has set the cordon: the worker waits for its first reply.
        if not cordon or not cordon.at:
            if self._since is not None:
                self._log("undrain", f"running={running} {self._after()}")
                self._since = None
        elif self._since is None:
            self._since, self._drained = monotonic(), False
            reason = f" reason={json.dumps(why)}" if why else ""
            self._log("drain", f"running={running}{reason}")
        elif not self._drained and presence.stopped == cordon.at:
            self._drained = not (presence.busy or presence.returning)
            if self._drained:
                self._log("drained", self._after())

    def _after(self) -> str:
        return f"after={monotonic() - (self._since or 0.0):.0f}s"

    def _log(self, event: str, details: str) -> None:
        logger.info("%s worker=%s %s", event, self._worker, details)
