"""The world around a scaler, in memory: workers, platform, broker and ledger, and the time.

The scaler is the real one. Workers hear of a cordon some time after it was drawn, the platform
stops workers some time after it was asked to, answers get lost, counts fail, scalers die.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from celery_middle_management.brokers.base import Broker, CountFailed
from celery_middle_management.core.cordon import Cordon, Orders
from celery_middle_management.core.demand import Backlog, Held, bucket_of
from celery_middle_management.core.pools import Pool
from celery_middle_management.core.presence import Presence
from celery_middle_management.core.timing import EVALUATION_GAP, IMMINENT, LOCK_SECONDS
from celery_middle_management.core.traits import DOTTED, Stops, Traits
from celery_middle_management.evaluation.evaluation import Evaluation
from celery_middle_management.evaluation.ports import Ports, Queues
from celery_middle_management.ledger.codec import pack_cordon, unpack_cordon
from celery_middle_management.ledger.model import Changes, Lease, Snapshot, millis
from celery_middle_management.platforms import Platform, PlatformError, Refused
from celery_middle_management.settings.model import Settings
from celery_middle_management.settings.reading import Secret

POOL = "worker"
QUEUE = "celery"
#: What the ledger tells of changes that may still take effect.
SENT = (f"{POOL}/fire", f"{POOL}/hire")
MAXIMUM = 4
CALL_INTERVAL = 10.0
COUNT_INTERVAL = 60.0
#: The platform kills who has not ended this long (s) after it asked.
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


class Died(Exception):
    """The scaler's process was killed just here."""


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


@dataclass
class Memory:
    """What a process has heard of changes under way, to tell it anew should Redis lose its data."""

    flushes: int = 0
    sent: dict[str, str] = field(default_factory=dict)

    def tell(self, book: Book) -> None:
        """A report: it tells, and learns."""
        if self.flushes != book.flushes:
            book.hear({n: s for n, s in self.sent.items() if json.loads(s)["until"] > book.now})
        self.flushes = book.flushes
        self.sent = {n: book.state[n] for n in SENT if n in book.state}


@dataclass
class Worker:
    """A worker process as it really is."""

    id: str
    name: str
    started: float
    up: bool = False
    since: float = 0.0
    consuming: bool = False
    running: int = 0
    #: Due times of the scheduled tasks that it holds.
    scheduled: list[float] = field(default_factory=list)
    #: Redis does not hear of it.
    mute: bool = False
    #: Redis has heard of it before.
    known: bool = False
    #: When (s) it was asked to stop.
    stopped_at: float | None = None
    memory: Memory = field(default_factory=Memory)
    traits: Traits = DOTTED

    def __post_init__(self) -> None:
        self.orders = Orders(self.name, self.started, self.traits)

    def presence(self, now: float) -> Presence:
        cordon = self.orders.cordon(now)
        confirms = cordon and not self.consuming
        scheduled = len(self.scheduled)
        return Presence(
            id=self.id,
            name=self.name,
            pool=POOL,
            since=self.since,
            seen=now,
            stopped=cordon.at if confirms else 0.0,
            closing=self.stopped_at is not None,
            busy=self.running + sum(due - now < IMMINENT for due in self.scheduled),
            queues=(QUEUE,),
            held={QUEUE: Held(0, self.running, scheduled, self.running + scheduled)},
            due={QUEUE: Counter(bucket_of(due, now) for due in self.scheduled)},
        )


