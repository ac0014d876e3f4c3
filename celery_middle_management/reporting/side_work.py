"""Work that is done beside reports and evaluations, in one thread that lives while it has work."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable
from math import inf
from multiprocessing.util import Finalize
from time import monotonic

from celery_middle_management import threads
from celery_middle_management.log_throttle import LogThrottle

logger = logging.getLogger("celery_middle_management")

#: At exit, the process waits this long (s) for the work.
LAST_WORK = 2.0
#: A thread that is waited for is checked this often (s).
_CHECK = 0.01


class SideWork:
    """Does *work* whenever it is woken, never twice at the same time.

    *work* is given the time (``monotonic()``) by which it should be done, and is told to
    :attr:`stop` where it can.
    """

    def __init__(self, name: str, work: Callable[[float], None]) -> None:
        self._name = name
        self._work = work
        self._trouble = LogThrottle(logger)
        #: Held while the work is done. No thread waits for this lock: gevent or eventlet may patch
        #: the standard library at any time.
        self._turn = threading.Lock()
        self._wanted = False
        self._has_exit = False
        #: True once the process is not waiting any more: the work should begin nothing new.
        self.stop = False

    @property
    def busy(self) -> bool:
        """True if there is work left."""
        return self._wanted or self._turn.locked()

    def wake(self) -> None:
        """Have the work done soon. If it is under way, it is done once more."""
        self._wanted = True
        if not self._turn.acquire(blocking=False):
            return
        self._wait_at_exit()
        try:
            threads.start(self._name, self._run)
        except RuntimeError:
            if threading.main_thread().is_alive():
                self._turn.release()  # The next wake tries again.
                self._trouble.warn("thread", "%s waits: no thread can be started", self._name)
                return
            # The interpreter shuts down: this thread, which has evaluated, has nothing else to do.
            self._run(monotonic() + LAST_WORK)

    def wait(self, seconds: float) -> None:
        """Wait until the work is done, for some *seconds* at most."""
        until = monotonic() + seconds
        while self.busy and monotonic() < until:
            time.sleep(_CHECK)

    def close(self) -> None:
        """Wait for the work at the end of the process, and have nothing new begun after that."""
        self.wait(LAST_WORK)
        self.stop = True
        if self.busy:
            logger.warning("this process ends before %s has sent everything", self._name)

    def _run(self, until: float = inf) -> None:
        try:
            while self._wanted and not self.stop:
                self._wanted = False
                with self._trouble.guard(self._name):
                    self._work(until)
        finally:
            self._turn.release()
        if self._wanted and not self.stop and until == inf:
            self.wake()  # It was woken after the last look, and found the lock taken.

    def _wait_at_exit(self) -> None:
        if not self._has_exit:
            self._has_exit = True
            # After the last reports, whose evaluations may wake it.
            at_exit = Finalize(None, _close, (weakref.ref(self),), exitpriority=-1)
            weakref.finalize(self, at_exit.cancel).atexit = False


def _close(reference: weakref.ref[SideWork]) -> None:
    side_work = reference()
    if side_work is not None:
        side_work.close()
