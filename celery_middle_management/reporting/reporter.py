"""Carries a process's counts to the ledger, and starts the evaluations that fall to it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Protocol

import redis

from celery_middle_management import threads
from celery_middle_management.core.batch import Batch
from celery_middle_management.core.timing import LOCK_SECONDS, LONGEST_HOLD, LOOK
from celery_middle_management.counting.tally import Tally
from celery_middle_management.log_throttle import LogThrottle
from celery_middle_management.settings.model import Settings

if TYPE_CHECKING:
    from celery_middle_management.core.presence import Presence
    from celery_middle_management.ledger.ledger import Ledger
    from celery_middle_management.ledger.model import Lease, Reply

logger = logging.getLogger("celery_middle_management")

#: One call adds at most this many publishing times and buckets, since it blocks Redis meanwhile.
MOST_AT_ONCE = 2000
#: While Redis fails, the next report comes after this time (s).
RETRY = 2.0
#: At exit, reporting and evaluating may take this long (s), ...
EXIT_TIMEOUT = 4.0
#: ... and this long (s) if Redis or the platform is known to fail.
FAILING_EXIT_TIMEOUT = 1.0
#: A thread that is waited for is checked this often (s).
_CHECK = 0.01
#: A process that has waited in vain for its evaluation reports that within this time (s).
_LAST_WORD = 0.3


class Evaluator(Protocol):
    """Evaluates the pools of an app."""

    def evaluate(self, lease: Lease) -> None:
        """Make one evaluation under *lease*."""


class Reporter:
    """Reports to the ledger. What cannot be reported is kept for the next time."""

    def __init__(
        self,
        settings: Settings,
        tally: Tally,
        ledger: Callable[[], Ledger],
        evaluator: Callable[[], Evaluator],
    ) -> None:
        self._tally = tally
        self._ledger = ledger
        self._evaluator = cache(evaluator)
        self._batch = Batch(settings.pool_name, settings.max_waits)
        self._held_until: dict[str, float] = {}
        self._look_again = 0.0
        self._retry_at = 0.0
        self._trouble = LogThrottle(logger)
        self._evaluation: threading.Thread | None = None
        #: When (the ledger's time, ms) something important was reported that an evaluation may not
        #: have seen; sent with the next report. None if there is nothing, or if this process never
        #: evaluates. 0 before the first reply: perhaps no evaluation has ever been made, and there
        #: is a minimum to keep.
        self._unseen: int | None = None if settings.inactive else 0
        self._evaluates = not settings.inactive
        #: Whether Redis or the platform failed when it was last called.
        self._failing = False
        # If this process is inactive, others hire for what it reports, sooner or later.
        self._patience = FAILING_EXIT_TIMEOUT if settings.inactive else EXIT_TIMEOUT

    @property
    def patience(self) -> float:
        """How long (s) the exit of this process may be delayed."""
        return FAILING_EXIT_TIMEOUT if self._failing else self._patience

    @property
    def _time_to_evaluate(self) -> float:
        """How long (s) an evaluation may take at the exit of this process."""
        return (FAILING_EXIT_TIMEOUT if self._failing else EXIT_TIMEOUT) - _LAST_WORD

    @property
    def has_unseen(self) -> bool:
        """True if there is something to hire for that evaluations may not have seen."""
        return bool(self._batch) or self._unseen is not None

    def collect(self) -> None:
        """Add up everything recorded so far, in a pool's children too."""
        self._tally.drain(self._batch)

    def urgent_at(self) -> float:
        """Return the time (``monotonic()``) from which what was published can change a quantity."""
        self.collect()
        pools = (*self._batch.published, *self._batch.scheduled)
        held_until = [self._held_until.get(pool, 0.0) for pool in pools]
        if self._batch.unplaced:
            held_until.append(self._look_again)
        return max(min(held_until, default=inf), self._batch.since, self._retry_at)

    def report(self, identity: str | None = None, presence: Presence | None = None) -> Reply | None:
        """Report everything, and start an evaluation if the reply has a lease for it.

        *identity* and *presence* are a worker's. Returns None if Redis failed.
        """
        reply = self._report(identity, presence)
        if reply is not None and reply.lease is not None:
            self._evaluate(reply.lease)
        return reply

    def leave(self, identity: str | None = None) -> None:
        """Report for the last time, and make sure that what was reported is evaluated.

        So is what others reported that may have ended meanwhile, or that never evaluate. A worker's
        *identity* is removed from the ledger. For the thread that :func:`wait_for_last_report`
        waits for.
        """
        self._tally.drain(self._batch)
        began, tried, first = monotonic(), False, self._evaluates
        while identity or first or self.has_unseen:
            reply = self._report(identity, leaving=True)
            identity, first = None, False
            if reply is None:
                return
            if reply.lease is not None:
                began, tried = monotonic(), True
                self._evaluate(replace(reply.lease, ends=began + self._time_to_evaluate))
            elif reply.watched:
                self._unseen = None
            elif self.has_unseen:
                if tried or self._failing:
                    break
                # The holder of the lock may be dead, or have read the ledger before our report.
                self._patience = LOCK_SECONDS + EXIT_TIMEOUT
                time.sleep(LOOK)
            if not self._join(began):
                break
        if not self._join(began):
            self._report(gave_up=True)

    def prepare(self) -> None:
        """Make the evaluator now rather than when it is first needed.

        Raises:
            any error that this causes.
        """
        self._evaluator()

    def _report(
        self,
        identity: str | None = None,
        presence: Presence | None = None,
        *,
        leaving: bool = False,
        gave_up: bool = False,
    ) -> Reply | None:
        self._tally.drain(self._batch)
        self._held_until = {}
        try:
            while True:
                part = self._batch.take(MOST_AT_ONCE)
                if not self._batch:
                    break
                self._send(part, more=True)
            reply = self._send(part, identity, presence, leaving=leaving, gave_up=gave_up)
        except (redis.RedisError, OSError, ValueError) as error:
            self._retry_at = monotonic() + RETRY
            self._failing = True
            self._trouble.warn("redis", "Redis failed, counts are kept: %s", error)
            return None
        self._failing = reply.failing
        return reply

    def _send(
        self,
        part: Batch,
        identity: str | None = None,
        presence: Presence | None = None,
        **how: bool,
    ) -> Reply:
        try:
            reply = self._ledger().report(part, identity, presence, unseen=self._unseen, **how)
        except BaseException:
            # It may have been added all the same. It is better to count it twice, which the next
            # count corrects, than to forget it.
            self._batch.give_back(part)
            raise
        self._unseen = reply.unseen
        self._batch.ahead = self._tally.ahead = reply.now - time.time()
        now = monotonic()
        if part.unplaced:
            self._look_again = now + LONGEST_HOLD
        self._held_until |= {pool: now + hold for pool, hold in reply.held.items()}
        return reply

    def _evaluate(self, lease: Lease) -> None:
        # In a thread of its own: a platform that does not answer must not stop the reports.
        def evaluate() -> None:
            with self._trouble.guard("an evaluation"):
                self._evaluator().evaluate(lease)

        try:
            self._evaluation = threads.start("mm-evaluation", evaluate)
        except RuntimeError:  # the interpreter shuts down: this thread has nothing else to do
            evaluate()

    def _join(self, began: float) -> bool:
        """Wait for our evaluation, if one runs, while there is time; return whether it ended."""
        if self._evaluation is None:
            return True
        return _ended(self._evaluation, began + self._time_to_evaluate)


def wait_for_last_report(thread: threading.Thread, reporter: Reporter) -> None:
    """Wait until *thread*, which calls ``reporter.leave()``, ends; give up after its patience."""
    began = monotonic()
    while not _ended(thread, monotonic() + LOOK) and monotonic() - began < reporter.patience:
        pass
    if thread.is_alive() or reporter.has_unseen:
        logger.warning(
            "this process ends: workers may not be hired for what it published last until another"
            " process of the app publishes or works"
        )


def _ended(thread: threading.Thread, until: float) -> bool:
    """Wait for *thread* to end, *until* a reading of ``monotonic()``; return whether it ended.

    It does not use ``join()``, which raises under eventlet and Python 3.13 when its time is over.
    """
    while thread.is_alive() and monotonic() < until:
        time.sleep(_CHECK)
    return not thread.is_alive()
