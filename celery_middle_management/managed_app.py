"""Ties the parts together for one app in one process.

Nothing here keeps an app alive: what belongs to one is reached through it alone.
"""

from __future__ import annotations

import json
import logging
import os
import time
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from celery import Celery

from celery_middle_management import threads
from celery_middle_management.brokers import broker_of
from celery_middle_management.celery_internals import copied
from celery_middle_management.core.batch import UNPLACED
from celery_middle_management.core.traits import DOTTED
from celery_middle_management.counting.signals import SignalHandlers
from celery_middle_management.counting.tally import Tally
from celery_middle_management.evaluation.ports import Ledger
from celery_middle_management.fork_guard import no_fork_meanwhile
from celery_middle_management.ledger.read_only import ReadOnlyLedger
from celery_middle_management.ledger.redis import RedisLedger
from celery_middle_management.log_to_stderr import be_seen
from celery_middle_management.platforms import Chosen, platform_for
from celery_middle_management.platforms.base import Identity
from celery_middle_management.reporting.publisher import PublisherAgent
from celery_middle_management.reporting.reporter import Evaluator, Reporter, wait_for_last_report
from celery_middle_management.reporting.scaler import Scaler
from celery_middle_management.settings.model import Settings
from celery_middle_management.working.bootstep import WorkerStep

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery_middle_management.doctor import Finding
    from celery_middle_management.working.worker import WorkerAgent

logger = logging.getLogger("celery_middle_management")

#: Brokers (kombu's driver types) whose messages never leave the process, or the machine.
_IN_PROCESS = ("memory",)
_ON_DISK = ("filesystem", "sqlite")
#: Those that are counted for sure, and of whose tasks in workers' hands is told.
_SUPPORTED = ("redis", "amqp", *_ON_DISK)

#: A process that has published a task tells of it within this time (s), however busy it is.
_PUBLISHER_TELLS = 2.0

_managed_apps: WeakSet[ManagedApp] = WeakSet()


