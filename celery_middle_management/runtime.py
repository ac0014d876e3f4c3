"""Ties the parts together for one app in one process.

Nothing here keeps an app alive: what belongs to one is reached through it alone.
"""

from __future__ import annotations

import logging
import os
from functools import cached_property
from typing import Any
from weakref import WeakSet

from celery import Celery, _state, signals
from celery.app.base import PendingConfiguration  # type: ignore[attr-defined]
from celery.exceptions import ImproperlyConfigured

# All that an evaluation needs, heroku3 above all: imported while tasks are published, it would hold
# up the thread that publishes, and be half imported for ever in a child forked meanwhile.
from celery_middle_management.agents.publisher import PublisherAgent
from celery_middle_management.agents.reporter import Evaluator, Reporter
from celery_middle_management.agents.scaler import Scaler
from celery_middle_management.agents.signals import (
    SignalHandlers,
    active_apps,
    copied,
    handlers_of,
    watch_publishing,
)
from celery_middle_management.agents.tally import Tally
from celery_middle_management.brokers import broker_of
from celery_middle_management.ledger.redis import Ledger
from celery_middle_management.platforms import platform_of
from celery_middle_management.settings.model import Settings
from celery_middle_management.settings.reading import hide_from_celery, read_settings

logger = logging.getLogger("celery_middle_management")

#: Brokers (kombu's driver types) whose messages never leave the process, or the machine.
_IN_PROCESS = ("memory",)
_ON_DISK = ("filesystem", "sqlite")

#: The attribute of an app that its runtime is kept in.
_ATTRIBUTE = "_middle_management"
_runtimes: WeakSet[Runtime] = WeakSet()
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
    runtime = Runtime(app, settings)
    if runtime.handlers.claim():
        runtime.install()


def watch_apps() -> None:
    """Set up every app when it is finalized, or when it publishes.

    Celery finalizes an app in a worker and for its commands; a process that only calls
    ``send_task()`` may never do it. No app is finalized for us, nor its configuration read: it may
    be somebody else's, and not ready or not readable.
    """
    hide_from_celery()
    _state.connect_on_app_finalize(set_up)
    watch_publishing(_set_up_late)
    signals.worker_init.connect(_worker_init, weak=False, dispatch_uid=__name__)
    signals.worker_shutdown.connect(_worker_shutdown, weak=False, dispatch_uid=__name__)
    os.register_at_fork(after_in_child=_after_fork)
    for app in active_apps():
        if app.finalized:
            set_up(app)


def _set_up_late() -> None:
    """Set up the apps that nobody finalizes. Whoever publishes has read its configuration."""
    for app in active_apps():
        if app in _looked_at or not _configured(app):
            continue
        try:
            set_up(app)
        except ImproperlyConfigured as error:
            logger.error("the app %r is not managed: %s", app.main, error)
        except Exception:
            logger.exception("the app %r is not managed", app.main)
        # Last: another thread that publishes meanwhile does not pass by.
        _looked_at.add(app)


def _configured(app: Any) -> bool:
    """Whether the configuration has been read: to read it may fail, or do whatever it does."""
    maps: Any = getattr(vars(app).get("_conf"), "maps", ())
    return len(maps) > 0 and not isinstance(maps[0], PendingConfiguration)


def _found(app: Any) -> Runtime | None:
    found = getattr(app, _ATTRIBUTE, None)
    return found if isinstance(found, Runtime) else None


def runtime_of(app: Celery) -> Runtime | None:
    """The runtime of *app*, None if the package is not enabled for it."""
    app.finalize()
    return _found(app)


