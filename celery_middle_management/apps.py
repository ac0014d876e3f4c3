"""Puts the apps of this process under middle management, when each is ready for it.

Nothing here keeps an app alive: what belongs to one is reached through it alone. Until an app wants
it, little is imported, for every `celery` command and web process imports this.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from celery import Celery, signals
from celery.exceptions import ImproperlyConfigured

from celery_middle_management.agents.celery_internals import active_apps, configured, on_finalize
from celery_middle_management.agents.signals import handlers_of, watch_publishing
from celery_middle_management.importing import importing
from celery_middle_management.settings.reading import hide_from_celery, read_settings

if TYPE_CHECKING:
    from celery_middle_management.runtime import Runtime

logger = logging.getLogger("celery_middle_management")

#: The attribute of an app that its runtime is kept in.
_ATTRIBUTE = "_middle_management"
#: Apps that were looked at when something was published; they are not looked at again.
_looked_at: WeakSet[Celery] = WeakSet()


def set_up(app: Celery) -> None:
    """Put *app* under middle management if its settings say so.

    Raises:
        ImproperlyConfigured: a setting is wrong.
    """
    settings = read_settings(app)
    if settings is None or handlers_of(app) is not None:
        return
    with importing():
        from celery_middle_management.runtime import Runtime

        runtime = Runtime(app, settings)
    if runtime.handlers.claim():
        vars(app)[_ATTRIBUTE] = runtime
        runtime.install()


def watch_apps() -> None:
    """Set up every app when it is finalized, or when it publishes.

    Celery finalizes an app in a worker and for its commands; a process that only calls
    ``send_task()`` may never do it. No app is finalized for us, nor its configuration read: it may
    be somebody else's, and not ready or not readable.
    """
    hide_from_celery()
    on_finalize(set_up)
    watch_publishing(_set_up_late)
    signals.worker_init.connect(_worker_init, weak=False, dispatch_uid=__name__)
    signals.worker_shutdown.connect(_worker_shutdown, weak=False, dispatch_uid=__name__)
    if "DYNO" in os.environ:
        # On Heroku an app most likely wants it, and would not wait for it while it publishes.
        import celery_middle_management.platforms.heroku
        import celery_middle_management.runtime  # noqa: F401
    for app in active_apps():
        if app.finalized:
            set_up(app)


def _set_up_late() -> None:
    """Set up the apps that nobody finalizes. Whoever publishes has read its configuration."""
    for app in active_apps():
        if app in _looked_at or not configured(app):
            continue
        try:
            set_up(app)
        except ImproperlyConfigured as error:
            logger.error("the app %r is not managed: %s", app.main, error)
        except Exception:
            logger.exception("the app %r is not managed", app.main)
        # Last: another thread that publishes meanwhile does not pass by.
        _looked_at.add(app)


def _found(app: Any) -> Runtime | None:
    found: Runtime | None = getattr(app, _ATTRIBUTE, None)
    return found


def runtime_of(app: Celery) -> Runtime | None:
    """The runtime of *app*, None if the package is not enabled for it."""
    app.finalize()
    return _found(app)


def _worker_init(sender: Any = None, **_: Any) -> None:
    runtime = _found(getattr(sender, "app", None))
    if runtime is not None:
        runtime.worker_init()


def _worker_shutdown(sender: Any = None, **_: Any) -> None:
    runtime = _found(getattr(sender, "app", None))
    if runtime is not None:
        runtime.worker_shutdown()
