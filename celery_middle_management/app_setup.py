"""Puts the apps of this process under middle management, when each is ready for it.

Nothing here keeps an app alive: what belongs to one is reached through it alone. Until an app wants
it, little is imported, for every ``celery`` command and web process imports this.
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
#: The attribute of an app whose settings are wrong: what is wrong with them.
_WRONG = "_middle_management_wrong"
#: A web dyno looks in so long (s) after it was started: by then, Heroku has killed those that it
#: takes the place of, and the app is imported.
LOOK_IN_AFTER = 31.0
_trouble = LogThrottle(logger)
#: Apps that were looked at when something was published; they are not looked at again.
_looked_at: WeakSet[Celery] = WeakSet()

#: Whether this process may come to evaluate.
_evaluates = True


def look_only() -> None:
    """This process does not evaluate: spare it what only that needs, 50 ms of imports on Heroku."""
    global _evaluates
    _evaluates = False


def set_up(app: Celery, *, needed: bool = True) -> None:
    """Put *app* under middle management if its settings say so.

    Off the platform, most processes neither publish nor work: there, not before it is *needed*.

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

    Celery finalizes an app in a worker and for its commands; a process that only calls
    ``send_task()`` may never do it. No app is finalized for us, nor its configuration read: it may
    be somebody else's, and not ready or not readable. A web dyno alone reads it, when it has been
    up for a while.

    Where its settings are wrong, an app works and publishes as without us, and an error is logged
    while it does, once a minute; our commands and Django's checks fail.
    """
    hide_from_celery()
    on_finalize(_finalized)
    watch_publishing(_set_up_late)
    signals.worker_init.connect(_worker_init, weak=False, dispatch_uid=__name__)
    signals.beat_init.connect(_beat_init, weak=False, dispatch_uid=__name__)
    signals.worker_shutdown.connect(_worker_shutdown, weak=False, dispatch_uid=__name__)
    if "DYNO" in os.environ:
        # On Heroku an app most likely wants it, and would not wait for it while it publishes.
        from celery_middle_management.platforms.base import Platform

        if Platform.identity(os.environ, "").pool == "web":
            # In vain where no thread can be started: to import us must not fail.
            with suppress(RuntimeError):
                threads.start("mm-look", _look_in, LOOK_IN_AFTER)
    # As in manage.py; kombu imports some of Django wherever it is installed.
    if "django.core.checks" in sys.modules:
        from celery_middle_management.django_check import register

        register()
    for app in active_apps():
        if app.finalized:
            _finalized(app)


def _finalized(app: Celery) -> None:
    _try_to_set_up(app, needed=False)


def _look_in(after: float) -> None:
    """In a web process, look once at what waits.

    The process that published it may have been killed, and no other one of the app may be alive.
    """
    threads.sleep(after)
    for app in active_apps() if _evaluates else ():
        with _trouble.guard("a look at what waits"):
            # By now, it is ready to be read. Nobody forks meanwhile.
            with no_fork_meanwhile():
                _try_to_set_up(app, needed=False)
            managed = _found(app)
            if managed is not None:
                managed.look_in()


def _try_to_set_up(app: Celery, *, needed: bool = True) -> None:
    """Set *app* up; an error would leave it half finalized, with some of its tasks unknown."""
    with _trouble.guard(f"setting up the app {app.main!r}"):
        try:
            set_up(app, needed=needed)
        except Exception as error:
            if not configured(app):
                return  # not ours: Celery raises it where it reads the configuration
            if isinstance(error, NotNeededHere):
                return
            if not isinstance(error, ImproperlyConfigured):
                raise
            vars(app)[_WRONG] = str(error)
            signals.task_received.connect(_received, weak=False, dispatch_uid=__name__)


def _set_up_late() -> None:
    """Set up the apps that nobody finalizes. Whoever publishes has read its configuration."""
    for app in active_apps():
        if app not in _looked_at and configured(app):
            _try_to_set_up(app)
            # Last: another thread that publishes meanwhile does not pass by.
            _looked_at.add(app)
        _tell_of_wrong(app)


def _tell_of_wrong(app: Any) -> None:
    wrong = vars(app).get(_WRONG)
    if wrong:
        _trouble.error(
            f"wrong {app.main}",
            "the app %r is not managed: %s (or set MIDDLE_MANAGEMENT_ENABLED=false in the "
            "environment where it is not to be)",
            app.main,
            wrong,
        )


def _received(sender: Any = None, **_: Any) -> None:
    app = getattr(sender, "app", None)
    if app is not None:
        _tell_of_wrong(app)


def _found(app: Any) -> ManagedApp | None:
    found: ManagedApp | None = getattr(app, _ATTRIBUTE, None)
    return found


def managed_app_of(app: Celery) -> ManagedApp | None:
    """*app* as managed; None if the package is not enabled for it or its settings are wrong."""
    app = itself(app)
    app.finalize()
    _try_to_set_up(app)
    return _found(app)


def flush(app: Celery, timeout: float) -> bool:
    """Have told what *app* published in this process; True where there is nothing to be told."""
    managed = _found(app)
    return managed is None or managed.flush(timeout)


def enabled_app_of(app: Celery) -> ManagedApp:
    """*app* as it is managed.

    Raises:
        ImproperlyConfigured: the package is not enabled for it, or its settings are wrong.
    """
    # This alone would not tell what is wrong.
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
        _tell_of_wrong(app)
    managed = _found(app)
    if managed is not None:
        managed.worker.init()


def _beat_init(sender: Any = None, **_: Any) -> None:
    """It will publish, now or then: until it does, somebody may be to keep a pool's minimum."""
    managed = _found(getattr(sender, "app", None))
    if managed is not None:
        managed.publishes()


def _worker_shutdown(sender: Any = None, **_: Any) -> None:
    managed = _found(getattr(sender, "app", None))
    if managed is not None:
        managed.worker.shutdown()