class Runtime:
    """One app under middle management."""

    def __init__(self, app: Celery, settings: Settings) -> None:
        self.app = app
        self.settings = settings
        self._ledger: Ledger | None = None
        self._worker: Any = None
        # An app that is made twice has one agent, with one connection, and in a worker one pipe.
        twin = next((other for other in copied(_runtimes) if other.is_twin(self)), None)
        self._tally = twin._tally if twin else Tally()
        self._publisher = twin._publisher if twin else PublisherAgent(self._tally, self.reporter)
        self.handlers = SignalHandlers(
            app,
            self._tally,
            self._is_ours,
            self._publisher.published,
            in_reach=lambda: self.in_reach,
            fanout_waits=lambda: self._driver_type != "redis",
        )

    def install(self) -> None:
        """Begin to count what the app does."""
        vars(self.app)[_ATTRIBUTE] = self
        _runtimes.add(self)
        self.app.steps["consumer"].add(self._worker_step())
        # Last: other threads may be publishing already.
        self.handlers.connect()

    def is_twin(self, other: Runtime) -> bool:
        """Whether the two write the same ledger about the same broker."""
        mine, its = self.app.conf, other.app.conf
        return self.settings == other.settings and (
            (mine.broker_read_url, mine.broker_write_url)
            == (its.broker_read_url, its.broker_write_url)
        )

    def reporter(self) -> Reporter:
        """The reporter of this process."""
        return Reporter(self.settings, self._tally, self.ledger, self._scaler)

    def ledger(self) -> Ledger:
        """The ledger, over this process's one connection."""
        if self._ledger is None:
            self._ledger = Ledger(self.settings)
        return self._ledger

    @cached_property
    def in_reach(self) -> bool:
        """Whether workers that the platform starts can get at the app's tasks; warns if not.

        Asked for at the first use, for tests exchange the broker of an app that is set up already.
        """
        local = self._driver_type in _ON_DISK and self.settings.platform == "local"
        if self._driver_type not in (*_IN_PROCESS, *_ON_DISK) or local:
            return True
        logger.warning(
            "nothing is hired for the app %r, and nothing fired: the tasks of its broker, %s, "
            "cannot be seen from elsewhere",
            self.app.main,
            self._driver_type,
        )
        return False

    @cached_property
    def _driver_type(self) -> str:
        """The kind of the broker, as kombu names it. Opens no connection."""
        connection = self.app.connection_for_write()
        hostname = str(connection.hostname or "")
        if connection.transport.driver_type == "sql" and hostname.startswith("sqlite"):
            return "sqlite"
        return str(connection.transport.driver_type)

    def _scaler(self) -> Evaluator:
        return Scaler(
            self.app,
            self.settings,
            self.ledger(),
            broker_of(self.app, self.settings, self.ledger().redis),
            platform_of(self.app, self.settings),
        )

    def _is_ours(self, queue: str) -> bool:
        return self.settings.pool_for(queue) is not None

    def _worker_step(self) -> type:
        from celery_middle_management.agents.worker import WorkerAgent, WorkerStep

        def make_agent(consumer: Any) -> WorkerAgent | None:
            if not self.in_reach:
                return None
            agent = WorkerAgent(self.app, consumer.hostname, self.settings, self.reporter())
            self._worker = agent
            return agent

        return type("MiddleManagement", (WorkerStep,), {"make_agent": make_agent})

    def worker_init(self) -> None:
        """This process is a worker of the app, and is about to fork its children."""
        self._tally.share_with_children()

    def worker_shutdown(self) -> None:
        """The worker has finished."""
        if self._worker is not None:
            self._worker.close()

    def after_fork(self) -> None:
        """This process is a fresh child."""
        # A connection, a thread and an agent are their process's alone.
        self._ledger = None
        self._worker = None
        self._tally.after_fork()
        self._publisher.reset()


def _worker_init(sender: Any = None, **_: Any) -> None:
    runtime = _found(getattr(sender, "app", None))
    if runtime is not None:
        runtime.worker_init()


def _worker_shutdown(sender: Any = None, **_: Any) -> None:
    runtime = _found(getattr(sender, "app", None))
    if runtime is not None:
        runtime.worker_shutdown()


def _after_fork() -> None:
    for runtime in copied(_runtimes):
        runtime.after_fork()
