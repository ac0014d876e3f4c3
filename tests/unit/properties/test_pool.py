"""A pool over time: whatever happens to it, no fire ever stops a worker that runs a task.

And when all goes well again, all tasks are done, and no idle worker is paid for.
"""

from __future__ import annotations

import gc
import weakref
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from celery_middle_management.core.traits import DOTTED, Stops, Traits
from celery_middle_management.evaluation.evaluation import Evaluation
from celery_middle_management.ledger.model import Snapshot

from .days import LATEST, STOPS_LATE, Days, assert_it_recovers
from .world import BOOT, COUNT_INTERVAL, FROM_ZERO, MAXIMUM, WELL, Behaviour, World

#: These only compute, for minutes where much else runs.
pytestmark = pytest.mark.timeout(600)

behaviours = st.just(WELL) | st.builds(
    Behaviour,
    st.sampled_from(["done", "refused", "lost", "deaf", "unanswered", "unanswered", "died"]),
    st.sampled_from([LATEST, 45.0, 30.0, 10.0, 3.0, 0.0]),
    st.sampled_from([STOPS_LATE, 1.0, 0.0]),
    st.sampled_from([True, True, True, False]),
    st.sampled_from([None, None, None, 0, 1, 2]),
)
seeds = st.integers(0, 2**32)
evils = st.sampled_from([0.0, 0.1, 0.3])
indexes = st.integers(0, 99)
moments = st.sampled_from([0.0, 1.0, 3.0, 10.0, 31.0])
limits = st.sampled_from([None, 0, 1, 2, 3])


class PoolMachine(RuleBasedStateMachine):
    """A platform with numbered workers, which stops the highest."""

    numbered = True
    traits = DOTTED
    world: World

    @initialize(minimum=st.sampled_from([0, 0, 1]), tasks=st.sampled_from([0, 1, 6, 12, 16]))
    def begin_at(self, minimum: int, tasks: int) -> None:
        """With a workers that has just come up and is at work."""
        self.world = World(minimum, self.numbered, self.traits)
        self.world.publish(tasks)
        for _ in range(int(BOOT) + 2):
            self.world.second()
            self.world.work(length=1000)

    # -- tasks

    @rule(tasks=st.integers(1, 12), told=st.sampled_from([True, True, False]))
    def publish(self, tasks: int, told: bool) -> None:
        self.world.publish(tasks, told)

    @rule(
        tasks=st.integers(1, 6),
        seconds=st.sampled_from([4.0, 30.0, 70.0, 300.0]),
        told=st.sampled_from([True, True, False]),
    )
    def schedule(self, tasks: int, seconds: float, told: bool) -> None:
        self.world.schedule(tasks, seconds, told)

    @rule(index=indexes)
    def revoke(self, index: int) -> None:
        self.world.revoke(index)

    @rule(index=indexes)
    def take(self, index: int) -> None:
        if takers := [w for w in self.world.workers if w.consuming]:
            self.world.take(takers[index % len(takers)])

    @precondition(lambda self: any(w.running for w in self.world.workers))
    @rule(index=indexes, told=st.booleans())
    def finish(self, index: int, told: bool) -> None:
        busy = [w for w in self.world.workers if w.running]
        self.world.finish(busy[index % len(busy)], told)

    # -- workers

    @rule(index=indexes)
    def report(self, index: int) -> None:
        """One worker reports, and only hears of its cordon: the main thread is yet to obey."""
        if up := self.world.up:
            self.world.report(up[index % len(up)])

    @rule(index=indexes)
    def obey(self, index: int) -> None:
        if up := self.world.up:
            self.world.obey(up[index % len(up)])

    @rule(index=indexes)
    def go_silent(self, index: int) -> None:
        """Redis cannot be reached by it, or the report is late; its tasks go on."""
        if up := self.world.up:
            worker = up[index % len(up)]
            worker.mute = not worker.mute

    @rule(index=indexes, mute=st.sampled_from([False, False, True]))
    def boot(self, index: int, mute: bool) -> None:
        """One that comes up *mute* is never heard of, nor hears of a cordon, and takes tasks."""
        if booting := [w for w in self.world.workers if self.world.can_come_up(w)]:
            worker = booting[index % len(booting)]
            worker.mute = mute
            self.world.come_up(worker)

    @rule(index=indexes)
    def crash(self, index: int) -> None:
        if workers := self.world.workers:
            self.world.crash(workers[index % len(workers)])

    @rule(index=indexes, delay=moments)
    def deploy(self, index: int, delay: float) -> None:
        settled = [w for w in self.world.workers if not self.world.to_stop(w)]
        if settled:
            worker = settled[index % len(settled)]
            self.world.replace(worker, min(delay, STOPS_LATE))

    # -- time

    @rule(seconds=st.sampled_from([0.2, 1.0, 1.0, 3.0, 10.0]), obey=st.booleans())
    def pass_time(self, seconds: float, obey: bool) -> None:
        self.world.advance(seconds)
        for worker in self.world.up:
            self.world.report(worker)
            if obey:
                self.world.obey(worker)

    @rule()
    def outage(self) -> None:
        """No process evaluates or reports for a long time."""
        self.world.advance(120.0)

    @rule(seed=seeds, seconds=st.integers(3, 40), evil=evils)
    def pass_by(self, seed: int, seconds: int, evil: float) -> None:
        Days(self.world, Random(seed), evil).pass_by(seconds)

    # -- the scaler

    @rule()
    def fail_to_count(self) -> None:
        self.world.countable = not self.world.countable

    @precondition(lambda self: self.numbered or not self.world.under_way)
    @rule(quantity=st.integers(0, 6))
    def scale_by_hand(self, quantity: int) -> None:
        """Not during a hire, where it is unknown which workers that would stop."""
        self.world.scale_by_hand(quantity)

    @rule(limit=limits, says=st.booleans())
    def limit(self, limit: int | None, says: bool) -> None:
        """The platform runs no more than so many from now on."""
        self.world.limit, self.world.says_limit = limit, says

    @rule(behaviour=behaviours)
    def evaluate(self, behaviour: Behaviour) -> None:
        self.world.evaluate(behaviour)

    @invariant()
    def no_worker_was_wronged(self) -> None:
        assert not self.world.wronged

    def teardown(self) -> None:
        assert_it_recovers(self.world)


