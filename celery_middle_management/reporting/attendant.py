"""Evaluates for a while after a person's request, in a process that lives on.

Workers and publishers would do it too, but there may be none. And a call interval may put off what
the first evaluation would do.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from time import monotonic

from celery_middle_management import threads
from celery_middle_management.core.timing import EVALUATION_GAP
from celery_middle_management.log_throttle import LogThrottle
from celery_middle_management.reporting.reporter import RETRY, Reporter

#: How long (s) it reports after the last request: longer than a call interval and a lock last.
LASTS = 45.0

_trouble = LogThrottle(logging.getLogger("celery_middle_management"))


class Attendant:
    """Reports for one app in one process, in one thread however many requests there are.

    If the process dies, the request is in the ledger, where any other process evaluates it.
    """

    def __init__(self, reporter: Callable[[], Reporter]) -> None:
        self._make_reporter = reporter
        self._until = 0.0
        self.reset()

    def reset(self) -> None:
        """Forget the parent's thread, in a fresh child."""
        # No thread waits for this lock: the one that acquires it starts the thread.
        self._busy = threading.Lock()

    def attend(self) -> None:
        """Report, and evaluate when it is due, from now on and for a while."""
        self._until = monotonic() + LASTS
        self._begin()

    def _begin(self) -> None:
        if not self._busy.acquire(blocking=False):
            return  # the thread sees the later end
        try:
            threads.start("mm-by-hand", self._run)
        except RuntimeError:  # the interpreter shuts down
            self._busy.release()

    def _run(self) -> None:
        try:
            while monotonic() < self._until:
                with _trouble.guard("an evaluation after a request"):
                    self._report()
                    break
                time.sleep(RETRY)
        finally:
            self._busy.release()
        # A request may have come after the last look at the time.
        if monotonic() < self._until:
            self._begin()

    def _report(self) -> None:
        reporter = self._make_reporter()
        while monotonic() < self._until:
            reply = reporter.report()
            wait = RETRY if reply is None else EVALUATION_GAP if reply.lease else reply.wait
            time.sleep(min(wait, EVALUATION_GAP))
        reporter.leave()
