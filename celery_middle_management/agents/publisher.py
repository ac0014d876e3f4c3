"""Carries this process's counts to the ledger, and evaluates where the ledger says so.

A publisher's agent is one daemon thread that looks for what was published, gathers it for a moment,
and flushes. After a flush it asks again when the ledger says that an evaluation will be due, so
that the last task of a burst is followed by an evaluation even if no worker lives.

What a thread waits for here is made by that thread, or just before it starts, and never with the
import: gevent or eventlet may patch the standard library in between, and the thread is a greenlet
from then on.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from math import inf
from multiprocessing.util import Finalize
from time import monotonic
from typing import Any, Protocol

import redis

from celery_middle_management.agents.tally import Batch, Tally
from celery_middle_management.core.presence import Presence
from celery_middle_management.ledger.redis import (
    EVALUATION_GAP,
    LOCK_SECONDS,
    LONGEST_HOLD,
    Lease,
    Ledger,
    Reply,
)
from celery_middle_management.log_throttle import TroubleLog
from celery_middle_management.settings.reading import Settings

logger = logging.getLogger("celery_middle_management")

#: A burst is gathered for this long (s), so that workers are hired for it as a whole.
GATHER = 0.1
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
#: An agent that has waited in vain for its evaluation says so within this time (s).
_LAST_WORD = 0.5


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
        self._trouble = TroubleLog(logger)
        self._evaluation: threading.Thread | None = None
        #: Of the last reply: nobody may have looked yet at what was told, though it matters. Before
        #: the first: nobody may ever have looked, and there may be a minimum to be kept.
        self._unseen: int | None = 0
        #: Redis, or the platform, did not do lately what it was asked for.
        self._failing = False
        self._patience = EXIT_TIMEOUT

    @property
    def patience(self) -> float:
        """How long (s) the end of this process may be held up."""
        return FAILING_EXIT_TIMEOUT if self._failing else self._patience

    @property
    def left_over(self) -> bool:
        """Whether there is something that nobody may hire for."""
        return bool(self._batch) or self._unseen is not None

    def urgent_at(self) -> float:
        """From when on (``monotonic()``) what was published may change a quantity."""
        self._tally.drain(self._batch)
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
                self._evaluate(replace(reply.lease, ends=began + EXIT_TIMEOUT - _LAST_WORD))
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
        self._batch.ahead = reply.now - time.time()
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

    def _join(self, began: float) -> bool:
        """Wait for an evaluation of ours under way, as long as there is time; whether it ended."""
        if self._evaluation is None:
            return True
        timeout = FAILING_EXIT_TIMEOUT if self._failing else EXIT_TIMEOUT
        self._evaluation.join(max(began + timeout - _LAST_WORD - monotonic(), 0.0))
        return not self._evaluation.is_alive()


def see_off(thread: threading.Thread, courier: Courier) -> None:
    """Wait until *thread*, which has its *courier* leave, has ended or there is no hope for it."""
    began = monotonic()
    while thread.is_alive() and monotonic() - began < courier.patience:
        thread.join(LOOK)
    if courier.left_over:
        logger.warning(
            "this process ends, and nobody may hire for what it published last until another"
            " process of the app publishes or works"
        )


class Agent:
    """The agent of a process that publishes. Started by its first task, once for each process."""

    _closed: threading.Event

    def __init__(self, tally: Tally, courier: Callable[[], Courier]) -> None:
        self._tally = tally
        self._make_courier = courier
        self._trouble = TroubleLog(logger)
        self.reset()

    def reset(self) -> None:
        """Forget the thread of the parent, in a fresh child."""
        self._begun = False
        # Never waited for: who takes it begins.
        self._first = threading.Lock()

    def published(self) -> None:
        """A task of the app was published: see to it that somebody tells of it."""
        if self._begun or self._tally.shared or not self._first.acquire(blocking=False):
            if self._begun and self._closed.is_set():
                self._too_late()
            return
        self._closed = threading.Event()
        self._ask_at = monotonic() + GATHER
        self._courier = self._make_courier()
        self._thread = threading.Thread(
            target=_watch,
            args=(weakref.ref(self), [self], self._closed),
            name="mm-agent",
            daemon=True,
        )
        self._begun = True
        try:
            self._thread.start()
        except RuntimeError:
            self._too_late()
            return
        at_exit = Finalize(None, _close, (weakref.ref(self),), exitpriority=10)
        weakref.finalize(self, at_exit.cancel).atexit = False

    def close(self) -> None:
        """Flush and, where it is due, evaluate, for as long as :attr:`Courier.patience`."""
        if not self._closed.is_set():
            self._closed.set()
            see_off(self._thread, self._courier)

    def look(self) -> float:
        """Tell of what was published, if it is time; returns after how many seconds to look again.

        For the thread alone, as is :meth:`leave`.
        """
        rest = RETRY
        with self._trouble.guard("a publisher's report"):
            ready_at = min(self._courier.urgent_at() + GATHER, self._ask_at)
            rest = min(ready_at - monotonic(), LOOK)
            if rest <= 0:
                self._ask_at = monotonic() + self._report()
                rest = LOOK
        return rest

    def leave(self) -> None:
        """Tell of what was published last."""
        with self._trouble.guard("a publisher's last report"):
            self._courier.leave()

    def _too_late(self) -> None:
        message = "a task published while the interpreter shuts down is not hired for"
        self._trouble.warn("late", message)

    def _report(self) -> float:
        """Report; returns after how many seconds to ask again."""
        reply = self._courier.report()
        if reply is None:
            return RETRY
        # Our own evaluation is under way: what it waits for is known when it is done.
        return EVALUATION_GAP if reply.lease else reply.wait


def _watch(reference: weakref.ref[Agent], young: list[Agent], closed: threading.Event) -> None:
    """What the thread of an agent does until that is *closed*, or its app is gone.

    *young* holds it for its first seconds: an app may be made for one task, and forgotten at once.
    """
    began, rest, wait = monotonic(), GATHER, _waiter(closed)
    while not wait(rest):
        agent = reference()
        if agent is None:
            return
        rest = agent.look()
        del agent
        if monotonic() - began >= EXIT_TIMEOUT:
            young.clear()
    agent = reference()
    if agent is not None:
        agent.leave()


def _waiter(closed: threading.Event) -> Callable[[float], bool]:
    """What waits for *closed*, for some seconds at most, and returns whether it is.

    As a greenlet of gevent's it is not waited for by ``gevent.wait()``, which else would never end.
    """
    gevent: Any = sys.modules.get("gevent")
    monkey: Any = sys.modules.get("gevent.monkey")
    if monkey is None or not monkey.is_module_patched("threading"):
        return closed.wait

    def wait(seconds: float) -> bool:
        gevent.sleep(seconds, ref=False)
        return closed.is_set()

    return wait


def _close(reference: weakref.ref[Agent]) -> None:
    agent = reference()
    if agent is not None:
        agent.close()
