"""Has our log seen where nobody has configured logging: in most web processes, for instance.

Python shows there only warnings, and neither hires nor fires. Whoever configures a handler or a
level, for our logger or the root, has his way.
"""

from __future__ import annotations

import logging
import sys

logger = logging.getLogger("celery_middle_management")


class _Fallback(logging.StreamHandler):  # type: ignore[type-arg]
    """To standard error, as long as there is no other handler."""

    def emit(self, record: logging.LogRecord) -> None:
        if not _handled_elsewhere():
            self.stream = sys.stderr  # as it is now: it may have been exchanged or closed since
            super().emit(record)


def be_seen() -> None:
    """Log hires and fires, which are of level INFO, wherever that goes."""
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
