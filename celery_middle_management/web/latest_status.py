"""The status document for any number of readers, who wait a bounded time and cost what one does."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

from celery_middle_management import threads
from celery_middle_management.inspection import status
from celery_middle_management.log_throttle import LogThrottle
from celery_middle_management.managed_app import ManagedApp

Document = Mapping[str, Any]

#: A document is given out again for this time (s) after it was asked for.
FRESH = 5.0
#: A reader waits this long (s) at most. Prometheus gives up after 10 s, unless told otherwise.
PATIENCE = 8.0

_log = LogThrottle(logging.getLogger("celery_middle_management"))


class LatestStatus:
    """The latest status document of one app.

    One thread at a time reads it. If Redis hangs, that thread waits for it, and no other is
    started: each reader gives up after :data:`PATIENCE`.
    """

    def __init__(
        self,
        read: Callable[[ManagedApp], Document] = status,
        fresh: float = FRESH,
        patience: float = PATIENCE,
    ) -> None:
        self._read, self._fresh, self._patience = read, fresh, patience
        self._lock = threading.Lock()
        self._last: _Attempt | None = None

    def of(self, managed: ManagedApp) -> Document | None:
        """Return the document, at most some seconds old; None if it could not be read in time."""
        with self._lock:
            last = self._last
            if last is None or (last.over.is_set() and last.age >= self._fresh):
                last = _Attempt()
                threads.start("mm-status", last.make, self._read, managed)
                # Only now: if no thread could be started, the next reader tries again.
                self._last = last
        last.over.wait(self._patience)
        return last.document


class _Attempt:
    """One attempt to read the document."""

    def __init__(self) -> None:
        self._begun = monotonic()
        #: Set once the document is read, or cannot be.
        self.over = threading.Event()
        self.document: Document | None = None

    @property
    def age(self) -> float:
        """For how long (s) the attempt has been under way or over."""
        return monotonic() - self._begun

    def make(self, read: Callable[[ManagedApp], Document], managed: ManagedApp) -> None:
        """Read the document."""
        try:
            self.document = read(managed)
        except Exception as error:  # noqa: BLE001 - the reader is told that it could not be read
            _log.warn("status", "the status could not be read: %s", " ".join(str(error).split()))
        finally:
            self.over.set()
