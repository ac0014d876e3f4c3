"""Why there is nothing newer to show, in the words of the page and of the admin's panel."""

from __future__ import annotations

from typing import Any

import redis

from celery_middle_management.settings.model import Settings
from celery_middle_management.settings.secret import shown
from celery_middle_management.views.remedies import redis_failed
from celery_middle_management.web.latest import Reading


def problem_of(
    reading: Reading[Any], settings: Settings, patience: float, asked: str = "Redis"
) -> str | None:
    """Say why there is no newer document; None if there need be none.

    Args:
        patience: how long (s) an attempt may take.
        asked: what is asked in an attempt, and may not have answered.
    """
    failure = reading.error
    if isinstance(failure, (redis.RedisError, OSError)):
        return redis_failed("read", failure, settings)
    if failure is not None:
        return "the page's data could not be made; see the log of the page's server"
    if reading.waiting > patience:
        where = shown(settings.redis_url.reveal())
        return f"{asked} has not answered for {reading.waiting:.0f} s ({where})"
    return None
