"""The demo's Celery app: what a user's own would look like, but for tasks that only sleep."""

from __future__ import annotations

import time

from celery import Celery

import celery_middle_management  # noqa: F401

# Where the broker is, and how far calls are apart, the environment says.
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
    """As if it made a thumbnail."""
    time.sleep(seconds)


@app.task
def video(seconds: float) -> None:
    """As if it encoded a film."""
    time.sleep(seconds)


@app.task
def email(seconds: float) -> None:
    """As if it sent a newsletter to one reader."""
    time.sleep(seconds)
