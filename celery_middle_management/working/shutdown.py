"""A worker's shutdown: whether it is under way, and how it is begun."""

from __future__ import annotations

from typing import Any

from celery.worker import state as worker_state


def is_shutting_down() -> bool:
    """Return whether this worker is shutting down."""
    flags = worker_state.should_stop, worker_state.should_terminate
    return any(flag is not None and flag is not False for flag in flags)


def begin_warm_shutdown() -> None:
    """Have this worker finish what runs, and exit with status 0. From any thread."""
    state: Any = worker_state  # celery-types does not know of an exit status
    state.should_stop = 0
