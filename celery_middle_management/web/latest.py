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
    """What is known now."""

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
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._over.set()
        self._begun = self._read_at = float("-inf")
        self._value: Value | None = None
        self._error: Exception | None = None
        _all.add(self)

    def get(self, patience: float, first_patience: float = 0.0) -> Reading[Value]:
        """Return what is known, after waiting for an attempt that is under way or due.

        Args:
            patience: the longest wait (s).
            first_patience: the longest wait as long as nothing is known, if that is longer.
        """
        with self._lock:
            now = monotonic()
            if self._over.is_set() and now - self._begun >= self._fresh:
                over = threading.Event()
                threads.start(self._name, self._attempt, over, now)
                # Only now: if no thread could be started, the next reader tries again.
                self._over, self._begun = over, now
            over, known = self._over, self._value is not None or self._error is not None
        over.wait(patience if known else max(patience, first_patience))
        with self._lock:
            now = monotonic()
            waiting = 0.0 if self._over.is_set() else now - self._begun
            return Reading(self._value, now - self._read_at, self._error, waiting)

    def expire(self) -> None:
        """Have the next reader begin an attempt, unless one is under way."""
        with self._lock:
            self._begun = float("-inf")

    def begin_anew(self) -> None:
        """In a child, give up an attempt of the parent's, which never ends here."""
        self._lock, self._over = threading.Lock(), threading.Event()
        self._over.set()
        self._begun = float("-inf")

    def _attempt(self, over: threading.Event, began: float) -> None:
        value: Value | None = None
        error: Exception | None = None
        try:
            value = self._read()
        except (redis.RedisError, OSError) as failure:
            error = bare(failure)
        except Exception as failure:
            error = failure
            with _trouble.guard("reading for the page"):
                raise
        with self._lock:
            self._error = error
            if error is None:
                self._value, self._read_at = value, began
            over.set()


_all: WeakSet[Latest[Any]] = WeakSet()


def _after_fork() -> None:
    for each in list(_all):
        each.begin_anew()


os.register_at_fork(after_in_child=_after_fork)
