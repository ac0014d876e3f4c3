"""Ties the parts together for one app in one process."""

from __future__ import annotations

import logging
import os
from typing import Any

from celery import Celery, _state, signals

# All that an evaluation needs, heroku3 above all: imported while tasks are published, it would hold
# up the thread that publishes, and be half imported for ever in a child forked meanwhile.
from .agent import Agent, Courier, Evaluator
from .broker import broker_of
from .ledger import Ledger
from .platforms import platform_of
from .scaler import Scaler
from .settings import Settings, read_settings
from .signals import SignalHandlers
from .tally import Tally

logger = logging.getLogger("celery_middle_management")

_runtimes: dict[int, Runtime] = {}


def set_up(app: Celery) -> None:
    """Put *app* under middle management if its settings say so.

    Raises:
        ImproperlyConfigured: a setting is wrong.
    """
    settings = read_settings(app)
    if settings is not None and id(app) not in _runtimes:
        _runtimes[id(app)] = Runtime(app, settings)


def watch_apps() -> None:
    """Set up every app when it is finalized, or at the latest when a task is published.

    Celery finalizes an app in a worker and for its commands; a process that only calls ``delay()``
    may never do it.
    """
    _state.connect_on_app_finalize(set_up)
    signals.before_task_publish.connect(_finalize_apps)
    for app in _apps():
        if app.finalized:
            set_up(app)


def _finalize_apps(**message: Any) -> None:
    for app in _apps():
        if app.autofinalize and not app.finalized:
            app.finalize(auto=True)
            runtime = _runtimes.get(id(app))
            if runtime is not None:  # connected too late for the signal that is being sent
                runtime.handlers.before_task_publish(**message)


def _apps() -> list[Any]:
    return list(_state._get_active_apps())  # type: ignore[attr-defined]


def runtime_of(app: Celery) -> Runtime | None:
    """The runtime of *app*, None if the package is not enabled for it."""
    app.finalize()
    return _runtimes.get(id(app))


class Runtime:
    """One app under middle management."""

    def __init__(self, app: Celery, settings: Settings) -> None:
        self.app = app
        self.settings = settings
        self._tally = Tally()
        self._ledger: Ledger | None = None
        self._reporter: Any = None
        self._agent = Agent(self._tally, self.courier)
        self.handlers = SignalHandlers(app, self._tally, self._is_ours, self._agent.published)
        signals.worker_init.connect(self._worker_init)
        signals.worker_shutdown.connect(self._worker_shutdown)
        app.steps["consumer"].add(self._worker_step())
        os.register_at_fork(after_in_child=self._after_fork)
        # Last: other threads may be publishing already.
        self.handlers.connect()

    def courier(self) -> Courier:
        """The courier of this process."""
        return Courier(self.settings, self._tally, self.ledger(), self._scaler)

    def ledger(self) -> Ledger:
        """The ledger, over this process's one connection."""
        if self._ledger is None:
            self._ledger = Ledger(self.settings)
        return self._ledger

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
        from .worker import Reporter, WorkerStep

        def make_reporter(consumer: Any) -> Reporter:
            reporter = Reporter(self.app, consumer.hostname, self.settings, self.courier())
            self._reporter = reporter
            return reporter

        return type("MiddleManagement", (WorkerStep,), {"make_reporter": make_reporter})

    def _worker_init(self, sender: Any = None, **_: Any) -> None:
        if sender is not None and sender.app is self.app:
            self._tally.share_with_children()

    def _worker_shutdown(self, sender: Any = None, **_: Any) -> None:
        if self._reporter is not None:
            self._reporter.close()

    def _after_fork(self) -> None:
        # A connection, a thread and a reporter are their process's alone.
        self._ledger = None
        self._reporter = None
        self._tally.after_fork()
        self._agent.reset()
