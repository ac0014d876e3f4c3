"""The tasks."""

from __future__ import annotations

import time

from celery import shared_task


@shared_task
def resize(image: str) -> str:
    """Take as long as resizing an image might."""
    time.sleep(2)
    return image
