"""Carries this process's counts to the ledger, and evaluates where the ledger says so.

A publisher's agent is one daemon thread that sleeps until something is published, gathers for a
moment, and flushes. After a flush it asks again when the ledger says that an evaluation will be
due, so that the last task of a burst is followed by an evaluation even if no worker lives.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import cache
from multiprocessing.util import Finalize
from time import monotonic, time
from typing import Protocol

import redis

from .ledger import EVALUATION_GAP, LONGEST_HOLD, Lease, Ledger, Reply
from .presence import Presence
from .settings import Settings
from .tally import Batch, Tally
from .trouble import TroubleLog

logger = logging.getLogger("celery_middle_management")

#: A burst is gathered for this long (s), so that workers are hired for it as a whole.
GATHER = 0.1
#: Redis adds this many publishing times and buckets in one go: it does nothing else meanwhile.
MOST_AT_ONCE = 2000
#: Ask again after this time (s) while Redis fails.
RETRY = 2.0
#: At exit, counts are flushed and evaluated for this long (s) at most.
EXIT_TIMEOUT = 4.0


class Evaluator(Protocol):
    """What an agent starts when it has won the lock."""

    def evaluate(self, lease: Lease) -> None:
        """Make one evaluation."""


class Courier:
    """Reports to the ledger, and keeps what could not be reported for the next time."""

    def __init__(
        self,
        settings: Settings,
        tally: Tally,
        ledger: Ledger,
        evaluator: Callable[[], Evaluator],
    ) -> None:
        self._settings = settings
        self._tally = tally
        self._ledger = ledger
        self._evaluator = cache(evaluator)
        self._batch = Batch(settings.pool_name)
        self._held_until: dict[str, float] = {}
        self._look_again = 0.0
        self._trouble = TroubleLog(logger)
        self._evaluation: threading.Thread | None = None

    def urgent(self) -> bool:
        """Whether something was published that may change a quantity now."""
        self._tally.drain(self._batch)
        now = monotonic()
        if self._batch.unplaced and now >= self._look_again:
            return True
        return any(
            now >= self._held_until.get(pool, 0.0)
            for pool in (*self._batch.published, *self._batch.scheduled)
        )

    def report(
        self,
        identity: str | None = None,
        presence: Presence | None = None,
    ) -> Reply | None:
        """Report all that there is; None if Redis failed. Starts the evaluation if it is ours."""
        self._tally.drain(self._batch)
        self._held_until = {}
        try:
            while True:
                part = self._batch.take(MOST_AT_ONCE)
                if not self._batch:
                    break
                self._tell(part, more=True)
            reply = self._tell(part, identity, presence)
        except (redis.RedisError, OSError, ValueError) as error:
            self._trouble.warn("redis", "Redis failed, counts are kept: %s", error)
            return None
        if reply.lease is not None:
            self._evaluate(reply.lease)
        return reply

    def join(self, deadline: float) -> None:
        """Wait for an evaluation under way, until *deadline* (``monotonic()``)."""
        if self._evaluation is not None:
            self._evaluation.join(max(deadline - monotonic(), 0.0))

    def prepare(self) -> None:
        """Make what evaluates now rather than later; raises what goes wrong in that."""
        self._evaluator()

    def _tell(
        self,
        part: Batch,
        identity: str | None = None,
        presence: Presence | None = None,
        *,
        more: bool = False,
    ) -> Reply:
        try:
            reply = self._ledger.report(part, identity, presence, more=more)
        except BaseException:
            # It may have been added all the same: counted twice heals, forgotten does not.
            self._batch.give_back(part)
            raise
        self._batch.ahead = reply.now - time()
        now = monotonic()
        if part.unplaced:
            self._look_again = now + LONGEST_HOLD
        self._held_until |= {pool: now + hold for pool, hold in reply.held.items()}
        return reply

    def _evaluate(self, lease: Lease) -> None:
        # In a thread of its own: a platform that hangs must not stop the reports.
        evaluation = threading.Thread(
            target=lambda: self._evaluator().evaluate(lease), name="mm-evaluation", daemon=True
        )
        try:
            evaluation.start()
        except RuntimeError:  # the interpreter shuts down: this thread has nothing else to do
            self._evaluator().evaluate(lease)
        else:
            self._evaluation = evaluation


class Agent:
    """The agent of a process that publishes. Started by its first task, once for each process."""

    def __init__(self, tally: Tally, courier: Callable[[], Courier]) -> None:
        self._tally = tally
        self._make_courier = courier
        self.reset()

    def reset(self) -> None:
        """Forget the thread of the parent, in a fresh child."""
        self._begun = False
        self._closed = threading.Event()
        self._courier: Courier | None = None

    def published(self) -> None:
        """A task of ours was published: see to it that somebody flushes it."""
        if self._begun or self._tally.shared:
            return
        self._begun = True
        self._thread = threading.Thread(target=self._run, name="mm-agent", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            logger.warning("a task published while the interpreter shuts down is not hired for")
            return
        Finalize(None, self.close, exitpriority=10)

    def close(self) -> None:
        """Flush and, where it is due, evaluate, for :data:`EXIT_TIMEOUT` at most."""
        if not self._begun or self._closed.is_set():
            return
        deadline = monotonic() + EXIT_TIMEOUT
        self._closed.set()
        self._tally.wake()
        self._thread.join(EXIT_TIMEOUT)
        if self._courier is not None:
            self._courier.join(deadline)

    def _run(self) -> None:
        courier = self._courier = self._make_courier()
        wait: float | None = None
        last = False
        while not last:
            laden = not self._closed.is_set() and self._tally.wait(wait)
            # The last report begins after the closing, so that it has everything.
            last = self._closed.is_set()
            wait = self._report(courier, laden)

    def _report(self, courier: Courier, laden: bool) -> float:
        """Report; returns after how many seconds to ask again."""
        try:
            if laden:
                self._gather(courier)
            reply = courier.report()
        except Exception:
            logger.exception("a publisher could not report")
            reply = None
        if reply is None:
            self._closed.wait(RETRY)
            return RETRY
        # Our own evaluation is under way: what it waits for is known when it is done.
        return EVALUATION_GAP if reply.lease else reply.wait

    def _gather(self, courier: Courier) -> None:
        began = monotonic()
        self._closed.wait(began + GATHER - monotonic())
        while not courier.urgent() and monotonic() - began < LONGEST_HOLD:
            if self._closed.wait(GATHER):
                return
