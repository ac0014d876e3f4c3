"""Tasks that only take time, to try things out."""

from __future__ import annotations

import math
import threading
import time

from celery import Celery, shared_task
from celery.result import AsyncResult


@shared_task(name="celery_middle_management.slacker.slack_for")
def slack_for(seconds: float) -> float:
    """Sleep for *seconds*, and return them.

    Raises:
        ValueError: *seconds* is not a number, is negative, or is too long to sleep.
    """
    time.sleep(_checked(seconds))
    return seconds


def slack(app: Celery, count: int, seconds: float) -> list[AsyncResult[float]]:
    """Publish *count* tasks that take *seconds* each.

    Raises:
        ValueError: *count* is negative, or *seconds* is refused by :func:`slack_for`. Then nothing
            is published.
    """
    if count < 0:
        raise ValueError(f"how many tasks? A number from 0 up, not {count!r}")
    _checked(seconds)
    task = app.tasks[slack_for.name]
    return [task.delay(seconds) for _ in range(count)]


def _checked(seconds: float) -> float:
    number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if not number or math.isnan(seconds) or not 0 <= seconds <= threading.TIMEOUT_MAX:
        raise ValueError(f"slack for how long? A number of seconds from 0 up, not {seconds!r}")
    return seconds
