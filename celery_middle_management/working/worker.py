"""The consumer step of a worker: its presence, its cordon, and its agent.

A thread reports every second, whatever the main thread does: a solo worker that works for an hour
must not look dead. Only the main thread stops and takes up consuming, between two turns of its
loop, so that a worker which says that it has stopped cannot receive a task any more.
"""

from __future__ import annotations

import logging
import threading
import traceback
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import replace
from multiprocessing.util import Finalize
from time import monotonic, time
from typing import Any
from weakref import WeakSet

from celery.worker import state as worker_state
from celery.worker.request import Request

from celery_middle_management import threads
from celery_middle_management.brokers.redacting import broker_trouble
from celery_middle_management.celery_internals import copied
from celery_middle_management.core.cordon import Cordon, Orders
from celery_middle_management.core.demand import Held
from celery_middle_management.core.presence import Presence, Run, longest_runs
from celery_middle_management.core.roster import let_go
from celery_middle_management.core.traits import DOTTED, Stops, Traits
from celery_middle_management.counting.signals import handlers_of
from celery_middle_management.ledger.model import Reply
from celery_middle_management.log_throttle import LogThrottle
from celery_middle_management.platforms.base import Identity
from celery_middle_management.reporting.reporter import Reporter, see_off
from celery_middle_management.settings.model import Settings
from celery_middle_management.version import __version__
from celery_middle_management.working.drain_log import DrainLog
from celery_middle_management.working.intake import Intake
from celery_middle_management.working.renewal import Renewal
from celery_middle_management.working.scheduled import (
    GivingBack,
    ScheduledScan,
    closing,
    kept_apart,
    one_by_one,
    queue_of_request,
)

logger = logging.getLogger("celery_middle_management")
#: A worker reports this often (s).
INTERVAL = 1.0
#: One that is about to leave says so this soon (s).
SOON = 0.2
#: What its children recorded is collected this often (s).
COLLECT = 0.1
PURGE_IGNORED = (
    "was started with --purge, and ignores it: what waits is what it was hired for; "
    "take --purge out of its command (Procfile)"
)
PURGES = (
    "was started with --purge, which deletes what waits: only in a dry run is it left to do so; "
    "take --purge out of its command (Procfile)"
)
#: Between two portions of what it gives back, a worker's main thread does its other work (s).
PAUSE = 0.01


