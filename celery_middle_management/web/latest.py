"""The latest of what is read over and over, for any number of readers, who wait a bounded time."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any, Generic, TypeVar
from weakref import WeakSet

import redis

from celery_middle_management import threads
from celery_middle_management.log_throttle import LogThrottle
from celery_middle_management.settings.secret import bare

Value = TypeVar("Value")

_trouble = LogThrottle(logging.getLogger("celery_middle_management"))


@dataclass(frozen=True)
class Reading(Generic[Value]):
    """The latest known answer."""

    #: The latest that could be read; None: nothing could be yet.
    value: Value | None
    #: Its age (s).
    age: float
    #: Why the last attempt failed; None: it did not, or it is the first one and goes on.
    error: Exception | None
    #: How long (s) the attempt that is under way has taken; 0: none is.
    waiting: float


class Latest(Generic[Value]):
    """Reads at most once in *fresh* seconds, one thread at a time.

    If that thread hangs, no other is started until it ends, and readers get what is known.
    """

    def __init__(self, read: Callable[[], Value], fresh: float, name: str) -> None:
        self._read, self._fresh, self._name = read, fresh, name
        # Held only for some assignments. A thread that held it while it starts another one would
        # stop all of gevent's, if Python's locks were made before gevent has replaced them.
        self._lock = threading.Lock()
        self._last = _Attempt(begun=float("-inf"))
        self._last.over.set()
        self._expired = False
        self._read_at = float("-inf")
        self._value: Value | None = None
        self._error: Exception | None = None
        _all.add(self)

    def get(self, patience: float, first_patience: float = 0.0) -> Reading[Value]:
        """Return what is known, after waiting for an attempt that is under way or due.

        Args:
            patience: the longest wait (s), from when the attempt was begun.
            first_patience: the longest wait as long as nothing is known, if that is longer.
        """
        attempt = self._begin_if_due()
        known = self._value is not None or self._error is not None
        longest = patience if known else max(patience, first_patience)
        attempt.over.wait(max(attempt.begun + longest - monotonic(), 0.0))
        with self._lock:
            now, last = monotonic(), self._last
            waiting = 0.0 if last.over.is_set() else now - last.begun
            return Reading(self._value, now - self._read_at, self._error, waiting)

    def expire(self) -> None:
        """Have the next reader begin an attempt, once the one that may be under way is over."""
        self._expired = True

    def begin_anew(self) -> None:
        """In a child, give up an attempt of the parent's, which never ends here."""
        self._lock, self._last = threading.Lock(), _Attempt(begun=float("-inf"))
        self._last.over.set()

    def _begin_if_due(self) -> _Attempt:
        """Return the attempt that is under way, or else the last one."""
        attempt = _Attempt(begun=monotonic())
        with self._lock:
            last = self._last
            old = self._expired or attempt.begun - last.begun >= self._fresh
            if not (old and last.over.is_set()):
                return last
            self._last, self._expired = attempt, False
        try:
            threads.start(self._name, self._make, attempt)
        except RuntimeError:  # no more threads: the next reader tries again
            self._expired = True
            attempt.over.set()
            raise
        return attempt

    def _make(self, attempt: _Attempt) -> None:
        value: Value | None = None
        error: Exception | None = None
        try:
            value = self._read()
        except (redis.RedisError, OSError) as failure:
            error = bare(failure)
        except Exception as failure:
            error = failure
            with _trouble.guard("reading what is shown"):
                raise
        with self._lock:
            self._error = error
            if error is None:
                self._value, self._read_at = value, attempt.begun
        attempt.over.set()


class _Attempt:
    """One attempt to read."""

    def __init__(self, begun: float) -> None:
        self.begun = begun
        #: Set once it has read, or cannot.
        self.over = threading.Event()


_all: WeakSet[Latest[Any]] = WeakSet()


def _after_fork() -> None:
    for each in list(_all):
        each.begin_anew()


os.register_at_fork(after_in_child=_after_fork)
