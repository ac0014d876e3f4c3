"""Trouble is logged, but once a minute at most."""

from __future__ import annotations

import logging
from time import monotonic

_INTERVAL = 60.0


class TroubleLog:
    """Warnings of one place that may come by the thousand."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._last: dict[str, float] = {}

    def warn(self, kind: str, message: str, *args: object) -> None:
        """Log *message* as a warning, unless one of this *kind* was within the last minute."""
        now = monotonic()
        if now - self._last.get(kind, float("-inf")) >= _INTERVAL:
            self._last[kind] = now
            self._logger.warning(message, *args)
