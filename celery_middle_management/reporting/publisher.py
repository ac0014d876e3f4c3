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
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.util import Finalize
from time import monotonic

from celery_middle_management import threads
from celery_middle_management.core.timing import EVALUATION_GAP
from celery_middle_management.counting.tally import Tally
from celery_middle_management.log_throttle import LogThrottle
from celery_middle_management.reporting.reporter import EXIT_TIMEOUT, LOOK, RETRY, Reporter, see_off

logger = logging.getLogger("celery_middle_management")
#: A burst is gathered for this long (s), so that workers are hired for it as a whole.
GATHER = 0.1
#: Whether a flush is over is looked for this often (s).
_GLANCE = 0.01


@dataclass
class _Flush:
    """A wait until what was published has been told and looked at."""

    is_over: bool = False
    done: bool = False


class PublisherAgent:
    """The agent of a process that publishes. Started by its first task, once for each process."""

    _closed: threading.Event

    def __init__(self, tally: Tally, reporter: Callable[[], Reporter]) -> None:
        self._tally = tally
        self._make_reporter = reporter
        self._trouble = LogThrottle(logger)
        self.reset()

    def reset(self) -> None:
        """Forget the thread of the parent, in a fresh child."""
        self._begun = False
        self._flushes: deque[_Flush] = deque()
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
        self._reporter = self._make_reporter()
        watched = (weakref.ref(self), [self], self._closed)
        try:
            self._thread = threads.start("mm-agent", _watch, *watched)
        except RuntimeError:
            self._too_late()
            return
        self._begun = True
        at_exit = Finalize(None, _close, (weakref.ref(self),), exitpriority=10)
        weakref.finalize(self, at_exit.cancel).atexit = False

    def flush(self, timeout: float) -> bool:
        """Have what was published told and looked at; returns whether that was done in time."""
        if not self._begun:
            return True
        flush, until = _Flush(), monotonic() + timeout
        self._flushes.append(flush)
        while not flush.is_over and self._thread.is_alive() and monotonic() < until:
            time.sleep(_GLANCE)
        if not flush.done:
            self._trouble.warn(
                "flush",
                "what this process published last may not be hired for until another process of"
                " the app publishes or works",
            )
        return flush.done

    @property
    def begun(self) -> bool:
        """Whether this process has published."""
        return self._begun

    def close(self) -> None:
        """Flush and, where it is due, evaluate, for as long as :attr:`Reporter.patience`."""
        if not self._closed.is_set():
            self._closed.set()
            see_off(self._thread, self._reporter)

    def look(self) -> float:
        """Tell of what was published, if it is time; returns after how many seconds to look again.

        For the thread alone, as is :meth:`leave`.
        """
        rest = RETRY
        with self._trouble.guard("a publisher's report"):
            if self._flushes:
                self._flush()
            ready_at = min(self._reporter.urgent_at() + GATHER, self._ask_at)
            rest = min(ready_at - monotonic(), LOOK)
            if rest <= 0:
                self._ask_at = monotonic() + self._report()
                rest = LOOK
        return rest

    def leave(self) -> None:
        """Tell of what was published last."""
        with self._trouble.guard("a publisher's last report"):
            self._reporter.leave()

    def _flush(self) -> None:
        # Those that come meanwhile may have published meanwhile.
        flushes = [self._flushes.popleft() for _ in range(len(self._flushes))]
        self._reporter.leave()
        self._ask_at = monotonic()
        for flush in flushes:
            flush.done = not self._reporter.left_over
            flush.is_over = True

    def _too_late(self) -> None:
        message = "a task published while the interpreter shuts down is not hired for"
        self._trouble.warn("late", message)

    def _report(self) -> float:
        """Report; returns after how many seconds to ask again."""
        reply = self._reporter.report()
        if reply is None:
            return RETRY
        # Our own evaluation is under way: what it waits for is known when it is done.
        return EVALUATION_GAP if reply.lease else reply.wait


def _watch(
    reference: weakref.ref[PublisherAgent], young: list[PublisherAgent], closed: threading.Event
) -> None:
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
    """What waits for *closed*, for some seconds at most, and returns whether it is."""
    if not threads.are_greenlets():
        return closed.wait

    def wait(seconds: float) -> bool:
        threads.sleep(seconds)
        return closed.is_set()

    return wait


def _close(reference: weakref.ref[PublisherAgent]) -> None:
    agent = reference()
    if agent is not None:
        agent.close()
