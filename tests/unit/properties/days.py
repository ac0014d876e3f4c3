"""Days of a pool as they pass: load that comes and goes, and trouble, all at random."""

from __future__ import annotations

from random import Random

from .processes import POOL
from .world import Behaviour, World

#: A request of which no answer came may be carried out this much later (s).
LATEST = 60.0
#: The platform asks workers to stop this long (s) after it lowered the quantity, at most.
STOPS_LATE = 4.5
#: Load comes and goes, each time for so long (s).
PERIOD = 15
#: When all goes well, a pool has recovered within this time (s), ...
RECOVERS_WITHIN = 900
#: ... and stays so: for longer (s) than anything could still be under way.
RESTS_FOR = 180


class Days:
    """*evil* is how much of what happens is trouble, from 0 to 1."""

    def __init__(self, world: World, random: Random, evil: float) -> None:
        self.world = world
        self.random = random
        self.evil = evil
        self.length = 1
        self.load = 0.0

    def pass_by(self, seconds: int) -> None:
        for second in range(seconds):
            if second % PERIOD == 0:
                self.length = self.random.choice([1, 4, 20, 60])
                self.load = self.random.choice([0.0, 0.0, 0.0, 0.1, 0.4])
            self.world.behaviour = self.behaviour()
            self.world.advance(1.0)
            self.work()
            if self.happens(self.evil):
                self.trouble()
            if not self.happens(self.evil):
                self.world.look_if_due()
            for worker in self.world.up:
                if not self.happens(self.evil):
                    self.world.report(worker)
                if not self.happens(self.evil):
                    self.world.obey(worker)
            if self.world.wronged:
                return

    def work(self) -> None:
        world, random = self.world, self.random
        if self.happens(self.load):
            world.publish(random.randint(1, 8), told=not self.happens(self.evil))
        if self.happens(0.03):
            seconds = random.choice([3.0, 10.0, 30.0, 45.0, 90.0])
            world.schedule(random.randint(1, 3), seconds, told=not self.happens(self.evil))
        for worker in world.up:
            if worker.running and self.happens(1 / self.length):
                world.finish(worker, told=not self.happens(self.evil))
            world.take(worker)

    def trouble(self) -> None:
        world, random = self.world, self.random
        mute = [w for w in world.up if w.mute]
        if mute and self.happens(0.5):
            random.choice(mute).mute = False
        elif world.up and self.happens(0.3):
            random.choice(world.up).mute = True
        booting = [w for w in world.workers if world.can_come_up(w)]
        if booting and self.happens(0.5):
            worker = random.choice(booting)
            worker.mute = self.happens(0.3)
            world.come_up(worker)
        if world.workers and self.happens(0.1):
            world.crash(random.choice(world.workers))
        settled = [w for w in world.workers if not world.to_stop(w)]
        if settled and self.happens(0.1):
            world.replace(random.choice(settled), random.choice([0.0, 1.0, STOPS_LATE]))
        if (world.numbered or not world.unsettled) and self.happens(0.05):
            world.scale_by_hand(random.randint(0, 6))
        if self.happens(0.05):
            world.limit = random.choice([None, 0, 1, 2, 3])
            world.says_limit = self.happens(0.5)
        # Not while no process could know of, and report, a change of ours that is under way.
        if (not world.unsettled or world.remembered) and self.happens(0.03):
            world.lose_ledger()
        if self.happens(0.1) or not world.countable:
            world.countable = not world.countable

    def behaviour(self) -> Behaviour:
        random = self.random
        if not self.happens(2 * self.evil):
            return Behaviour(stops_after=random.choice([0.0, 1.0, STOPS_LATE]))
        return Behaviour(
            random.choice(["done", "refused", "lost", "deaf", "unanswered", "died"]),
            random.uniform(0.0, LATEST),
            random.choice([0.0, 1.0, STOPS_LATE]),
            self.happens(0.8),
            random.choice([None, None, 0, 1, 2]),
        )

    def happens(self, probability: float) -> bool:
        return self.random.random() < probability


def assert_it_recovers(world: World) -> None:
    """When all goes well again, the work gets done, and no worker is paid for nothing."""
    world.countable = True
    world.limit = None
    for worker in world.up:
        worker.mute = False
    rested = seconds = 0
    while rested < RESTS_FOR and seconds < RECOVERS_WITHIN + world.pauses_for:
        world.work(length=1)
        world.second()
        seconds += 1
        rested = rested + 1 if world.at_rest else 0
    assert not world.wronged
    assert not world.ready, world.store.state
    assert not world.later, world.store.state
    assert not any(w.running or w.scheduled for w in world.workers)
    assert world.target == world.least, world.store.state
    assert world.minimum == len(world.workers), world.store.state
    assert not world.store.state.get(f"{POOL}/cordon")
    assert not world.store.state.get(f"{POOL}/leave")
    assert not world.store.due
