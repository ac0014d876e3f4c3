"""Carries a process's counts to the ledger, and starts the evaluations that are its to make."""

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
from celery_middle_management.core.timing import LOCK_SECONDS, LONGEST_HOLD
from celery_middle_management.counting.tally import Tally
from celery_middle_management.log_throttle import LogThrottle
from celery_middle_management.settings.model import Settings

if TYPE_CHECKING:
    from celery_middle_management.core.presence import Presence
    from celery_middle_management.ledger.ledger import Ledger
    from celery_middle_management.ledger.model import Lease, Reply

logger = logging.getLogger("celery_middle_management")

#: Redis adds this many publishing times and buckets in one go: it does nothing else meanwhile.
MOST_AT_ONCE = 2000
#: An agent looks for what was published this often (s).
LOOK = 0.1
#: Ask again after this time (s) while Redis fails.
RETRY = 2.0
#: At exit, counts are flushed and evaluated for this long (s) at most, ...
EXIT_TIMEOUT = 4.0
#: ... and so long (s) where Redis or the platform is known to fail.
FAILING_EXIT_TIMEOUT = 1.0
#: Whether a thread has ended is looked for this often (s).
_GLANCE = 0.01
#: An agent that has waited in vain for its evaluation says so within this time (s).
_LAST_WORD = 0.3


class Evaluator(Protocol):
    """What an agent starts when it has won the lock."""

    def evaluate(self, lease: Lease) -> None:
        """Make one evaluation."""


class Reporter:
    """Reports to the ledger, and keeps what could not be reported for the next time."""

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
        self._batch = Batch(settings.pool_name)
        self._held_until: dict[str, float] = {}
        self._look_again = 0.0
        self._retry_at = 0.0
        self._trouble = LogThrottle(logger)
        self._evaluation: threading.Thread | None = None
        #: Of the last reply: nobody may have looked yet at what was told, though it matters. Before
        #: the first: nobody may ever have looked, and there may be a minimum to be kept. None where
        #: this process does not look.
        self._unseen: int | None = None if settings.inactive else 0
        #: Redis, or the platform, did not do lately what it was asked for.
        self._failing = False
        # What it tells is hired for by others, sooner or later.
        self._patience = FAILING_EXIT_TIMEOUT if settings.inactive else EXIT_TIMEOUT

    @property
    def patience(self) -> float:
        """How long (s) the end of this process may be held up."""
        return FAILING_EXIT_TIMEOUT if self._failing else self._patience

    @property
    def _time_to_evaluate(self) -> float:
        """How long (s) an evaluation may take when this process ends."""
        return (FAILING_EXIT_TIMEOUT if self._failing else EXIT_TIMEOUT) - _LAST_WORD

    @property
    def left_over(self) -> bool:
        """Whether there is something that nobody may hire for."""
        return bool(self._batch) or self._unseen is not None

    def collect(self) -> None:
        """Take note of all that was recorded until now, in the children of a pool too."""
        self._tally.drain(self._batch)

    def urgent_at(self) -> float:
        """From when on (``monotonic()``) what was published may change a quantity."""
        self.collect()
        pools = (*self._batch.published, *self._batch.scheduled)
        held_until = [self._held_until.get(pool, 0.0) for pool in pools]
        if self._batch.unplaced:
            held_until.append(self._look_again)
        return max(min(held_until, default=inf), self._batch.since, self._retry_at)

    def report(self, identity: str | None = None, presence: Presence | None = None) -> Reply | None:
        """Report all that there is; None if Redis failed. Starts the evaluation if it is ours."""
        reply = self._report(identity, presence)
        if reply is not None and reply.lease is not None:
            self._evaluate(reply.lease)
        return reply

    def leave(self, identity: str | None = None) -> None:
        """Report for the last time, and see to it that somebody looks at what was told.

        A worker says goodbye to its *identity*. For the thread that :func:`see_off` waits for.
        """
        self._tally.drain(self._batch)
        began, tried = monotonic(), False
        while identity or self.left_over:
            reply = self._report(identity, leaving=True)
            identity = None
            if reply is None:
                return
            if reply.lease is not None:
                began, tried = monotonic(), True
                self._evaluate(replace(reply.lease, ends=began + self._time_to_evaluate))
            elif reply.watched:
                self._unseen = None
            elif self.left_over:
                if tried or self._failing:
                    break
                # Whoever holds the lock may be dead, or have read the ledger before we told.
                self._patience = LOCK_SECONDS + EXIT_TIMEOUT
                time.sleep(LOOK)
            if not self._join(began):
                break
        if not self._join(began):
            self._report(gave_up=True)

    def prepare(self) -> None:
        """Make what evaluates now rather than later; raises what goes wrong in that."""
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
                self._tell(part, more=True)
            reply = self._tell(part, identity, presence, leaving=leaving, gave_up=gave_up)
        except (redis.RedisError, OSError, ValueError) as error:
            self._retry_at = monotonic() + RETRY
            self._failing = True
            self._trouble.warn("redis", "Redis failed, counts are kept: %s", error)
            return None
        self._failing = reply.failing
        return reply

    def _tell(
        self,
        part: Batch,
        identity: str | None = None,
        presence: Presence | None = None,
        **how: bool,
    ) -> Reply:
        try:
            reply = self._ledger().report(part, identity, presence, unseen=self._unseen, **how)
        except BaseException:
            # It may have been added all the same: counted twice heals, forgotten does not.
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
        # In a thread of its own: a platform that hangs must not stop the reports.
        def evaluate() -> None:
            self._evaluator().evaluate(lease)

        try:
            self._evaluation = threads.start("mm-evaluation", evaluate)
        except RuntimeError:  # the interpreter shuts down: this thread has nothing else to do
            evaluate()

    def _join(self, began: float) -> bool:
        """Wait for an evaluation of ours under way, as long as there is time; whether it ended."""
        if self._evaluation is None:
            return True
        return _ended(self._evaluation, began + self._time_to_evaluate)


def see_off(thread: threading.Thread, reporter: Reporter) -> None:
    """Wait until *thread*, which has its *reporter* leave, has ended or there is no hope for it."""
    began = monotonic()
    while not _ended(thread, monotonic() + LOOK) and monotonic() - began < reporter.patience:
        pass
    if thread.is_alive() or reporter.left_over:
        logger.warning(
            "this process ends, and nobody may hire for what it published last until another"
            " process of the app publishes or works"
        )


def _ended(thread: threading.Thread, until: float) -> bool:
    """Wait for the end of a *thread*, *until* a reading of ``monotonic()``; whether it has come.

    Under eventlet and Python 3.13, ``join()`` raises when its time is over.
    """
    while thread.is_alive() and monotonic() < until:
        time.sleep(_GLANCE)
    return not thread.is_alive()