class WorkerAgent:
    """Tells the ledger every second what this worker holds, and hears of its cordon."""

    def __init__(
        self,
        app: Any,
        identity: Identity,
        settings: Settings,
        reporter: Reporter,
        traits: Traits = DOTTED,
    ) -> None:
        self.id = uuid.uuid4().hex
        self.name = identity.name
        self._hire = identity.hire if identity.pool else ""
        traits = replace(traits, stops=Stops.CHOSEN) if self._hire else traits
        pools = {pool.name for pool in settings.pools}
        self._pool = identity.pool if identity.pool in pools else None
        self._app = app
        self._fingerprint = settings.fingerprint
        self._inactive = bool(settings.inactive)
        self._reporter = reporter
        self._dry_run = settings.dry_run
        #: What is to be told of its ``--purge``.
        self._purges = ""
        # Nobody fires a worker of no pool or one that was hired alone, nor anybody in a dry run.
        fired = self._pool and not self._hire and not settings.dry_run
        born = monotonic() if fired else float("-inf")
        self._orders = Orders(self.name, born, traits)
        self._traits = traits
        self._drain_log = DrainLog(self.name)
        self._since = 0.0
        self._born: str | None = None
        #: The ledger's time less that of our clock (s).
        self._ahead = 0.0
        handlers = handlers_of(app)
        #: Requests that a strategy of a task's own may keep to itself.
        self._apart = handlers.apart if handlers else WeakSet[Request]()
        self._consumer: Any = None
        self._intake: Any = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._restoring = False
        self._scheduled = ScheduledScan(traits.imminent)
        self._renewal = Renewal(self.name)
        self._giving_back = GivingBack(traits.imminent)
        self._gives = False
        #: It is yet to say that it has stopped, and may leave then.
        self._soon = False
        self._trouble = LogThrottle(logger)

    def keep_from_purging(self, controller: Any) -> None:
        """Have a worker of a pool ignore ``--purge``: what waits is what it was hired for.

        In a dry run it is only told of. To be called before the worker is started.
        """
        if self._pool is None or not getattr(controller, "purge", False):
            return
        self._purges = PURGES if self._dry_run else PURGE_IGNORED
        controller.purge = self._dry_run
        logger.error("%s %s", self.name, self._purges)

    def start(self, consumer: Any, intake: Intake) -> None:
        """The consumer has connected and is about to consume."""
        self._consumer = consumer
        self._intake = intake
        self._apart.clear()  # the broker gives back what came by another connection
        if self._thread is None:
            # Heard before the first task is taken: a cordoned worker does not begin.
            with self._trouble.guard("a worker's first report"):
                self.report()
            # However it ends, if its process has a say in it; after kombu has given back the rest.
            self._at_exit = Finalize(None, self.close, exitpriority=0)
            self._thread = threads.start("mm-worker", self._run)
        self._gives = False  # what was asked of the last connection's loop may be lost
        self._settle()
        self._renewal.start(consumer)

    def close(self) -> None:
        """The worker has finished: say goodbye."""
        if self._thread is not None and not self._stop.is_set():
            self._stop.set()
            self._at_exit.cancel()
            see_off(self._thread, self._reporter)

    def report(self) -> None:
        """Report once, and take note of the answer."""
        presence = self.presence()
        reply = self._reporter.report(self.id, presence)
        if reply is not None:
            self._hear(reply)
            cordon = self._orders.cordon(monotonic())
            self._drain_log.look(cordon, presence, reply.why)
            self._renewal.look(self._consumer, self._intake, presence, reply, cordoned=bool(cordon))
            if self._hire:
                self._leave(presence, reply.cordon)
        elif not self._since:
            self._trouble.warn(
                "unheard",
                "the ledger cannot be reached: no tasks are taken for %d s",
                self._traits.waits_for_ledger,
            )
        self._intake.want(not self._orders.cordon(monotonic()))
        if not self._intake.settled and self._thread is not None:
            self._settle_soon()

    def _leave(self, presence: Presence, leave: Cordon) -> None:
        """Shut down if that *presence* has it so; the answer to it told of this cordon."""
        self._soon = leave.holds(self.name, self._traits) and presence.stopped != leave.at
        if let_go(presence, leave) and not closing():
            logger.info("%s is not needed any more, holds no task, and leaves", self.name)
            # It shuts down warmly, from whichever thread that is set.
            state: Any = worker_state  # celery-types know no exit status
            state.should_stop = 0

    def presence(self) -> Presence:
        """What this worker says of itself now."""
        # In this order: a task that moves on meanwhile is seen twice rather than never.
        cordon = self._orders.cordon(monotonic())
        stopped = self._intake.want(not cordon)
        apart = [request for request in copied(self._apart) if not request.acknowledged]
        later = tuple(kept_apart(apart))
        scheduled = self._scheduled.look(self._consumer, self._ahead, bool(cordon), later)
        returning = self._giving_back.look(
            scheduled.later, cordoned=bool(cordon), one_by_one=one_by_one(self._consumer)
        )
        gathered = {*apart} - {held.request for held in later}
        limited = list(_rate_limited(self._consumer))
        reserved = copied(worker_state.reserved_requests)
        active = copied(worker_state.active_requests)
        self._reporter.collect()
        running = self._intake.running(active)
        ended = active - running
        taken = {*limited, *reserved, *active}
        held = _held(taken, active, ended, gathered, scheduled.due)
        return Presence(
            id=self.id,
            name=self.name,
            pool=self._pool,
            since=self._since,
            seen=0.0,
            stopped=cordon.at if stopped and cordon else 0.0,
            closing=closing(),
            full=self._intake.full or self._thread is None,
            idle=round(self._intake.idle(sum(h.unacknowledged for h in held.values())), 3),
            busy=max(
                len((taken | gathered) - ended) + scheduled.imminent,
                self._intake.jobs,
            ),
            returning=returning,
            release=__version__,
            settings=self._fingerprint,
            wrong={self._purges: self._since} if self._purges and self._since else {},
            hire=self._hire,
            inactive=self._inactive,
            queues=tuple(self._app.amqp.queues.consume_from),
            held=held,
            due=scheduled.due,
            recent=scheduled.recent,
            runs=longest_runs(_runs(running, self._ahead)),
        )

    def _run(self) -> None:
        reported, stopped = monotonic(), self._intake.stopped
        while not self._stop.wait(COLLECT):
            with self._trouble.guard("a worker's report"):
                if self._intake.watch(copied(worker_state.active_requests)):
                    self._settle_soon()
                again = reported + (SOON if self._soon else INTERVAL)
                news = self._intake.stopped != stopped
                if news or monotonic() >= min(self._reporter.urgent_at(), again):
                    reported, stopped = monotonic(), self._intake.stopped
                    self.report()
                if self._giving_back.due and not self._gives:
                    self._gives = True
                    self._consumer.call_soon(self._give_back)
        with self._trouble.guard("a worker's goodbye"):
            self._reporter.leave(self.id)

    def _hear(self, reply: Reply) -> None:
        self._ahead = reply.now - time()
        # Since we last heard, not since the ledger's last answer: a report may take several.
        lost = self._born not in (None, reply.born)
        self._born = reply.born
        self._orders.receive(reply.cordon, monotonic(), lost=lost)
        self._since = self._since or reply.now
        if self._consumer.hub is None and not self._restoring:
            self._restoring = True
            self._consumer.call_soon(self._restore)

    def _settle_soon(self) -> None:
        self._consumer.call_soon(self._settle)
        self._intake.wake()

    def _settle(self) -> None:
        with self._trouble.guard("stopping or taking up consuming"):
            try:
                self._intake.settle()
            except self._consumer.connection_errors + self._consumer.channel_errors as error:
                self._broker_failed("consume", error)

    def _give_back(self) -> None:
        more = False
        try:
            more = self._intake.stopped and self._giving_back.portion(self._consumer)
        except self._consumer.connection_errors + self._consumer.channel_errors as error:
            self._broker_failed("return", error)
        except Exception:  # noqa: BLE001 - a timer must go on
            # As text: of the error itself, a handler could show the frames, with a password.
            logger.error("a scheduled task could not be given back:\n%s", traceback.format_exc())
        finally:
            # Without an event loop, what asks for itself again would be done in the same turn.
            self._gives = more and self._consumer.hub is not None
        if self._gives:
            self._consumer.timer.call_after(PAUSE, self._give_back)

    def _restore(self) -> None:
        """Have kombu give back what dead workers held.

        With Redis it does so by a timer of its event loop. Under gevent and eventlet there is none,
        and an idle worker would never do it.
        """
        self._restoring = False
        with self._trouble.guard("having kombu give messages back"):
            connection = self._consumer.connection
            cycle = getattr(connection and connection.transport, "cycle", None)
            restore = getattr(cycle, "maybe_restore_messages", None)
            if restore is None:
                return
            try:
                restore()
            except connection.connection_errors + connection.channel_errors as error:
                self._broker_failed("restore", error)

    def _broker_failed(self, kind: str, error: BaseException) -> None:
        said = broker_trouble(self._app, error)
        self._trouble.warn(kind, "the broker failed, will be tried again: %s", said)


