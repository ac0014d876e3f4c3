"""Puts the apps of this process under middle management, each as soon as it is ready.

Nothing here keeps an app alive: only the app refers to what is made for it. Little is imported
until an app enables the package: every ``celery`` command and web process imports this module.
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from celery import Celery, signals
from celery.exceptions import ImproperlyConfigured

from celery_middle_management import threads
from celery_middle_management.celery_internals import (
    active_apps,
    configured,
    itself,
    on_finalize,
)
from celery_middle_management.counting.signals import handlers_of, watch_publishing
from celery_middle_management.late_import import no_fork_meanwhile
from celery_middle_management.log_throttle import LogThrottle
from celery_middle_management.settings.reading import (
    NotNeededHere,
    hide_from_celery,
    read_settings,
)

if TYPE_CHECKING:
    from celery_middle_management.managed_app import ManagedApp

logger = logging.getLogger("celery_middle_management")

#: The attribute of an app that holds its ManagedApp.
_ATTRIBUTE = "_middle_management"
#: The attribute of an app with wrong settings that says what is wrong with them.
_WRONG = "_middle_management_wrong"
#: A web dyno has the waiting tasks evaluated this long (s) after its start. By then the app is
#: imported, and Heroku has killed the dynos that this one replaces.
LOOK_IN_AFTER = 31.0
_trouble = LogThrottle(logger)
#: Apps that were checked when a task was published, and need no second check.
_looked_at: WeakSet[Celery] = WeakSet()

#: False in a process that only reads.
_looks_in = True


def look_only() -> None:
    """Never evaluate waiting tasks in this process: it runs a command that must only read."""
    global _looks_in
    _looks_in = False


def set_up(app: Celery, *, needed: bool = True) -> None:
    """Put *app* under middle management if its settings enable the package.

    Off the platform, do so only if *needed*: most processes there neither publish nor work.

    Raises:
        ImproperlyConfigured: a setting is wrong.
    """
    settings = read_settings(app)
    if settings is None or handlers_of(app) is not None or (settings.inactive and not needed):
        return
    with no_fork_meanwhile():
        from celery_middle_management.managed_app import ManagedApp

        managed = ManagedApp(app, settings)
    if managed.handlers.claim():
        vars(app)[_ATTRIBUTE] = managed
        managed.install()


def watch_apps() -> None:
    """Set up every app when it is finalized, or when it publishes.

    Celery finalizes an app in a worker and for its commands, but a process that only calls
    ``send_task()`` may never do so. We never finalize an app or read its configuration before
    Celery does: it may not be ready, or not meant for us. The exception is a web dyno that has been
    up for a while.

    An app with wrong settings works and publishes as it would without us. While it does, an error
    is logged once a minute; our commands and Django's checks fail.
    """
    hide_from_celery()
    on_finalize(_finalized)
    watch_publishing(_set_up_late)
    signals.worker_init.connect(_worker_init, weak=False, dispatch_uid=__name__)
    signals.beat_init.connect(_beat_init, weak=False, dispatch_uid=__name__)
    signals.worker_shutdown.connect(_worker_shutdown, weak=False, dispatch_uid=__name__)
    if "DYNO" in os.environ:
        from celery_middle_management.platforms.base import Platform

        if Platform.identity(os.environ, "").pool == "web":
            # Importing the package must not fail where no thread can be started.
            with suppress(RuntimeError):
                threads.start("mm-look", _look_in, LOOK_IN_AFTER)
    # manage.py loads this module. Other parts of Django may be there only because of kombu.
    if "django.core.checks" in sys.modules:
        from celery_middle_management.django_check import register

        register()
    for app in active_apps():
        if app.finalized:
            _finalized(app)


def _finalized(app: Celery) -> None:
    _try_to_set_up(app, needed=False)


def _look_in(after: float) -> None:
    """Have the waiting tasks evaluated once, in a web process.

    The process that published them may have been killed, and perhaps no other one is alive.
    """
    threads.sleep(after)
    for app in active_apps() if _looks_in else ():
        with _trouble.guard("a look at the waiting tasks"):
            # By now its configuration is ready to be read.
            with no_fork_meanwhile():
                _try_to_set_up(app, needed=False)
            managed = _found(app)
            if managed is not None:
                managed.look_in()


def _try_to_set_up(app: Celery, *, needed: bool = True) -> None:
    """Set *app* up. Raises nothing: an error would leave the app half finalized."""
    with _trouble.guard(f"setting up the app {app.main!r}"):
        try:
            set_up(app, needed=needed)
        except Exception as error:
            if not configured(app):
                return  # Not ours: Celery raises it when it reads the configuration.
            if isinstance(error, NotNeededHere):
                return
            if not isinstance(error, ImproperlyConfigured):
                raise
            vars(app)[_WRONG] = str(error)
            signals.task_received.connect(_received, weak=False, dispatch_uid=__name__)


def _set_up_late() -> None:
    """Set up apps that publish without being finalized, once their configuration is loaded."""
    for app in active_apps():
        if app not in _looked_at and configured(app):
            _try_to_set_up(app)
            # Last, or a thread that publishes meanwhile would skip the set-up and not be counted.
            _looked_at.add(app)
        _log_wrong_settings(app)


def _log_wrong_settings(app: Any) -> None:
    wrong = vars(app).get(_WRONG)
    if wrong:
        _trouble.error(
            f"wrong {app.main}",
            "the app %r is not managed: %s (where it should not be managed, set "
            "MIDDLE_MANAGEMENT_ENABLED=false in the environment)",
            app.main,
            wrong,
        )


def _received(sender: Any = None, **_: Any) -> None:
    app = getattr(sender, "app", None)
    if app is not None:
        _log_wrong_settings(app)


def _found(app: Any) -> ManagedApp | None:
    found: ManagedApp | None = getattr(app, _ATTRIBUTE, None)
    return found


def managed_app_of(app: Celery) -> ManagedApp | None:
    """The managed *app*; None if the package is not enabled for it or its settings are wrong."""
    app = itself(app)
    app.finalize()
    _try_to_set_up(app)
    return _found(app)


def flush(app: Celery, timeout: float) -> bool:
    """Report what *app* published in this process; True if done, or if there was nothing."""
    managed = _found(app)
    return managed is None or managed.flush(timeout)


def enabled_app_of(app: Celery) -> ManagedApp:
    """The managed *app*.

    Raises:
        ImproperlyConfigured: the package is not enabled for it, or its settings are wrong.
    """
    # Read the settings first: if they are wrong, this raises; managed_app_of() returns None.
    managed = managed_app_of(app) if read_settings(app) is not None else None
    if managed is None:
        off = os.environ.get("MIDDLE_MANAGEMENT_ENABLED")
        how = (
            f"MIDDLE_MANAGEMENT_ENABLED={off} in the environment switches it off"
            if off
            else "name your app with -A, and set middle_management_enabled=True in its settings, "
            "or MIDDLE_MANAGEMENT_ENABLED=true in the environment"
        )
        raise ImproperlyConfigured(
            f"Middle Management is not enabled for the app {app.main or 'default'!r}: {how}."
        )
    return managed


def _worker_init(sender: Any = None, **_: Any) -> None:
    app = getattr(sender, "app", None)
    if app is not None:
        _try_to_set_up(app)
        _log_wrong_settings(app)
    managed = _found(app)
    _refuse_to_stay(managed)
    if managed is not None:
        managed.worker.init()


def _refuse_to_stay(managed: ManagedApp | None) -> None:
    """End this worker before it starts, if it was hired alone and would never be let go.

    That happens if a deploy switches the package off, or to a dry run, and then a worker of the
    older release hires one of the new release.

    Raises:
        SystemExit: this is such a worker.
    """
    if "CELERY_MM_HIRE" not in os.environ or (managed and not managed.settings.dry_run):
        return
    logger.error(
        "this worker was hired, but %s: it ends, since it would never be let go",
        "its settings say dry run" if managed else "its settings do not enable Middle Management",
    )
    raise SystemExit(1)


def _beat_init(sender: Any = None, **_: Any) -> None:
    """Watch from the start: beat will publish, and until then a pool's minimum must be kept."""
    managed = _found(getattr(sender, "app", None))
    if managed is not None:
        managed.publishes()


def _worker_shutdown(sender: Any = None, **_: Any) -> None:
    managed = _found(getattr(sender, "app", None))
    if managed is not None:
        managed.worker.shutdown()