class UnorderedPoolMachine(PoolMachine):
    """A platform that gives random names, and stops any worker."""

    numbered = False


class ZeroPoolMachine(PoolMachine):
    """A platform that numbers otherwise: the first is called ``worker-0``."""

    traits = FROM_ZERO


class AnyPoolMachine(PoolMachine):
    """A platform whose names look numbered, and that stops any worker."""

    numbered = False
    traits = Traits(Stops.ANY)


budget = settings(max_examples=50, stateful_step_count=20)
TestPool = PoolMachine.TestCase
TestPool.settings = budget
TestUnorderedPool = UnorderedPoolMachine.TestCase
TestUnorderedPool.settings = budget
TestZeroPool = pytest.mark.slow(ZeroPoolMachine.TestCase)
TestZeroPool.settings = budget
TestAnyPool = pytest.mark.slow(AnyPoolMachine.TestCase)
TestAnyPool.settings = budget


@settings(max_examples=25)
@given(seeds, st.booleans(), st.sampled_from([0, 0, 1]), evils)
def test_days(seed: int, numbered: bool, minimum: int, evil: float) -> None:
    """Much more time than a machine's steps come to, but nothing to see what it depends on.

    ``python -m tests.unit.properties`` lives many more.
    """
    world = World(minimum, numbered)
    Days(world, Random(seed), evil).pass_by(300)
    assert not world.wronged
    assert_it_recovers(world)


def test_at_rest_it_is_counted_and_the_platform_left_alone() -> None:
    world = World(minimum=0, numbered=True)
    for _ in range(3600):
        world.second()
    assert world.asked_at == [1001.0]
    gaps = {later - sooner for sooner, later in pairwise(world.counted_at)}
    assert gaps == {COUNT_INTERVAL}


def test_no_worker_stays_hired_that_never_reported() -> None:
    """A hire that was not answered took effect, its worker never comes up, the task is revoked."""
    world = World(minimum=0, numbered=True)
    world.second()
    world.publish(1)
    world.advance(1.0)
    world.evaluate(Behaviour(change="deaf"))
    assert world.target == 1
    world.workers.clear()
    world.ready = 0
    world.publisher.finished(1, world.now)
    for _ in range(300):
        world.second()
    assert world.target == 0


def test_no_worker_is_hired_for_scheduled_tasks_on_their_way() -> None:
    """The worker consumes, and takes in a moment what was published just now."""
    world = World(minimum=1, numbered=True)
    world.second()
    while world.now - world.counted_at[-1] < COUNT_INTERVAL - 1:
        world.second()
    counts = len(world.counted_at)
    world.schedule(40, 600.0)
    while len(world.counted_at) == counts:
        world.second()
    assert world.target == 1


def test_what_waits_is_never_taken_for_scheduled_tasks_that_are_gone() -> None:
    """However many more of them are published, and though no process reports what waits."""
    world = World(minimum=0, numbered=True)
    world.second()
    world.schedule(100, 3000.0)
    world.later.clear()
    world.publish(1, told=False)
    for _ in range(2 * int(COUNT_INTERVAL)):
        world.schedule(1, 3000.0)
        world.work(length=1)
        world.second()
    assert not world.ready


