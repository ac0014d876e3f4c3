"""The agent of a process that publishes: it reports the process's counts, and evaluates when due.

It is one daemon thread that looks for what was published, gathers it for a moment, and reports it.
It reports again at the time when the ledger says that an evaluation will be due, so that the last
task of a burst is followed by an evaluation even if no worker lives.

A lock or event that a thread waits for is made by that thread, or just before it starts, and never
at import time: gevent or eventlet may patch the standard library in between, and the thread is then
a greenlet.
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
from celery_middle_management.core.timing import EVALUATION_GAP, GATHER, LOOK
from celery_middle_management.counting.tally import Tally
from celery_middle_management.log_throttle import LogThrottle
from celery_middle_management.reporting.reporter import (
    EXIT_TIMEOUT,
    RETRY,
    Reporter,
    wait_for_last_report,
)

logger = logging.getLogger("celery_middle_management")
#: A flush that is waited for is checked this often (s).
_CHECK = 0.01


@dataclass
class _Flush:
    """A request to report what was published, and to have it evaluated."""

    is_over: bool = False
    succeeded: bool = False


class PublisherAgent:
    """The agent of one app in one process. Started by the first task that is published."""

    _closed: threading.Event

    def __init__(self, tally: Tally, reporter: Callable[[], Reporter]) -> None:
        self._tally = tally
        self._make_reporter = reporter
        self._trouble = LogThrottle(logger)
        self.reset()

    def reset(self) -> None:
        """Forget the parent's thread, in a fresh child."""
        self._begun = False
        self._flushes: deque[_Flush] = deque()
        # No thread waits for this lock: the one that acquires it starts the agent.
        self._first = threading.Lock()

    def published(self) -> None:
        """Make sure that a thread reports the task that was just published."""
        if self._begun or self._tally.shared or not self._first.acquire(blocking=False):
            if self._begun and self._closed.is_set():
                self._warn_of_late_task()
            return
        self._closed = threading.Event()
        self._ask_at = monotonic() + GATHER
        self._reporter = self._make_reporter()
        arguments = (weakref.ref(self), [self], self._closed)
        try:
            self._thread = threads.start("mm-agent", _run, *arguments)
        except RuntimeError:
            self._warn_of_late_task()
            return
        self._begun = True
        at_exit = Finalize(None, _close, (weakref.ref(self),), exitpriority=10)
        weakref.finalize(self, at_exit.cancel).atexit = False

    def flush(self, timeout: float) -> bool:
        """Have what was published reported and evaluated; return whether that was done in time.

        *timeout* is in seconds.
        """
        if not self._begun:
            return True
        flush, until = _Flush(), monotonic() + timeout
        self._flushes.append(flush)
        while not flush.is_over and self._thread.is_alive() and monotonic() < until:
            time.sleep(_CHECK)
        if not flush.succeeded:
            self._trouble.warn(
                "flush",
                "workers may not be hired for what this process published last until another"
                " process of the app publishes or works",
            )
        return flush.succeeded

    @property
    def begun(self) -> bool:
        """True if this process has published."""
        return self._begun

    def close(self) -> None:
        """Have the thread report for the last time; wait for :attr:`Reporter.patience` at most."""
        if not self._closed.is_set():
            self._closed.set()
            wait_for_last_report(self._thread, self._reporter)

    def report_if_due(self) -> float:
        """Report what was published, if it is time; return how long (s) to wait for the next call.

        For the agent's thread alone, like :meth:`leave`.
        """
        rest = RETRY
        with self._trouble.guard("a publisher's report"):
            if self._flushes:
                self._serve_flushes()
            ready_at = min(self._reporter.urgent_at() + GATHER, self._ask_at)
            rest = min(ready_at - monotonic(), LOOK)
            if rest <= 0:
                self._ask_at = monotonic() + self._report()
                rest = LOOK
        return rest

    def leave(self) -> None:
        """Report what was published last."""
        with self._trouble.guard("a publisher's last report"):
            self._reporter.leave()

    def _serve_flushes(self) -> None:
        # Flushes that are requested from here on wait for the next report: they may be about tasks
        # that this one does not have.
        flushes = [self._flushes.popleft() for _ in range(len(self._flushes))]
        self._reporter.leave()
        self._ask_at = monotonic()
        for flush in flushes:
            flush.succeeded = not self._reporter.has_unseen
            flush.is_over = True

    def _warn_of_late_task(self) -> None:
        message = "no worker is hired for a task published while the interpreter shuts down"
        self._trouble.warn("late", message)

    def _report(self) -> float:
        """Report; return how long (s) to wait before the next report if nothing is published."""
        reply = self._reporter.report()
        if reply is None:
            return RETRY
        # With a lease, our own evaluation is under way: it decides when the next one is due.
        return EVALUATION_GAP if reply.lease else reply.wait


def _run(
    reference: weakref.ref[PublisherAgent], young: list[PublisherAgent], closed: threading.Event
) -> None:
    """Report for an agent, in its thread, until it is *closed* or its app is gone.

    *young* keeps the agent alive for its first seconds: an app may be made for one task, and
    forgotten at once.
    """
    began, rest, wait = monotonic(), GATHER, _waiter(closed)
    while not wait(rest):
        agent = reference()
        if agent is None:
            return
        rest = agent.report_if_due()
        del agent
        if monotonic() - began >= EXIT_TIMEOUT:
            young.clear()
    agent = reference()
    if agent is not None:
        agent.leave()


def _waiter(closed: threading.Event) -> Callable[[float], bool]:
    """Return a function that waits for *closed* for some seconds, and returns whether it is set."""
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
