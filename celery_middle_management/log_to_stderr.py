"""Shows our log where logging is not configured: in most web processes, for instance.

There, Python shows only warnings, so hires and fires would not be seen. A handler or level that
the app configures, for our logger or the root, takes precedence.
"""

from __future__ import annotations

import logging
import sys

logger = logging.getLogger("celery_middle_management")


class _Fallback(logging.StreamHandler):  # type: ignore[type-arg]
    """Logs to standard error as long as there is no other handler."""

    def emit(self, record: logging.LogRecord) -> None:
        if not _handled_elsewhere():
            self.stream = sys.stderr  # The current one: it may have been replaced or closed since.
            super().emit(record)


def show_log() -> None:
    """Show hires and fires, which are logged at level INFO."""
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    if not any(isinstance(handler, _Fallback) for handler in logger.handlers):
        fallback = _Fallback()
        fallback.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        logger.addHandler(fallback)


def _handled_elsewhere() -> bool:
    at: logging.Logger | None = logger
    while at is not None:
        if any(not isinstance(handler, _Fallback) for handler in at.handlers):
            return True
        at = at.parent if at.propagate else None
    return False