def busy_pool(size: int, at_work: int) -> World:
    """Workers that run long tasks, as many of them *at_work*; the others have nothing to do."""
    world = World(minimum=0, numbered=True)
    world.second()
    world.publish(4 * size)
    while len(world.up) < size:
        world.second()
    for worker in sorted(world.up, key=lambda w: w.name)[:at_work]:
        world.take(worker)
    world.ready = 0
    world.publisher.finished(4 * size - at_work, world.now)
    return world


def live(world: World, seconds: int, behaviour: Behaviour = WELL, tasks: int = 0) -> None:
    """Time passes; each second *tasks* are published, and every worker takes what it can."""
    for _ in range(seconds):
        world.publish(tasks)
        world.work(length=1000)
        world.second(behaviour)


@pytest.mark.parametrize("delay", [6.0, 25.0, 40.0, 59.0])
def test_a_fire_carried_out_late_stops_no_worker_at_work(delay: float) -> None:
    """Work returns meanwhile, and a worker that it would stop must not take it."""
    world = busy_pool(4, at_work=0)
    while not world.under_way:
        world.second(Behaviour("unanswered", delay))
    live(world, 120, tasks=1)
    assert not world.under_way
    assert not world.wronged
    assert any(w.running for w in world.up), "and afterwards the work is done"


@pytest.mark.parametrize("delay", [6.0, 25.0, 40.0, 59.0])
@pytest.mark.parametrize("by_hand", [3, 5])
def test_a_hire_carried_out_late_stops_no_worker_hired_meanwhile(
    delay: float, by_hand: int
) -> None:
    """Its "2" undoes what was hired by hand since."""
    world = World(minimum=0, numbered=True)
    world.second()
    world.publish(8)
    world.advance(1.0)
    world.evaluate(Behaviour("unanswered", delay))
    assert [quantity for _, quantity in world.under_way] == [2]
    world.scale_by_hand(by_hand)
    live(world, 120, tasks=1)
    assert not world.wronged


def test_scaling_by_hand_is_not_undone_by_a_hire_sent_again() -> None:
    world = World(minimum=0, numbered=True)
    world.second()
    world.publish(8)
    world.advance(1.0)
    world.evaluate(Behaviour("lost"))
    world.scale_by_hand(4)
    world.publish(8)
    live(world, 30)
    assert world.target == 4
    assert world.asked_to == [2]


def test_a_worker_that_cannot_reach_the_ledger_is_not_fired_at_work() -> None:
    """It was never heard of, and takes tasks."""
    world = busy_pool(2, at_work=0)
    for worker in world.workers:
        world.store.workers.pop(worker.id, None)
        worker.mute = True
    world.ready = 4
    live(world, 600)
    assert [w.running for w in world.workers] == [2, 2]
    assert not world.wronged
    assert world.target == 2


@pytest.mark.parametrize("says", [True, False])
def test_as_many_as_the_platform_allows_are_hired_and_more_not_asked_for(says: bool) -> None:
    world = World(minimum=0, numbered=True)
    world.limit, world.says_limit = 2, says
    world.second()
    world.publish(1000)
    live(world, 5)
    assert world.target == 2
    asked = len(world.asked_to)
    live(world, 50)
    assert len(world.asked_to) == asked
    world.limit = None
    live(world, 30)
    assert world.target == MAXIMUM


@pytest.mark.parametrize("says", [True, False])
@pytest.mark.parametrize("numbered", [True, False])
def test_fewer_are_not_asked_for_while_a_hire_to_more_is_under_way(
    numbered: bool, says: bool
) -> None:
    """It would perhaps be carried out last, and stop workers that the first one hired."""
    world = World(minimum=0, numbered=numbered)
    live(world, 2, Behaviour("unanswered", LATEST), tasks=16)
    assert world.asked_to == [MAXIMUM]
    world.limit, world.says_limit = MAXIMUM - 1, says
    live(world, 40)
    assert set(world.asked_to) == {MAXIMUM}
    live(world, 90)
    assert world.target == MAXIMUM
    assert not world.wronged


def test_what_an_evaluation_has_read_is_freed_when_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not when Python's collector runs: an app may have disabled that."""
    snapshots: list[weakref.ref[Snapshot]] = []

    class Watched(Evaluation):
        def run(self) -> None:
            snapshots.append(weakref.ref(self._snapshot))
            super().run()

    monkeypatch.setattr("tests.unit.properties.world.Evaluation", Watched)
    gc.disable()
    try:
        world = busy_pool(3, at_work=1)
        live(world, 30)
        assert len(snapshots) > 5
        assert [ref for ref in snapshots if ref() is not None] == []
    finally:
        gc.enable()
