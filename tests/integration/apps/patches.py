"""The two libraries that make blocking calls cooperative."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any


def patch(library: str) -> None:
    """Patch the standard library with ``gevent`` or ``eventlet``."""
    if library == "gevent":
        from gevent import monkey

        monkey.patch_all()
    elif library == "eventlet":
        import eventlet

        eventlet.monkey_patch()


class Stalls:
    """How long greenlets were held up by what blocked their thread.

    Another thread of the system counts, and only while theirs sleeps: one that works, or waits for
    a processor of a busy machine, is not blocked.
    """

    def __init__(self, library: str) -> None:
        """Call it when all is patched."""
        self._ticks = self._longest = 0
        self._thread = f"/proc/self/task/{threading.get_native_id()}/stat"
        self._ended = False
        start, sleep = _unpatched(library)
        start(self._tick, (sleep,))
        threading.Thread(target=self._watch, daemon=True).start()

    def longest(self) -> float:
        """The longest (s) until now; ends it."""
        self._ended = True
        return self._longest * 0.01

    def _tick(self, sleep: Callable[[float], None]) -> None:
        while not self._ended:
            sleep(0.01)
            self._ticks += self._sleeps()

    def _sleeps(self) -> bool:
        with open(self._thread) as stat:
            return stat.read().rpartition(")")[2].split()[0] == "S"

    def _watch(self) -> None:
        while not self._ended:
            before = self._ticks
            time.sleep(0.01)
            self._longest = max(self._longest, self._ticks - before)


def _unpatched(library: str) -> tuple[Callable[..., Any], Callable[[float], None]]:
    """What starts a thread of the system, and what such a one sleeps with."""
    if library == "gevent":
        from gevent.monkey import get_original

        return get_original("_thread", "start_new_thread"), get_original("time", "sleep")
    from eventlet.patcher import original

    return original("_thread").start_new_thread, original("time").sleep
