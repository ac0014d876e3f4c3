"""Middle Management for Celery: hires and fires a Celery app's workers automatically.

Import this package in the module that makes the Celery app, and set ``middle_management_enabled``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery_middle_management.app_setup import watch_apps
from celery_middle_management.version import __version__

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["__version__", "flush", "status"]


def flush(app: Celery, timeout: float = 4.0) -> bool:
    """Hire now for the tasks that this process has published, before it is stopped.

    A worker needs no such call, nor does a Python program that ends normally: it flushes at exit.
    Call it where a signal ends the process without Python's exit handlers, as uvicorn does after a
    graceful shutdown: from a FastAPI lifespan,
    ``await asyncio.to_thread(celery_middle_management.flush, app)``.

    It blocks its thread until the tasks are reported and the pools evaluated, usually for less than
    a second and for *timeout* seconds at most. It returns at once where nothing was published or
    *app* is not managed. Failures are logged, and nothing is raised. More tasks may be published
    afterwards.

    Returns:
        True if that was done in time. If not, the next process of the app that publishes or works
        hires for the tasks.
    """
    from celery_middle_management import app_setup

    return app_setup.flush(app, timeout)


def status(app: Celery) -> dict[str, Any]:
    """Return what ``celery mm status --json`` prints for *app*, for pages and programs.

    Reads the ledger, over this process's one connection to it, and the number of tasks waiting in
    the broker. It blocks the calling thread for some milliseconds, and for another 2 s if tasks
    wait that no process has reported. If the broker does not answer, it blocks for some seconds,
    and the document says so. docs/status.md lists every field.

    Raises:
        ImproperlyConfigured: the package is not enabled for *app*, or its settings are wrong.
        redis.RedisError: Redis could not be read.
    """
    from celery_middle_management import inspection
    from celery_middle_management.app_setup import enabled_app_of

    return inspection.status(enabled_app_of(app))


watch_apps()
