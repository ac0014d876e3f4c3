"""Middle Management for Celery: hires and fires a Celery app's workers by itself.

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
    """Hire now for what this process has published, before it is stopped.

    At the end of a Python program that is done by itself. It has to be called where a signal ends
    the process without that, as uvicorn does after a graceful shutdown: from a FastAPI lifespan,
    ``await asyncio.to_thread(celery_middle_management.flush, app)``.

    It blocks its thread until the ledger has been told and evaluated, usually for less than a
    second, and for *timeout* seconds at most; where nothing was published, or *app* is not managed,
    not at all. A worker tells by itself. Whatever fails is logged, and nothing is raised. More may
    be published afterwards.

    Returns:
        Whether that was done in time. If not, the next process of the app that publishes or works
        hires for it.
    """
    from celery_middle_management import app_setup

    return app_setup.flush(app, timeout)


def status(app: Celery) -> dict[str, Any]:
    """What ``celery mm status --json`` prints for *app*, as a document for pages and programs.

    Reads the ledger, over the one connection that this process has to it, and how much waits in the
    broker. It blocks its thread for some milliseconds; for 2 s more where tasks wait of which no
    process has told, and for some seconds where the broker does not answer, which is then told in
    the document. Every field is named in docs/status.md.

    Raises:
        ImproperlyConfigured: the package is not enabled for *app*, or its settings are wrong.
        redis.RedisError: Redis could not be read.
    """
    from celery_middle_management import inspection
    from celery_middle_management.app_setup import enabled_app_of

    return inspection.status(enabled_app_of(app))


watch_apps()
