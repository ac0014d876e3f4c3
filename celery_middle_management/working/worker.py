"""The agent of a worker: it reports what the worker holds, and obeys the cordon in the reply.

A thread reports every second, whatever the main thread does: a solo worker that runs a task for an
hour must not look dead. Only the main thread stops and resumes consuming, between two turns of its
loop, so that a worker that reports that it has stopped cannot receive a task any more.
"""

from __future__ import annotations

import logging
import threading
import uuid
from dataclasses import replace
from multiprocessing.util import Finalize
from time import monotonic
from typing import Any

from celery.worker import state as worker_state

from celery_middle_management import threads
from celery_middle_management.celery_internals import copied
from celery_middle_management.core.cordon import Cordon, Orders
from celery_middle_management.core.presence import Presence
from celery_middle_management.core.roster import let_go
from celery_middle_management.core.traits import DOTTED, Stops, Traits
from celery_middle_management.ledger.model import Reply
from celery_middle_management.log_throttle import LogThrottle
from celery_middle_management.platforms.base import Identity
from celery_middle_management.reporting.reporter import Reporter, wait_for_last_report
from celery_middle_management.settings.model import Settings
from celery_middle_management.version import __version__
from celery_middle_management.working.drain_log import DrainLog
from celery_middle_management.working.giving_back import GivingBack
from celery_middle_management.working.intake import Intake
from celery_middle_management.working.loop_calls import LoopCalls
from celery_middle_management.working.purge import keep_from_purging
from celery_middle_management.working.renewal import Renewal
from celery_middle_management.working.scheduled import ScheduledScan
from celery_middle_management.working.self_report import SelfReport
from celery_middle_management.working.shutdown import begin_warm_shutdown, is_shutting_down

logger = logging.getLogger("celery_middle_management")
#: A worker reports this often (s).
INTERVAL = 1.0
#: A worker that is about to leave reports again this soon (s).
SOON = 0.2
#: A worker collects what its children recorded this often (s).
COLLECT = 0.1


