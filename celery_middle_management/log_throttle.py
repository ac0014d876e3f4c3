"""Logs trouble, each kind once a minute at most."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

_INTERVAL = 60.0


class LogThrottle:
    """Logs warnings and errors from a place where they may come by the thousand."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._last: dict[str, float] = {}

    def warn(self, kind: str, message: str, *args: object) -> None:
        """Log *message* as a warning, unless one of this *kind* was logged in the last minute."""
        if self._is_due(kind):
            self._logger.warning(message, *args)

    def error(self, kind: str, message: str, *args: object) -> None:
        """Log *message* as an error, unless one of this *kind* was logged in the last minute."""
        if self._is_due(kind):
            self._logger.error(message, *args)

    @contextmanager
    def guard(self, what: str) -> Iterator[None]:
        """Log that *what* failed, with the exception, instead of raising it.

        It is for code that Celery or Python calls: our fault must not become the app's.
        """
        try:
            yield
        except Exception:
            if self._is_due(what):
                self._logger.exception("%s failed", what)

    def _is_due(self, kind: str) -> bool:
        now = monotonic()
        due = now - self._last.get(kind, float("-inf")) >= _INTERVAL
        if due:
            self._last[kind] = now
        return due
