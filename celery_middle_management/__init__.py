"""Middle Management for Celery: hires and fires a Celery app's workers by itself.

Import this package in the module that makes the Celery app, and set ``middle_management_enabled``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery_middle_management.apps import watch_apps
from celery_middle_management.version import __version__

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["__version__", "status"]


def status(app: Celery) -> dict[str, Any]:
    """What ``celery mm status --json`` prints for *app*, as a document for pages and programs.

    Reads Redis, over the one connection that this process has to the ledger, and nothing else.

    Raises:
        ImproperlyConfigured: the package is not enabled for *app*, or its settings are wrong.
        redis.RedisError: Redis could not be read.
    """
    from celery_middle_management.apps import enabled_runtime_of

    return enabled_runtime_of(app).status()


watch_apps()