class ManagedApp:
    """One app under middle management."""

    def __init__(self, app: Celery, settings: Settings, *, evaluates: bool = True) -> None:
        self.app = app
        self.settings = settings
        self._ledgers: dict[int, RedisLedger] = {}
        self._introduced = False
        if evaluates and not settings.inactive:
            # By now, all that it needs: in a thread that evaluates, an import may meet gevent,
            # which patches Python's own locks, and never end.
            self._platform  # noqa: B018 - it is imported
        self._worker: Any = None
        # An app that is made twice has one agent, with one connection, and in a worker one pipe.
        twin = next((other for other in copied(_managed_apps) if other.is_twin(self)), None)
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
        be_seen()
        _managed_apps.add(self)
        self.app.steps["consumer"].add(self._worker_step())
        # Last: other threads may be publishing already.
        self.handlers.connect()

    def is_twin(self, other: ManagedApp) -> bool:
        """Whether the two write the same ledger about the same broker."""
        mine, its = self.app.conf, other.app.conf
        return self.settings == other.settings and (
            (mine.broker_read_url, mine.broker_write_url)
            == (its.broker_read_url, its.broker_write_url)
        )

    def reporter(self) -> Reporter:
        """The reporter of this process, which is managed from now on: that is logged once."""
        self._introduce(self.settings)
        return self._reporter()

    def _reporter(self) -> Reporter:
        return Reporter(self.settings, self._tally, self.ledger, self._scaler)

    def _introduce(self, settings: Settings) -> None:
        """Log what is managed from here, or that nothing is. A child says nothing after its parent.

        Not when the app is set up: most processes that import it neither publish nor work.
        """
        if not self._introduced:
            self._introduced = True
            logger.info("%s", self.why_inactive or settings.said)

    @property
    def why_inactive(self) -> str:
        """The reason, in a sentence, why this process never evaluates; empty where it does."""
        why, heroku = self.settings.inactive, self.settings.heroku
        return why and (
            "no workers are hired or fired from this process, but from dynos of "
            f"{heroku.app if heroku else None!r} alone: {why}. "
            "middle_management_off_platform=True has it do so"
        )

    def ledger(self) -> RedisLedger:
        """The ledger, over this process's one connection."""
        # Of threads that come at once, all get the same.
        return self._ledgers.get(0) or self._ledgers.setdefault(0, RedisLedger(self.settings))

    def status(self) -> dict[str, Any]:
        """The status of every pool now; raises redis.RedisError when the ledger cannot be read.

        Where the broker cannot be, the status tells that.
        """
        from celery_middle_management.views.troubles import may_pass

        document = self._status()
        if not may_pass(document):
            return document
        time.sleep(_PUBLISHER_TELLS)
        return self._status()

    def _status(self) -> dict[str, Any]:
        from celery_middle_management.counting.declared import named_queues
        from celery_middle_management.counting.delayed import delayed_natively
        from celery_middle_management.evaluation.ports import Queues
        from celery_middle_management.views.look import look_at
        from celery_middle_management.views.status import MINUTES, status_of

        ledger, declared = self.ledger(), named_queues(self.app)
        # One more than are told: what the counters were before.
        past, snapshot = ledger.history(MINUTES + 1), ledger.snapshot()
        broker = broker_of(self.app, self.settings, ledger.redis)
        queues = Queues(declared, delayed_natively(self.app))
        look = look_at(broker, self.settings, snapshot, queues)
        told = self.settings, snapshot, declared, past
        return status_of(*told, look=look, full=ledger.full, celery=self._celery)

    @cached_property
    def _celery(self) -> str:
        """The ``celery`` command of the app, for people to paste."""
        from celery_middle_management.app_import_path import celery_command

        return celery_command(self.app, self.settings.celery_app)

    def actions(self) -> tuple[datetime, list[dict[str, Any]]]:
        """The time now, and what was done and asked for, the latest first."""
        ledger = self.ledger()
        entries = [json.loads(entry) for entry in ledger.actions()]
        # They are written together, at the end of an evaluation, but each tells its own time.
        entries.sort(key=lambda entry: datetime.fromisoformat(entry["at"]), reverse=True)
        snapshot = ledger.snapshot()
        return datetime.fromisoformat(snapshot.iso(snapshot.now)), entries

    def have_it_looked_at(self) -> None:
        """See to it that an evaluation is made, by this process if by no other."""
        reporter = self._reporter()
        wait_for_last_report(threads.start("mm-by-hand", reporter.leave), reporter)

    def examine(self) -> Iterator[Finding]:
        """What is wrong in this installation, check by check."""
        from celery_middle_management.doctor import examine
        from celery_middle_management.doctor.installation import Installation

        return examine(Installation(self.app, self.settings, self.ledger()))

    @cached_property
    def _platform(self) -> Chosen:
        return platform_for(self.settings)

    @cached_property
    def in_reach(self) -> bool:
        """Whether workers that the platform starts can get at the app's tasks; warns if not.

        Asked for at the first use, for tests exchange the broker of an app that is set up already.
        """
        local = self._driver_type in _ON_DISK and self.settings.platform == "local"
        if self._driver_type not in (*_IN_PROCESS, *_ON_DISK) or local:
            if self._driver_type not in _SUPPORTED:
                logger.warning(
                    "the broker of the app %r, %s, is neither Redis nor RabbitMQ: whether its "
                    "queues can be counted has not been tried, and nothing is fired while they "
                    "cannot be",
                    self.app.main,
                    self._driver_type,
                )
            return True
        if self.settings.inactive:
            return False
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
        return self._scaler_of(self.settings, self.ledger())

    def dry_scaler(self) -> Evaluator:
        """Decides and logs, and changes nothing at all, the ledger neither.

        Needs no lock: any lease will do.
        """
        settings = replace(self.settings, dry_run=True)
        self._introduce(settings)
        return self._scaler_of(settings, ReadOnlyLedger(self.ledger()))

    def _scaler_of(self, settings: Settings, ledger: Ledger) -> Scaler:
        return Scaler(
            self.app,
            settings,
            ledger,
            broker_of(self.app, settings, self.ledger().redis),
            self._platform.make(self.app),
        )

    def _is_ours(self, queue: str) -> bool:
        return self.settings.pool_for(queue) is not None

    def _worker_step(self) -> type:
        def make_agent(consumer: Any) -> WorkerAgent | None:
            if not self.in_reach:
                return None
            from celery_middle_management.working.worker import WorkerAgent

            if self.settings.inactive:
                identity, traits = Identity(None, consumer.hostname), DOTTED
            else:
                kind = self._platform.kind
                identity, traits = kind.identity(os.environ, consumer.hostname), kind.traits
            agent = WorkerAgent(self.app, identity, self.settings, self.reporter(), traits)
            agent.keep_from_purging(consumer.controller)
            self._worker = agent
            return agent

        told = {
            "make_agent": make_agent,
            "limits": not (self.settings.dry_run or self.settings.inactive),
            "at_work": self._tally.at_work,
        }
        return type("MiddleManagement", (WorkerStep,), told)

    def publishes(self) -> None:
        """This process publishes, sooner or later: watch from now on."""
        if self.in_reach:
            self._publisher.published()

    def look_in(self) -> None:
        """Have it looked at what waits, whoever published it. Leaves no connection open.

        What publishes, and a worker, look by themselves, from time to time. On RabbitMQ, the count
        would leave one of Celery's own connections open, which a child that is forked would share.
        """
        looks = self._publisher.begun or self._tally.shared
        if looks or self.settings.inactive or self._driver_type != "redis":
            return
        tally = Tally()
        tally.add(UNPLACED, "", 0.0)
        reporter = Reporter(self.settings, tally, self.ledger, self._scaler)
        # A child forked meanwhile would find the app's parts half made.
        with no_fork_meanwhile():
            reporter.prepare()
        reporter.leave()
        if not self._publisher.begun:
            self.ledger().rest()

    def flush(self, timeout: float) -> bool:
        """Have what this process published told and looked at; whether that was done in time."""
        return self._publisher.flush(timeout)

    def worker_init(self) -> None:
        """This process is a worker of the app, and is about to fork its children."""
        # Before there are threads of the worker that could meet a fork, or a patch.
        with no_fork_meanwhile():
            import celery_middle_management.working.intake
            import celery_middle_management.working.worker  # noqa: F401
        self._tally.share_with_children()

    def worker_shutdown(self) -> None:
        """The worker has finished."""
        if self._worker is not None:
            self._worker.close()

    def after_fork(self) -> None:
        """This process is a fresh child."""
        # A connection, a thread and an agent are their process's alone.
        self._ledgers = {}
        self._worker = None
        self._tally.after_fork()
        self._publisher.reset()


def _after_fork() -> None:
    for managed in copied(_managed_apps):
        managed.after_fork()


os.register_at_fork(after_in_child=_after_fork)