def _held(
    taken: Iterable[Request],
    active: Set[Request],
    ended: Set[Request],
    gathered: Iterable[Request],
    due: Mapping[str, Mapping[int, int]],
) -> dict[str, Held]:
    """What a worker holds, by queue."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for request in taken:
        entry = counts[queue_of_request(request)]
        entry[1 if request in active else 0] += request not in ended
        # Not the request, which Celery calls acknowledged before its loop has sent that: while the
        # loop runs the task itself (solo), the broker keeps the message.
        entry[3] += not request.message.acknowledged
    for request in gathered:
        # No other worker could begin it sooner: it keeps this one, and needs none besides.
        counts[queue_of_request(request)][3] += 1
    for queue, buckets in due.items():
        held = sum(buckets.values())
        counts[queue][2] += held
        counts[queue][3] += held
    return {queue: Held(*entry) for queue, entry in counts.items()}


def _runs(running: Iterable[Request], ahead: float) -> Iterator[Run]:
    """The tasks that run, by the ledger's time, which is *ahead* of our clock (s)."""
    now = time()
    for request in running:
        yield Run(str(request.task.name), (request.time_start or now) + ahead)


def _rate_limited(consumer: Any) -> Iterator[Request]:
    """Requests that wait for their task's rate limit: they may begin at any time."""
    for bucket in list(consumer.task_buckets.values()):
        for content in list(bucket.contents) if bucket else ():
            yield content[0]
