"""Keeps ``celery worker --purge`` from deleting the tasks that wait in a pool's queues."""

from __future__ import annotations

import logging
from typing import Any

logger = logging.getLogger("celery_middle_management")

PURGE_IGNORED = (
    "was started with --purge and ignores it: it was hired for the tasks that wait; "
    "remove --purge from its command (Procfile)"
)
PURGES = (
    "was started with --purge, which deletes the tasks that wait. The option is ignored except in "
    "a dry run, as now; remove it from the worker's command (Procfile)"
)


def keep_from_purging(controller: Any, name: str, *, dry_run: bool) -> str:
    """Have a worker ignore ``--purge``, or in a dry run only complain; return the complaint.

    Call it before the worker is started. *name* is the worker's, for the log.
    """
    if not getattr(controller, "purge", False):
        return ""
    complaint = PURGES if dry_run else PURGE_IGNORED
    controller.purge = dry_run
    logger.error("%s %s", name, complaint)
    return complaint
