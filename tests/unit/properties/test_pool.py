"""A pool over time: whatever happens to it, no fire ever stops a worker that runs a task.

The deciding code is the real one. The world around it is played here: workers that hear of a
cordon some time after it was drawn, platforms that stop workers some time after they were asked
to, answers that get lost, crashes, deploys, people who scale by hand, counts that fail.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from celery_middle_management.decision import View, decide
from celery_middle_management.demand import Backlog, Held, take_count
from celery_middle_management.fleet import Cordon, Fleet, Presence, held_in, number_of
from celery_middle_management.page import Page, Sent
from celery_middle_management.scaler import READ_INTERVAL, SETTLES_WITHIN, STOPS_WITHIN, WATCH_GAP
from celery_middle_management.settings import Pool

POOL = Pool("worker", ("celery",), min_workers=1, max_workers=4, jobs_per_worker=4)
CALL_INTERVAL = 10.0
COUNT_INTERVAL = 60.0
#: The platform kills who has not ended this long (s) after it asked.
KILL_AFTER = 30.0
#: Celery's prefetching is left out: a task that a worker takes, it runs.
SLOTS = 2
#: A worker is heard of when it comes up, this long (s) after it was started at most.
BOOT = 20.0
#: A request of which no answer came may be carried out this much later (s).
LATEST = 29.0


@dataclass(frozen=True)
class Platform:
    """How the platform takes a call."""

    outcome: str = "done"
    #: What was not answered is done all the same, this much later (s).
    delay: float = 0.0
    #: Workers are asked to stop this long (s) after the quantity was lowered.
    stops_after: float = 0.0


WELL = Platform()
platforms = st.just(WELL) | st.builds(
    Platform,
    st.sampled_from(["done", "done", "refused", "lost", "unanswered"]),
    st.sampled_from([0.0, 3.0, 10.0, LATEST]),
    st.sampled_from([0.0, 1.0, STOPS_WITHIN - 2]),
)
indexes = st.integers(0, 99)
moments = st.sampled_from([0.0, 1.0, 3.0, 10.0, 31.0])


@dataclass
class Worker:
    """A worker process as it really is."""

    id: str
    name: str
    started: float
    up: bool = False
    since: float = 0.0
    heard: Cordon = field(default_factory=Cordon)
    consuming: bool = False
    running: int = 0
    #: Redis does not hear of it.
    mute: bool = False
    #: When (s) it was asked to stop.
    stopped_at: float | None = None

    def presence(self, now: float) -> Presence:
        confirms = self.heard and not self.consuming
        return Presence(
            id=self.id,
            name=self.name,
            pool=POOL.name,
            since=self.since,
            seen=now,
            stopped=self.heard.at if confirms else 0.0,
            closing=self.stopped_at is not None,
            busy=self.running,
            queues=("celery",),
            held={"celery": Held(running=self.running, unacknowledged=self.running)},
        )

    def hear(self, cordon: Cordon) -> None:
        self.heard = cordon if cordon.holds(self.name) else Cordon()

    def obey(self) -> None:
        self.consuming = not self.heard and self.stopped_at is None


class PoolMachine(RuleBasedStateMachine):
    """A platform with numbered workers, which stops the highest."""

    numbered = True

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.born = 0
        # The truth.
        self.workers: list[Worker] = []
        self.ready = 0
        self.target = 0
        #: Changes of ours that are under way: when (s) the platform makes them, and to what.
        self.under_way: list[tuple[float, int]] = []
        #: When (s) workers are asked to stop, and whether a fire is the cause.
        self.stops: list[tuple[float, Worker, bool]] = []
        # The ledger.
        self.page = Page(POOL, self.now, quantity=0, boot=0.0)
        self.presences: dict[str, Presence] = {}
        self.called_at = 0.0
        self.read_at = 0.0
        self.evaluated_at = 0.0
        self.watched_since = 0.0
        self.countable = True
        # What was seen of it.
        self.wronged: list[str] = []
        self.evaluate()

    # -- tasks

    @rule(tasks=st.integers(1, 12))
    def publish(self, tasks: int) -> None:
        self.ready += tasks
        self.page = replace(self.page, published=self.page.published + tasks)

    @rule(tasks=st.integers(1, 3))
    def publish_untold(self, tasks: int) -> None:
        self.ready += tasks

    @precondition(lambda self: self.ready and any(w.consuming for w in self.workers))
    @rule(index=indexes)
    def begin(self, index: int) -> None:
        takers = [w for w in self.workers if w.consuming and w.running < SLOTS]
        if takers:
            takers[index % len(takers)].running += 1
            self.ready -= 1

    @precondition(lambda self: any(w.running for w in self.workers))
    @rule(index=indexes, told=st.booleans())
    def finish(self, index: int, told: bool) -> None:
        busy = [w for w in self.workers if w.running]
        busy[index % len(busy)].running -= 1
        self.page = replace(self.page, finished=self.page.finished + told)

    # -- workers

    @rule(index=indexes)
    def report(self, index: int) -> None:
        """One worker reports, and only hears of its cordon: the main thread is yet to obey."""
        if up := self._up():
            self._report(up[index % len(up)])

    @rule(index=indexes)
    def obey(self, index: int) -> None:
        if up := self._up():
            up[index % len(up)].obey()

    @rule(index=indexes)
    def go_silent(self, index: int) -> None:
        """Redis cannot be reached by it, or the report is late; its tasks go on."""
        if up := self._up():
            worker = up[index % len(up)]
            worker.mute = not worker.mute

    @rule(index=indexes)
    def crash(self, index: int) -> None:
        """Killed at once, without a word; the platform starts another one in its place."""
        if self.workers:
            worker = self.workers[index % len(self.workers)]
            replaced = not self._to_stop(worker)
            self._end(worker, goodbye=False)
            if replaced:
                self._start(worker.name if self.numbered else None)

    @rule(index=indexes, delay=moments)
    def deploy(self, index: int, delay: float) -> None:
        """The platform replaces a worker, and runs both until the old one has ended."""
        settled = [w for w in self.workers if not self._to_stop(w)]
        if settled:
            worker = settled[index % len(settled)]
            self.stops.append((self.now + min(delay, STOPS_WITHIN - 2), worker, False))
            self._start(worker.name if self.numbered else None)

    # -- time

    @rule(seconds=st.sampled_from([0.2, 1.0, 1.0, 3.0, 10.0]), obey=st.booleans())
    def pass_time(self, seconds: float, obey: bool) -> None:
        self._advance(seconds)
        for worker in self._up():
            self._report(worker)
            if obey:
                worker.obey()

    @rule()
    def outage(self) -> None:
        """Nobody evaluates or reports for a long time."""
        self._advance(120.0)

    @rule(
        seconds=st.integers(3, 25),
        length=st.sampled_from([1, 4, 20, 1000]),
        every=st.sampled_from([1, 3, 9]),
        platform=platforms,
    )
    def everyday(self, seconds: int, length: int, every: int, platform: Platform) -> None:
        """All goes well for some time; tasks take *length* seconds, more or less."""
        for second in range(seconds):
            self._work(length)
            self._second(platform)
            if second % every == 0:
                self.publish(1)

    # -- the scaler

    @rule()
    def fail_to_count(self) -> None:
        self.countable = not self.countable

    @precondition(lambda self: not self.under_way)
    @rule(quantity=st.integers(0, 6))
    def scale_by_hand(self, quantity: int) -> None:
        """Not while a hire is under way, for that would undo it, and nobody could tell."""
        self._settle_quantity(quantity, fire=False)
        self._advance(0.0)

    @rule(platform=platforms)
    def evaluate(self, platform: Platform = WELL) -> None:
        """One evaluation, as the scaler makes it."""
        self._settle_fire()
        self._forget(self._fleet())
        old = self.now - self.read_at >= READ_INTERVAL or self._fleet().more_than_known()
        if old and self.now - self.called_at >= CALL_INTERVAL:
            self._read_quantity()
        fresh = self.countable and self._stale()
        if fresh:
            self._count()
        view = self._view(self._fleet(), fresh)
        decision = decide(view)
        if decision.wants_count and self.countable:
            self._count()
            view = self._view(view.fleet, fresh=True)
            decision = decide(view)
        if decision.wants_running and view.may_call:
            self.called_at = self.now
            view = replace(view, fleet=replace(view.fleet, running=self._running()))
            self._forget(view.fleet)
            decision = decide(view)
        if decision.quantity is not None:
            # The quantity is read before it is changed.
            self._read_quantity()
            fleet = replace(view.fleet, quantity=self.target)
            view = replace(view, fleet=fleet, quantity=self.target, needed=self.page.needed)
            decision = decide(view)
        self.page = replace(self.page, cordon=decision.cordon)
        self.evaluated_at = self.now
        if decision.quantity is not None:
            self._scale(view, decision.quantity, platform)

    def _read_quantity(self) -> None:
        self.page = replace(self.page, quantity=self.target)
        self.read_at = self.now

    def _scale(self, view: View, quantity: int, platform: Platform) -> None:
        self.called_at = self.now
        if not POOL.min_workers <= quantity <= POOL.max_workers:
            self.wronged.append(f"set to {quantity}")
        fires = quantity < view.quantity
        if fires and not view.fresh:
            self.wronged.append("fired without a fresh count")
        if platform.outcome == "done":
            self._settle_quantity(quantity, fire=True, stop_after=platform.stops_after)
            self._advance(0.0)
            self.page = replace(self.page, quantity=quantity)
            if fires:
                self._write_fire(quantity, STOPS_WITHIN, done=True)
            elif self.page.ceiling is None:
                self.page = replace(self.page, hire=None)
        elif platform.outcome == "unanswered":
            self.under_way.append((self.now + platform.delay, quantity))
        if platform.outcome in ("lost", "unanswered"):
            if fires:
                self._write_fire(quantity, SETTLES_WITHIN, done=False)
            else:
                hire = Sent(quantity, self.now + SETTLES_WITHIN)
                self.page = replace(self.page, hire=hire)

    def _write_fire(self, to: int, lasts: float, *, done: bool) -> None:
        self.page = replace(self.page, fire=Sent(to, self.now + lasts, done))

    def _settle_fire(self) -> None:
        page = replace(self.page, now=self.now)
        if self.now - self.evaluated_at > WATCH_GAP:
            self.watched_since = self.now
        if page.unsettled is None and page.stopping is None:
            page = replace(page, fire=None)
        self.page = page

    def _fleet(self) -> Fleet:
        return Fleet(
            pool=POOL.name,
            now=self.now,
            presences=tuple(self.presences.values()),
            quantity=self.page.quantity,
            watched_since=self.watched_since,
        )

    def _forget(self, fleet: Fleet) -> None:
        for presence in fleet.presences:
            if fleet.gone(presence):
                self.presences.pop(presence.id, None)

    def _view(self, fleet: Fleet, fresh: bool) -> View:
        return View(
            minimum=POOL.min_workers,
            maximum=POOL.max_workers,
            quantity=self.page.quantity or 0,
            needed=self.page.needed,
            fleet=fleet,
            cordon=self.page.cordon,
            fresh=fresh,
            may_call=self.now - self.called_at >= CALL_INTERVAL,
            unsettled=self.page.unsettled,
            stopping=self.page.stopping,
            ceiling=self.page.ceiling,
        )

    def _stale(self) -> bool:
        count = self.page.count
        return count is None or self.now - count.at >= COUNT_INTERVAL

    def _count(self) -> None:
        held = held_in(self.presences.values(), POOL.queues or ())
        count = take_count(self.now, [Backlog(self.ready)], held, {}, consuming=True)
        self.page = self.page.counted(count, self.page.published, self.page.finished)

    # -- the platform

    def _running(self) -> frozenset[str]:
        return frozenset(w.name for w in self.workers if w.stopped_at is None)

    def _to_stop(self, worker: Worker) -> bool:
        return worker.stopped_at is not None or any(w is worker for _, w, _ in self.stops)

    def _settle_quantity(self, quantity: int, *, fire: bool, stop_after: float = 0.0) -> None:
        self.target = quantity
        staying = [w for w in self.workers if not self._to_stop(w)]
        for worker in self._stopped_first(staying)[: max(len(staying) - quantity, 0)]:
            self.stops.append((self.now + stop_after, worker, fire))
        taken = {w.name for w in staying}
        free = [n for n in range(1, quantity + 1) if f"{POOL.name}.{n}" not in taken]
        for number in free[: max(quantity - len(staying), 0)]:
            self._start(f"{POOL.name}.{number}" if self.numbered else None)

    def _stopped_first(self, workers: list[Worker]) -> list[Worker]:
        return sorted(workers, key=lambda w: -(number_of(w.name) or 0))

    def _start(self, name: str | None) -> None:
        self.born += 1
        name = name or f"{POOL.name}-{self.born % 5}aaaaaa-{self.born:05}"
        self.workers.append(Worker(str(self.born), name, self.now))

    def _ask_to_stop(self, worker: Worker, fire: bool) -> None:
        if worker.running and fire:
            self.wronged.append(f"{worker.name} was fired while it ran {worker.running} tasks")
        worker.stopped_at = self.now
        worker.consuming = False

    def _end(self, worker: Worker, goodbye: bool) -> None:
        self.workers.remove(worker)
        self.stops = [stop for stop in self.stops if stop[1] is not worker]
        self.ready += worker.running
        if goodbye and not worker.mute:
            self.presences.pop(worker.id, None)

    # -- the course of things

    def _up(self) -> list[Worker]:
        return [w for w in self.workers if w.up]

    def _report(self, worker: Worker) -> None:
        if not worker.mute:
            self.presences[worker.id] = worker.presence(self.now)
            worker.hear(self.page.cordon)

    def _come_up(self, worker: Worker) -> None:
        """It is heard of, and hears of its cordon, before it begins to consume."""
        worker.up, worker.since = True, self.now
        self._report(worker)
        worker.obey()

    def _can_come_up(self, worker: Worker) -> bool:
        return not worker.up and worker.stopped_at is None and worker.started < self.now

    def _advance(self, seconds: float) -> None:
        self.now += seconds
        changes = [c for c in self.under_way if c[0] <= self.now]
        self.under_way = [c for c in self.under_way if c[0] > self.now]
        for _, quantity in changes:
            self._settle_quantity(quantity, fire=True)
        stops = [s for s in self.stops if s[0] <= self.now]
        self.stops = [s for s in self.stops if s[0] > self.now]
        for _, worker, fire in stops:
            self._ask_to_stop(worker, fire)
        for worker in list(self.workers):
            asked = worker.stopped_at
            if asked is not None and (not worker.running or self.now - asked >= KILL_AFTER):
                self._end(worker, goodbye=not worker.running)
            elif not worker.up and self.now - worker.started >= BOOT:
                self._come_up(worker)

    def _work(self, length: int) -> None:
        for number, worker in enumerate(self.workers):
            if worker.running and int(self.now + number) % length == 0:
                worker.running -= 1
                self.page = replace(self.page, finished=self.page.finished + 1)
            if worker.consuming and self.ready and worker.running < SLOTS:
                worker.running += 1
                self.ready -= 1

    def _second(self, platform: Platform = WELL) -> None:
        self._advance(1.0)
        for worker in self._up():
            self._report(worker)
            worker.obey()
        self.evaluate(platform)

    @rule(index=indexes)
    def boot(self, index: int) -> None:
        if booting := [w for w in self.workers if self._can_come_up(w)]:
            self._come_up(booting[index % len(booting)])

    @invariant()
    def nobody_was_wronged(self) -> None:
        assert not self.wronged

    def teardown(self) -> None:
        """When all goes well again, the work gets done and nobody is paid for nothing."""
        self.countable = True
        for worker in self._up():
            worker.mute = False
        for _ in range(600):
            self._work(length=1)
            self._second()
            if self.target == POOL.min_workers == len(self.workers) and not self.ready:
                break
        assert not self.wronged
        assert not self.ready, f"{self.ready} tasks wait, {self.page.cordon}"
        assert self.target == POOL.min_workers


class UnorderedPoolMachine(PoolMachine):
    """A platform that gives random names, and stops whom it likes."""

    numbered = False

    def _stopped_first(self, workers: list[Worker]) -> list[Worker]:
        return sorted(workers, key=lambda w: (-w.running, w.name))


budget = settings(max_examples=60, stateful_step_count=25)
TestPool = PoolMachine.TestCase
TestPool.settings = budget
TestUnorderedPool = UnorderedPoolMachine.TestCase
TestUnorderedPool.settings = budget
