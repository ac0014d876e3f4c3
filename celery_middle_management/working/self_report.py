"""What a worker reports about itself: the tasks that it holds, and whether it takes more."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from time import time
from typing import Any, NamedTuple
from weakref import WeakSet

from celery.worker import state as worker_state
from celery.worker.request import Request

from celery_middle_management.celery_internals import copied
from celery_middle_management.core.cordon import Cordon
from celery_middle_management.core.demand import Held
from celery_middle_management.core.presence import Presence, Run, longest_runs
from celery_middle_management.counting.signals import handlers_of
from celery_middle_management.working.giving_back import GivingBack, gives_back_one_by_one
from celery_middle_management.working.intake import Intake
from celery_middle_management.working.scheduled import (
    ScheduledScan,
    queue_of_request,
    scheduled_by_strategies,
)
from celery_middle_management.working.shutdown import is_shutting_down


class SelfReport:
    """Makes the presence of one worker, from what Celery, its pool and its intake know."""

    def __init__(
        self, app: Any, worker: Presence, giving_back: GivingBack, scan: ScheduledScan
    ) -> None:
        """*worker* is a presence with everything that never changes."""
        self._app = app
        self._worker = worker
        self._giving_back = giving_back
        self._scan = scan
        handlers = handlers_of(app)
        #: Requests that a task's own strategy may keep to itself.
        self._with_own_strategy = (
            handlers.tasks.with_own_strategy if handlers else WeakSet[Request]()
        )
        #: The ledger's time minus that of our clock (s).
        self._ahead = 0.0
        #: A complaint about how the worker was started, if there is one.
        self.complaint = ""

    @property
    def has_heard(self) -> bool:
        """Whether the ledger has ever replied."""
        return bool(self._worker.since)

    def note_time(self, now: float) -> None:
        """Note the ledger's time *now*, as given in its reply."""
        self._ahead = now - time()
        if not self.has_heard:
            wrong = {self.complaint: now} if self.complaint else {}
            self._worker = replace(self._worker, since=now, wrong=wrong)

    def forget_requests(self) -> None:
        """Forget what came over a lost connection, because the broker redelivers it."""
        self._with_own_strategy.clear()

    def presence(
        self, consumer: Any, intake: Intake, cordon: Cordon, collect: Callable[[], None]
    ) -> Presence:
        """Return what the worker reports now; *cordon* is the one that holds it, empty if none.

        *collect* takes in what the pool's processes have recorded, such as whether they are busy.
        """
        # In this order: a task that moves on meanwhile is seen twice rather than never.
        stopped = intake.set_consuming(not cordon)
        buffered = [r for r in copied(self._with_own_strategy) if not r.acknowledged]
        until_due = tuple(scheduled_by_strategies(buffered))
        scheduled = self._scan.update(consumer, self._ahead, bool(cordon), until_due)
        returning = self._giving_back.look(
            scheduled.later, cordoned=bool(cordon), one_by_one=gives_back_one_by_one(consumer)
        )
        taken = {*_rate_limited(consumer), *copied(worker_state.reserved_requests)}
        active = copied(worker_state.active_requests)
        collect()
        running = intake.slots.running(active)
        gathered = {*buffered} - {held.request for held in until_due}
        requests = _Requests(taken | active, active, running, gathered)
        held = requests.by_queue(scheduled.due)
        return replace(
            self._worker,
            stopped=cordon.at if stopped and cordon else 0.0,
            closing=is_shutting_down(),
            full=intake.full,
            idle=round(intake.idle(sum(h.unacknowledged for h in held.values())), 3),
            busy=max(requests.unfinished + scheduled.imminent, intake.slots.jobs),
            returning=returning,
            queues=tuple(self._app.amqp.queues.consume_from),
            held=held,
            due=scheduled.due,
            recent=scheduled.recent,
            runs=longest_runs(_runs(running, self._ahead)),
            slots=intake.slots.total,
            elapsed=round(_elapsed(running), 3),
        )


class _Requests(NamedTuple):
    """The requests that a worker has, without those in its timer."""

    #: The requests that Celery has reserved, that wait for a rate limit, or that are active.
    taken: set[Request]
    #: The requests that Celery takes to be running, ...
    active: set[Request]
    #: ... and those among them that may really be running.
    running: set[Request]
    #: The requests that a task's own strategy gathers.
    gathered: set[Request]

    @property
    def unfinished(self) -> int:
        """The number of requests that have not ended."""
        return len((self.taken | self.gathered) - (self.active - self.running))

    def by_queue(self, due: Mapping[str, Mapping[int, int]]) -> dict[str, Held]:
        """Return what the worker holds of each queue, including the scheduled tasks in *due*."""
        ended = self.active - self.running
        counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
        for request in self.taken:
            entry = counts[queue_of_request(request)]
            entry[1 if request in self.active else 0] += request not in ended
            # Not request.acknowledged, which Celery sets before its loop has sent that: while the
            # loop runs the task itself (solo), the broker still has the message.
            entry[3] += not request.message.acknowledged
        for request in self.gathered:
            # No other worker could begin it sooner: it needs this worker, and no other.
            counts[queue_of_request(request)][3] += 1
        for queue, buckets in due.items():
            scheduled = sum(buckets.values())
            counts[queue][2] += scheduled
            counts[queue][3] += scheduled
        return {queue: Held(*entry) for queue, entry in counts.items()}


def _runs(running: set[Request], ahead: float) -> Iterator[Run]:
    """Yield the tasks that run, in the ledger's time, which is *ahead* of our clock (s)."""
    now = time()
    for request in running:
        yield Run(str(request.task.name), (request.time_start or now) + ahead)


def _elapsed(running: set[Request]) -> float:
    """Return how long (s) the tasks that run have been running, in all."""
    now = time()
    return sum(max(now - (request.time_start or now), 0.0) for request in running)


def _rate_limited(consumer: Any) -> Iterator[Request]:
    """Yield requests that wait for their task's rate limit: they may begin at any time."""
    for bucket in list(consumer.task_buckets.values()):
        for content in list(bucket.contents) if bucket else ():
            yield content[0]
