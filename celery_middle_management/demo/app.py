"""The demo's Celery app, like a user's own, except that its tasks only sleep."""

from __future__ import annotations

import time

from celery import Celery

import celery_middle_management  # noqa: F401

# The broker's address and the call interval come from the environment.
app = Celery(__name__)
app.conf.update(
    middle_management_enabled=True,
    middle_management_platform="local",
    middle_management_max_workers=10,
    middle_management_jobs_per_worker=1,
    # One task at a time, in a process that starts quickly.
    worker_pool="solo",
    worker_prefetch_multiplier=1,
    worker_enable_remote_control=False,
    broker_connection_retry_on_startup=True,
)


@app.task
def image(seconds: float) -> None:
    """Pretend to make a thumbnail."""
    time.sleep(seconds)


@app.task
def video(seconds: float) -> None:
    """Pretend to encode a video."""
    time.sleep(seconds)


@app.task
def email(seconds: float) -> None:
    """Pretend to send a newsletter to one reader."""
    time.sleep(seconds)
