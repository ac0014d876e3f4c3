"""Ties the parts together for one app in one process.

Nothing here keeps an app alive: only the app refers to what is made for it.
"""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from typing import TYPE_CHECKING
from weakref import WeakSet

from celery import Celery

from celery_middle_management import threads
from celery_middle_management.app_services import AppServices
from celery_middle_management.broker_reach import BrokerReach
from celery_middle_management.celery_internals import copied
from celery_middle_management.core.batch import UNPLACED
from celery_middle_management.counting.signals import SignalHandlers
from celery_middle_management.counting.tally import Tally
from celery_middle_management.late_import import locks_may_be_patched, no_fork_meanwhile
from celery_middle_management.log_to_stderr import show_log
from celery_middle_management.managed_worker import ManagedWorker
from celery_middle_management.reporting.attendant import Attendant
from celery_middle_management.reporting.publisher import PublisherAgent
from celery_middle_management.reporting.reporter import Evaluator, Reporter, wait_for_last_report
from celery_middle_management.settings.model import Settings

if TYPE_CHECKING:
    from celery_middle_management.ledger.redis import RedisLedger

logger = logging.getLogger("celery_middle_management")

_managed_apps: WeakSet[ManagedApp] = WeakSet()


class ManagedApp:
    """One app under middle management."""

    def __init__(self, app: Celery, settings: Settings) -> None:
        self.app = app
        self.settings = settings
        self._introduced = False
        self._services = AppServices(app, settings)
        self._reach = BrokerReach(app, settings)
        # If an app is made twice, both share one agent and connection, and in a worker one pipe.
        double = next((other for other in copied(_managed_apps) if other.doubles(self)), None)
        self._tally = double._tally if double else Tally()
        self._publisher = (
            double._publisher if double else PublisherAgent(self._tally, self.reporter)
        )
        # What this process has published is for its own agent to report.
        self._attendant = Attendant(lambda: self._reporter(Tally()))
        self.worker = ManagedWorker(
            app, settings, self._tally, self._services, self._reach, self.reporter
        )
        self.handlers = SignalHandlers(
            app,
            self._tally,
            lambda queue: settings.pool_for(queue) is not None,
            self._publisher.published,
            in_reach=lambda: self.in_reach,
            fanout_waits=lambda: self._reach.driver_type != "redis",
        )

    def install(self) -> None:
        """Begin to count what the app does."""
        show_log()
        _managed_apps.add(self)
        self.app.steps["consumer"].add(self.worker.step())
        if locks_may_be_patched():
            # The imports cannot have a thread of their own. Publishing must not wait for them.
            self._services.late_import.begin()
        # Last: other threads may be publishing already.
        self.handlers.connect()

    def doubles(self, other: ManagedApp) -> bool:
        """True if both apps use the same ledger and the same broker."""
        mine, theirs = self.app.conf, other.app.conf
        return self.settings == other.settings and (
            (mine.broker_read_url, mine.broker_write_url)
            == (theirs.broker_read_url, theirs.broker_write_url)
        )

    @property
    def in_reach(self) -> bool:
        """True if the workers that the platform starts can reach the app's tasks."""
        return self._reach.is_given

    def ledger(self) -> RedisLedger:
        """The ledger, over this process's one connection."""
        return self._services.ledger()

    def reporter(self) -> Reporter:
        """Make this process's reporter. From now on, the process is managed; log that once."""
        self._introduce(self.settings)
        self._services.late_import.begin()
        return self._reporter(self._tally)

    def dry_scaler(self) -> Evaluator:
        """Make an evaluator that decides and logs, but changes nothing, not even the ledger.

        It needs no lock: any lease will do.
        """
        settings = replace(self.settings, dry_run=True)
        self._introduce(settings)
        return self._services.dry_scaler(settings)

    def publishes(self) -> None:
        """Watch the ledger from now on, in a process that will publish sooner or later."""
        if self.in_reach:
            self._publisher.published()

    def flush(self, timeout: float) -> bool:
        """Report and evaluate what this process published; True if done within *timeout* (s)."""
        return self._publisher.flush(timeout)

    def look_in(self) -> None:
        """Have the waiting tasks evaluated, whichever process published them.

        This leaves no connection open. Workers and publishers evaluate from time to time anyway, so
        it does nothing in them. It does nothing on RabbitMQ either: counting there would leave one
        of Celery's own connections open, and a forked child would share it.
        """
        looks = self._publisher.begun or self._tally.shared
        if looks or self.settings.inactive or self._reach.driver_type != "redis":
            return
        self._services.late_import.begin()
        tally = Tally()
        tally.add(UNPLACED, "", 0.0)
        reporter = self._reporter(tally)
        # A child forked meanwhile would find the app's parts half made.
        with no_fork_meanwhile():
            reporter.prepare()
        reporter.leave()
        if not self._publisher.begun:
            self.ledger().rest()

    def ensure_evaluation(self) -> None:
        """Have the pools evaluated now, by this process if no other does it."""
        self._services.late_import.finish()
        reporter = self._reporter(self._tally)
        wait_for_last_report(threads.start("mm-by-hand", reporter.leave), reporter)

    def have_evaluated(self) -> None:
        """Have a person's request evaluated, in a thread, by this process if no other does it."""
        if not self.settings.inactive:
            self._attendant.attend()

    def after_fork(self) -> None:
        """Drop the parent's connection, thread and agent, in a fresh child."""
        self._services.after_fork()
        self.worker.after_fork()
        self._tally.after_fork()
        self._publisher.reset()
        self._attendant.reset()

    def _reporter(self, tally: Tally) -> Reporter:
        return Reporter(self.settings, tally, self._services.ledger, self._services.scaler)

    def _introduce(self, settings: Settings) -> None:
        """Log once what this process manages, or why it manages nothing.

        A child does not repeat it, nor is it logged at set-up: most processes that import the app
        neither publish nor work.
        """
        if not self._introduced:
            self._introduced = True
            logger.info("%s", settings.why_inactive or settings.summary)


def _after_fork() -> None:
    for managed in copied(_managed_apps):
        managed.after_fork()


os.register_at_fork(after_in_child=_after_fork)