class Book:
    """The ledger: what Redis would hold, and when the next evaluation is due."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.state: dict[str, str] = {}
        self.due = Counter[int]()
        self.presences: dict[str, Presence] = {}
        self.next_at = self.now
        #: The scaler dies instead of writing so many steps and one; None: it lives.
        self.dies_after: int | None = None
        #: How often Redis has lost its data.
        self.flushes = 0

    def add(self, entry: str, tasks: int) -> None:
        """Tasks were told of."""
        self._increment(f"{POOL}/{entry}", tasks)
        self.told()
        if entry == "published" and self.state.get(f"{POOL}/quantity") == "0":
            blocked_until = float(self.state.get("blocked_until", 0)) / 1000
            self.next_at = min(self.next_at, max(self.now, blocked_until))

    def told(self) -> None:
        """There is news that an evaluation must follow."""
        self._increment("seq", 1)
        evaluated = float(self.state.get("evaluated_at", 0)) / 1000
        self.next_at = min(self.next_at, max(self.now, evaluated + EVALUATION_GAP))

    def met(self, presence: Presence) -> None:
        """A worker has said what it holds."""
        if presence.id not in self.presences:
            self.next_at = self.now
        self.presences[presence.id] = presence

    def left(self, worker_id: str) -> None:
        """A worker has said goodbye."""
        if self.presences.pop(worker_id, None) is not None:
            self.next_at = self.now

    def flush(self) -> None:
        """Redis loses its data."""
        self.state.clear()
        self.due.clear()
        self.presences.clear()
        self.next_at = self.now
        self.flushes += 1

    def hear(self, sent: Mapping[str, str]) -> None:
        """Somebody remembers what was sent before Redis lost its data."""
        for name, told in sent.items():
            one, other = json.loads(told), json.loads(self.state.get(name, told))
            both = {"to": min(one["to"], other["to"]), "until": max(one["until"], other["until"])}
            done = one.get("done", False) and other.get("done", False)
            self.state[name] = json.dumps({**both, "done": done})
            cordon = self.cordon
            if cordon.above is None or cordon.above > one["to"]:
                cordon = replace(cordon, above=one["to"], at=self.now)
                self.state[f"{POOL}/cordon"] = pack_cordon(cordon)
            self.told()

    @property
    def cordon(self) -> Cordon:
        return unpack_cordon(self.state.get(f"{POOL}/cordon"))

    def snapshot(self) -> Snapshot:
        due = {POOL: dict(self.due)}
        presences = tuple(self.presences.values())
        return Snapshot(self.now, dict(self.state), due, presences, {QUEUE: self.now})

    def commit(
        self,
        lease: Lease,
        changes: Changes,
        seq: str = "",
        next_in: float | None = None,
    ) -> Lease:
        if self.dies_after == 0:
            raise Died
        if self.dies_after is not None:
            self.dies_after -= 1
        for name in changes.unset:
            self.state.pop(name, None)
        self.state |= changes.set
        for name, tasks in changes.add.items():
            self._increment(name, tasks)
        for name, tasks in changes.due.items():
            self.due[int(name.rpartition("/")[2])] += tasks
        self.due = +self.due
        for worker_id in changes.gone:
            self.presences.pop(worker_id, None)
        if next_in is not None:
            self.next_at = self.now + next_in
            if self.state.get("seq", "0") != seq:
                self.next_at = min(self.next_at, self.now + EVALUATION_GAP)
        return lease

    def _increment(self, name: str, by: int) -> None:
        self.state[name] = str(int(self.state.get(name, 0)) + by)


class World(Platform, Broker):
    """All there is, as it really is; *numbered* dynos are stopped from the highest number down."""

    def __init__(self, minimum: int, numbered: bool, traits: Traits = DOTTED) -> None:
        pool = Pool(POOL, (QUEUE,), minimum, MAXIMUM, jobs_per_worker=4)
        self.minimum = minimum
        self.numbered = numbered
        self.traits = traits
        self.book = Book()
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
        self._locked_until = 0.0
        #: Of the process that evaluates.
        self._memory = Memory()
        settings = Settings(
            platform="played",
            pools=(pool,),
            redis_url=Secret(""),
            redis_options={},
            call_interval=CALL_INTERVAL,
            count_interval=COUNT_INTERVAL,
            drain_timeout=None,
            heroku=None,
        )
        self._settings = settings
        self._ports = Ports(
            self.book, self, self, Queues((QUEUE,)), clock=lambda: self.now, warn=lambda *_: None
        )
        self._settle(minimum, fire=False)

    @property
    def now(self) -> float:
        return self.book.now

    # -- the scaler

    def evaluate(self, behaviour: Behaviour = WELL) -> None:
        """One evaluation, unless a dead scaler has the lock."""
        if self.now < self._locked_until:
            return
        self.behaviour = behaviour
        self._memory.tell(self.book)
        self.book.dies_after = behaviour.dies_after
        try:
            Evaluation(Lease("", self.now), self._settings, self._ports).run()
            self._memory.tell(self.book)
        except Died:
            self._locked_until = self.now + LOCK_SECONDS
            self._memory = Memory()
        finally:
            self.book.dies_after = None

    @property
    def remembered(self) -> bool:
        """Whether some know all that is under way, so that one of them lives to tell."""
        now = {n: self.book.state[n] for n in SENT if n in self.book.state}
        heard = [w.memory for w in self.up if not w.mute and not self.to_stop(w)]
        return sum(memory.sent == now for memory in [self._memory, *heard]) > 1

    def lose_ledger(self) -> None:
        """Everybody finds it empty; who had lost it is heard of again."""
        self.book.flush()
        self._locked_until = 0.0
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
        return {POOL: [w.name for w in self.workers if w.stopped_at is None]}

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
        if not self.minimum <= quantity <= MAXIMUM:
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
        staying = [w for w in self.workers if not self.to_stop(w)]
        for worker in self._stopped_first(staying)[: max(len(staying) - quantity, 0)]:
            self.stops.append((self.now + stop_after, worker, fire))
        taken = {w.name for w in staying}
        names = [self.traits.name(POOL, number) for number in range(1, quantity + 1)]
        free = [name for name in names if name not in taken]
        # Names of whom the platform stops as it likes may be any.
        for name in (free if self.numbered else names)[: max(quantity - len(staying), 0)]:
            self._start(name)

    def _stopped_first(self, workers: list[Worker]) -> list[Worker]:
        if self.numbered:
            return sorted(workers, key=lambda w: -(self.traits.number(w.name) or 0))
        # It could be anyone, so it is whoever would suffer most.
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
        self.workers.append(Worker(str(self._born), name, self.now, traits=self.traits))

    def _ask_to_stop(self, worker: Worker, fire: bool) -> None:
        if worker.running and fire:
            self.wronged.append(f"{worker.name} was fired while it ran {worker.running} tasks")
        worker.stopped_at = self.now
        worker.consuming = False
        self._give_back(worker)

    def _end(self, worker: Worker, goodbye: bool) -> None:
        self.workers.remove(worker)
        self.stops = [stop for stop in self.stops if stop[1] is not worker]
        self.ready += worker.running
        self._give_back(worker)
        if goodbye and not worker.mute:
            self.book.left(worker.id)

    def _give_back(self, worker: Worker) -> None:
        self.later += worker.scheduled
        worker.scheduled = []

    # -- tasks

    def publish(self, tasks: int, told: bool = True) -> None:
        self.ready += tasks
        if told:
            self.book.add("published", tasks)

    def schedule(self, tasks: int, seconds: float, told: bool = True) -> None:
        due = self.now + seconds
        self.later += [due] * tasks
        if told:
            self.book.due[bucket_of(due, self.now)] += tasks
            self.book.state[f"{POOL}/scheduled_at"] = str(millis(self.now))
            self.book.told()

    def revoke(self, index: int) -> None:
        """A scheduled task is thrown away, and nobody tells."""
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
            self.book.add("finished", 1)

    # -- workers

    @property
    def up(self) -> list[Worker]:
        return [w for w in self.workers if w.up]

    def report(self, worker: Worker) -> None:
        if not worker.mute:
            lost = worker.known and worker.memory.flushes != self.book.flushes
            worker.memory.tell(self.book)
            self.book.met(worker.presence(self.now))
            worker.orders.hear(self.book.cordon, self.now, lost=lost)
            worker.known = True

    def obey(self, worker: Worker) -> None:
        """It consumes or not, and while it is cordoned gives back what is due later."""
        worker.consuming = not worker.orders.cordon(self.now) and worker.stopped_at is None
        if not worker.consuming:
            self.later += [due for due in worker.scheduled if due - self.now >= IMMINENT]
            worker.scheduled = [due for due in worker.scheduled if due - self.now < IMMINENT]

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
        self.book.now += seconds
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
        self.advance(1.0)
        for worker in self.up:
            self.report(worker)
            self.obey(worker)
        if self.book.next_at <= self.now:
            self.evaluate(behaviour)