class WorkerAgent:
    """The agent of one worker, over all the connections that it makes."""

    def __init__(
        self,
        app: Any,
        identity: Identity,
        settings: Settings,
        reporter: Reporter,
        traits: Traits = DOTTED,
    ) -> None:
        self.name = identity.name
        worker = _presence_at_start(identity, settings)
        self.id, self._pool, self._hire = worker.id, worker.pool, worker.hire
        self._traits = replace(traits, stops=Stops.CHOSEN) if self._hire else traits
        self._reporter = reporter
        self._dry_run = settings.dry_run
        # A fire never stops a worker without a pool, a one-off worker, or any worker in a dry run.
        fired = self._pool and not self._hire and not settings.dry_run
        born = monotonic() if fired else float("-inf")
        self._orders = Orders(self.name, born, self._traits)
        self._ledger_born: str | None = None
        self._trouble = LogThrottle(logger)
        self._drain_log = DrainLog(self.name)
        self._renewal = Renewal(self.name)
        self._giving_back = GivingBack(traits.imminent)
        self._self_report = SelfReport(
            app, worker, self._giving_back, ScheduledScan(traits.imminent)
        )
        self._loop_calls = LoopCalls(app, self._giving_back, self._trouble)
        self._consumer: Any = None
        self._intake: Any = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        #: Whether it may leave as soon as it has reported that it has stopped.
        self._soon = False

    def keep_from_purging(self, controller: Any) -> None:
        """Have a worker of a pool ignore ``--purge``: what waits is what it was hired for."""
        if self._pool is not None:
            self._self_report.complaint = keep_from_purging(
                controller, self.name, dry_run=self._dry_run
            )

    def start(self, consumer: Any, intake: Intake) -> None:
        """Begin, or go on, when the consumer has connected and before it consumes."""
        self._consumer = consumer
        self._intake = intake
        self._self_report.forget_requests()
        self._loop_calls.start(consumer, intake)
        if self._thread is None:
            # Before it takes the first task: a worker that starts cordoned takes none.
            with self._trouble.guard("a worker's first report"):
                self.report()
            # Close however the worker ends, if Python exits at all, and after kombu has given the
            # rest back.
            self._at_exit = Finalize(None, self.close, exitpriority=0)
            self._thread = threads.start("mm-worker", self._run)
        self._loop_calls.apply_intake()
        self._renewal.start(consumer)

    def close(self) -> None:
        """Report for the last time, when the worker has finished."""
        if self._thread is not None and not self._stop.is_set():
            self._stop.set()
            self._at_exit.cancel()
            wait_for_last_report(self._thread, self._reporter)

    def report(self) -> None:
        """Report once, and do what the reply says."""
        presence = self.presence()
        reply = self._reporter.report(self.id, presence)
        if reply is not None:
            self._take_note(reply)
            cordon = self._orders.cordon(monotonic())
            self._drain_log.update(cordon, presence, reply.why)
            self._renewal.look(self._consumer, self._intake, presence, reply, cordoned=bool(cordon))
            if self._hire:
                self._leave_if_let_go(presence, reply.cordon)
        elif not self._self_report.has_heard:
            self._trouble.warn(
                "unheard",
                "the ledger cannot be reached: no tasks are taken for %d s",
                self._traits.waits_for_ledger,
            )
        self._intake.set_consuming(not self._orders.cordon(monotonic()))
        if not self._intake.applied and self._thread is not None:
            self._loop_calls.apply_intake_soon()

    def presence(self) -> Presence:
        """Return what this worker reports about itself now."""
        cordon = self._orders.cordon(monotonic())
        found = self._self_report.presence(
            self._consumer, self._intake, cordon, self._reporter.collect
        )
        # Until it has made its first report, the worker does not consume.
        return found if self._thread is not None else replace(found, full=True)

    def _run(self) -> None:
        reported, stopped = monotonic(), self._intake.stopped
        while not self._stop.wait(COLLECT):
            with self._trouble.guard("a worker's report"):
                if self._intake.observe(copied(worker_state.active_requests)):
                    self._loop_calls.apply_intake_soon()
                again = reported + (SOON if self._soon else INTERVAL)
                has_changed = self._intake.stopped != stopped
                if has_changed or monotonic() >= min(self._reporter.urgent_at(), again):
                    reported, stopped = monotonic(), self._intake.stopped
                    self.report()
                if self._giving_back.due:
                    self._loop_calls.give_back_soon()
        with self._trouble.guard("a worker's last report"):
            self._reporter.leave(self.id)

    def _take_note(self, reply: Reply) -> None:
        self._self_report.note_time(reply.now)
        # Compared with the last reply that came here: a report in parts has several replies.
        lost = self._ledger_born not in (None, reply.born)
        self._ledger_born = reply.born
        self._orders.receive(reply.cordon, monotonic(), lost=lost)
        self._loop_calls.restore_soon()

    def _leave_if_let_go(self, presence: Presence, leave: Cordon) -> None:
        """Shut down if the reply to *presence* cordons it, it has stopped, and it holds no task."""
        self._soon = leave.holds(self.name, self._traits) and presence.stopped != leave.at
        if let_go(presence, leave) and not is_shutting_down():
            logger.info("%s is not needed any more, holds no task, and leaves", self.name)
            begin_warm_shutdown()


def _presence_at_start(identity: Identity, settings: Settings) -> Presence:
    """Return the presence of a new worker, with everything that never changes."""
    pools = {pool.name for pool in settings.pools}
    return Presence(
        id=uuid.uuid4().hex,
        name=identity.name,
        pool=identity.pool if identity.pool in pools else None,
        since=0.0,
        seen=0.0,
        release=__version__,
        settings=settings.fingerprint,
        hire=identity.hire if identity.pool else "",
        inactive=bool(settings.inactive),
    )
