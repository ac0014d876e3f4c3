"""The world around a scaler, in memory: workers, platform and broker, and the time.

Scaler and ledger are the real ones, the latter in memory. Workers hear of a cordon some time after
it was drawn, the platform stops workers some time after it was asked to, answers get lost, counts
fail, scalers die.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from celery_middle_management.brokers.base import Broker, CountFailed
from celery_middle_management.core.demand import Backlog
from celery_middle_management.core.pools import Pool
from celery_middle_management.core.traits import DOTTED, Stops, Traits
from celery_middle_management.evaluation.evaluation import Evaluation
from celery_middle_management.evaluation.ports import Ports, Queues
from celery_middle_management.ledger.memory_store import Store
from celery_middle_management.ledger.model import Lease
from celery_middle_management.platforms import Platform, PlatformError, Refused
from celery_middle_management.settings.model import Settings
from celery_middle_management.settings.reading import Secret

from .processes import POOL, QUEUE, Died, Process, Publisher, Worker

MAXIMUM = 4
CALL_INTERVAL = 10.0
COUNT_INTERVAL = 60.0
#: The platform kills a worker that has not ended this long (s) after it was asked to.
KILL_AFTER = 30.0
#: Celery's prefetching is left out: a task that a worker takes, it runs, unless it is scheduled.
SLOTS = 2
#: A worker is heard of when it comes up, this long (s) after it was started at most.
BOOT = 20.0


#: Such as Kubernetes' stateful sets.
FROM_ZERO = Traits(
    number=lambda name: int(name.rpartition("-")[2]) + 1,
    name=lambda pool, number: f"{pool}-{number - 1}",
)


@dataclass(frozen=True)
class Behaviour:
    """How an evaluation goes."""

    #: What becomes of a change: ``done``; ``refused``; ``lost``, and nothing was done; ``deaf``,
    #: and it was done; ``unanswered``, and it is done *delay* seconds later; ``died``, likewise.
    change: str = "done"
    delay: float = 0.0
    #: Workers are asked to stop this long (s) after the quantity was lowered.
    stops_after: float = 0.0
    #: Whether the platform answers questions.
    answers: bool = True
    #: The scaler dies instead of writing down so many steps and one; None: it lives.
    dies_after: int | None = None


WELL = Behaviour()


class World(Platform, Broker):
    """All there is, as it really is; *numbered* dynos are stopped from the highest number down."""

    #: Whether workers are hired one by one.
    hires_singly = False
    #: After workers crashed, none is hired for at most this long (s).
    pauses_for = 0.0

    def __init__(self, minimum: int, numbered: bool, traits: Traits = DOTTED) -> None:
        pool = Pool(POOL, (QUEUE,), minimum, MAXIMUM, jobs_per_worker=4, one_off=self.hires_singly)
        self.minimum = minimum
        self.numbered = numbered
        self.traits = traits
        self.now = 1000.0
        self.store = Store(lambda: self.now)
        #: How evaluations go from now on.
        self.behaviour = WELL
        self.workers: list[Worker] = []
        #: Messages in the queue, and those in it that bear a due time.
        self.ready = 0
        self.later: list[float] = []
        self.target = 0
        #: Changes of ours that are under way: when (s) the platform makes them, and to what.
        self.under_way: list[tuple[float, int]] = []
        #: When (s) workers are asked to stop, and whether a fire is the cause.
        self.stops: list[tuple[float, Worker, bool]] = []
        #: The platform refuses more workers than this, and may say so.
        self.limit: int | None = None
        self.says_limit = True
        self.countable = True
        self.wronged: list[str] = []
        #: When (s) the broker was counted, and the platform asked for anything.
        self.counted_at: list[float] = []
        self.asked_at: list[float] = []
        #: The quantities that we have sent.
        self.asked_to: list[int] = []
        self._born = 0
        self._changed_at = 0.0
        self._settings = Settings(
            platform="played",
            pools=(pool,),
            redis_url=Secret(""),
            redis_options={},
            call_interval=CALL_INTERVAL,
            count_interval=COUNT_INTERVAL,
            drain_timeout=None,
            heroku=None,
        )
        self.publisher = self._new_publisher()
        self._settle(self.least, fire=False)

    @property
    def unsettled(self) -> bool:
        """Whether a change of ours is under way."""
        return bool(self.under_way)

    @property
    def formation(self) -> list[Worker]:
        """Those that the quantity is of."""
        return self.workers

    @property
    def least(self) -> int:
        """What the quantity is when there is nothing to do."""
        return self.minimum

    # -- the ledger and the evaluations

    def look(self) -> None:
        """The publisher tells what it has to tell, and evaluates if that is due."""
        reply = self.publisher.look(self.now)
        self._evaluate(self.publisher, reply.lease)

    def look_if_due(self) -> None:
        """The publisher does so where it has something to tell, or was asked to."""
        if self.publisher.batch or self.publisher.ask_at <= self.now:
            self.look()

    def evaluate(self, behaviour: Behaviour = WELL) -> None:
        """One evaluation, unless there was one just now or a dead scaler has the lock."""
        self.behaviour = behaviour
        self.publisher.unplaced(self.now)
        self.look()

    def _evaluate(self, process: Process, lease: Lease | None) -> None:
        if lease is None:
            return
        ledger = process.ledger
        ledger.dies_after = self.behaviour.dies_after
        ports = Ports(
            *(ledger, self, self),
            Queues((QUEUE,)),
            clock=self.store.clock,
            born=process.started,
            warn=lambda *_: None,
            inform=lambda *_: None,
            worker=process.name if isinstance(process, Worker) else "",
        )
        try:
            Evaluation(lease, self._settings, ports).run()
        except Died:
            self._die(process)
        finally:
            ledger.dies_after = None

    def _die(self, process: Process) -> None:
        """With all that it knew and had not told."""
        if process is self.publisher:
            self.publisher = self._new_publisher()
        elif isinstance(process, Worker) and not process.ended:
            self.crash(process)

    def _new_publisher(self) -> Publisher:
        return Publisher(self._settings, self.store)

    @property
    def remembered(self) -> bool:
        """Whether some know all that is under way, so that one of them lives to tell."""
        sent = json.loads(self.store.state.get("sent", "{}"))
        heard = [w for w in self.up if not w.mute and not self.to_stop(w)]
        return sum(p.ledger.remembered == sent for p in (self.publisher, *heard)) > 1

    def lose_ledger(self) -> None:
        """Every process finds it empty; one that had lost it reports again."""
        self.store.flush()
        for worker in self.up:
            worker.mute = False

    # -- the broker

    def backlogs(
        self, queues: Sequence[str], unacknowledged: Mapping[str, int]
    ) -> dict[str, Backlog]:
        if not self.countable:
            raise CountFailed("the broker does not answer")
        self.counted_at.append(self.now)
        return {QUEUE: Backlog(self.ready + len(self.later))}

    # -- the platform

    def quantities(self, pools: Collection[str], deadline: float) -> dict[str, int | Refused]:
        self._answer()
        return {POOL: self.target}

    def running(self, pools: Collection[str], deadline: float) -> dict[str, list[str]]:
        self._answer()
        return {POOL: [w.name for w in self.formation if w.stopped_at is None]}

    def scale(
        self, quantities: Mapping[str, int], deadline: float
    ) -> dict[str, int | PlatformError]:
        quantity = quantities[POOL]
        self._judge(quantity)
        self.asked_to.append(quantity)
        if self.limit is not None and quantity > self.limit:
            return {POOL: Refused("above the limit", limit=self.limit if self.says_limit else None)}
        self._changed_at = self.now
        how = self.behaviour
        if how.change in ("done", "deaf"):
            self._settle(quantity, fire=True, stop_after=how.stops_after)
            self.advance(0.0)
        elif how.change in ("unanswered", "died"):
            self.under_way.append((self.now + how.delay, quantity))
        if how.change == "died":
            raise Died
        if how.change != "done":
            raise PlatformError(how.change, settled=how.change == "refused")
        return {POOL: quantity}

    def _answer(self) -> None:
        self.asked_at.append(self.now)
        if not self.behaviour.answers:
            raise PlatformError("no answer")

    def _judge(self, quantity: int) -> None:
        if not self.least <= quantity <= MAXIMUM:
            self.wronged.append(f"set to {quantity}")
        if quantity < self.target and self.counted_at[-1:] != [self.now]:
            self.wronged.append("fired without a fresh count")
        apart = self.now - self._changed_at
        if self.target and 0 < apart < CALL_INTERVAL:
            self.wronged.append(f"changed twice within {apart} s")

    def scale_by_hand(self, quantity: int) -> None:
        self._settle(quantity, fire=False)
        self.advance(0.0)

    def _settle(self, quantity: int, *, fire: bool, stop_after: float = 0.0) -> None:
        self.target = quantity
        staying = [w for w in self.formation if not self.to_stop(w)]
        for worker in self._stopped_first(staying)[: max(len(staying) - quantity, 0)]:
            self.stops.append((self.now + stop_after, worker, fire))
        taken = {w.name for w in staying}
        names = [self.traits.name(POOL, number) for number in range(1, quantity + 1)]
        free = [name for name in names if name not in taken]
        # Where the platform stops any worker, names may be any.
        for name in (free if self.numbered else names)[: max(quantity - len(staying), 0)]:
            self._start(name)

    def _stopped_first(self, workers: list[Worker]) -> list[Worker]:
        if self.numbered:
            return sorted(workers, key=lambda w: -(self.traits.number(w.name) or 0))
        # It could be any worker, so it is the one that would suffer most.
        return sorted(workers, key=lambda w: (-w.running, w.name))

    def to_stop(self, worker: Worker) -> bool:
        return worker.stopped_at is not None or any(w is worker for _, w, _ in self.stops)

    def replace(self, worker: Worker, stop_after: float) -> None:
        """Stop a worker, and run another in its place until it has ended."""
        self.stops.append((self.now + stop_after, worker, False))
        self._start(worker.name)

    def crash(self, worker: Worker) -> None:
        """Killed at once, without a word; the platform starts another one in its place."""
        replaced = not self.to_stop(worker)
        self._end(worker, goodbye=False)
        if replaced:
            self._start(worker.name)

    def _start(self, name: str) -> None:
        self._born += 1
        if self.traits.stops is Stops.ANY:
            name = f"{POOL}.{self._born}"
        elif not self.numbered:
            name = f"{POOL}-{self._born % 5}aaaaaa-{self._born:05}"
        self.workers.append(Worker(self._settings, self.store, str(self._born), name, self.traits))

    def _ask_to_stop(self, worker: Worker, fire: bool) -> None:
        if worker.running and fire:
            self.wronged.append(f"{worker.name} was fired while it ran {worker.running} tasks")
        worker.stopped_at = self.now
        worker.consuming = False
        self._give_back(worker)

    def _end(self, worker: Worker, goodbye: bool) -> None:
        self.workers.remove(worker)
        worker.ended = True
        self.stops = [stop for stop in self.stops if stop[1] is not worker]
        self.ready += worker.running
        self._give_back(worker)
        if goodbye and not worker.mute:
            reply = worker.tell(worker.id, leaving=True)
            self._evaluate(worker, reply.lease)

    def _give_back(self, worker: Worker) -> None:
        self.later += worker.scheduled
        worker.scheduled = []

    # -- tasks

    def publish(self, tasks: int, told: bool = True) -> None:
        self.ready += tasks
        if told:
            self.publisher.published(tasks, self.now)

    def schedule(self, tasks: int, seconds: float, told: bool = True) -> None:
        due = self.now + seconds
        self.later += [due] * tasks
        if told:
            self.publisher.published(tasks, self.now, due)

    def revoke(self, index: int) -> None:
        """A scheduled task is thrown away, and no process reports it."""
        holders = [h for h in (self.later, *(w.scheduled for w in self.workers)) if h]
        if holders:
            holders[index % len(holders)].pop()

    def take(self, worker: Worker) -> None:
        """A worker takes all that is scheduled, and begins a task if it can."""
        if not worker.consuming:
            return
        worker.scheduled += [due for due in self.later if due > self.now]
        self.ready += sum(due <= self.now for due in self.later)
        self.later = []
        if self.ready and worker.running < SLOTS:
            worker.running += 1
            self.ready -= 1

    def finish(self, worker: Worker, told: bool = True) -> None:
        worker.running -= 1
        if told:
            worker.finished(self.now)

    # -- workers

    @property
    def up(self) -> list[Worker]:
        return [w for w in self.workers if w.up]

    def report(self, worker: Worker) -> None:
        """A worker tells, hears, and evaluates if that is due."""
        if not worker.mute and not worker.ended:
            reply = worker.report(self.now)
            self._evaluate(worker, reply.lease)

    def obey(self, worker: Worker) -> None:
        """It consumes or not, and while it is cordoned gives back what is due later."""
        worker.begun = True
        worker.consuming = not worker.orders.cordon(self.now) and worker.stopped_at is None
        if not worker.consuming:
            self.later += [due for due in worker.scheduled if due - self.now >= DOTTED.imminent]
            worker.scheduled = [due for due in worker.scheduled if due - self.now < DOTTED.imminent]

    @property
    def at_rest(self) -> bool:
        """True if there is nothing to do, and no worker beyond the minimum."""
        idle = not any(w.running or w.scheduled for w in self.workers)
        return idle and not (self.ready or self.later) and len(self.workers) == self.minimum

    def come_up(self, worker: Worker) -> None:
        """It is heard of, and hears of its cordon, before it begins to consume."""
        worker.up, worker.since = True, self.now
        self.report(worker)
        self.obey(worker)

    def can_come_up(self, worker: Worker) -> bool:
        return not worker.up and worker.stopped_at is None and worker.started < self.now

    # -- time

    def advance(self, seconds: float) -> None:
        """Time passes, and the platform does what it was asked to do."""
        self.now += seconds
        changes = [c for c in self.under_way if c[0] <= self.now]
        self.under_way = [c for c in self.under_way if c[0] > self.now]
        for worker in self.workers:
            due = [when for when in worker.scheduled if when <= self.now]
            worker.scheduled = [when for when in worker.scheduled if when > self.now]
            worker.running += len(due)
        for _, quantity in changes:
            self._settle(quantity, fire=True)
        stops = [s for s in self.stops if s[0] <= self.now]
        self.stops = [s for s in self.stops if s[0] > self.now]
        for _, worker, fire in stops:
            self._ask_to_stop(worker, fire)
        for worker in list(self.workers):
            if worker.ended:
                continue
            asked = worker.stopped_at
            if asked is not None and (not worker.running or self.now - asked >= KILL_AFTER):
                self._end(worker, goodbye=not worker.running)
            elif not worker.up and self.now - worker.started >= BOOT:
                self.come_up(worker)

    def work(self, length: int) -> None:
        """Workers work for a moment; tasks take *length* seconds, more or less."""
        for number, worker in enumerate(self.workers):
            if worker.running and int(self.now + number) % length == 0:
                self.finish(worker)
            self.take(worker)

    def second(self, behaviour: Behaviour = WELL) -> None:
        """Every worker reports and obeys, and an evaluation is made if it is due."""
        self.behaviour = behaviour
        self.advance(1.0)
        self.look_if_due()
        for worker in self.up:
            self.report(worker)
            self.obey(worker)
