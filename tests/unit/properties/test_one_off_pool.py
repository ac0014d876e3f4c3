"""A pool of one-off workers over time: none leaves at work, and there are never too many."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from .days import Days, assert_it_recovers
from .one_off_world import OneOffWorld
from .test_pool import PoolMachine, evils, seeds
from .world import BOOT

#: These only compute, for minutes where much else runs.
pytestmark = pytest.mark.timeout(600)
OTHERWISE = st.sampled_from(["", "skip", "double"])


class OneOffPoolMachine(PoolMachine):
    """A platform whose workers are hired one by one."""

    world: OneOffWorld

    @initialize(minimum=st.sampled_from([0, 0, 1]), tasks=st.sampled_from([0, 1, 6, 12, 16]))
    def begin_at(self, minimum: int, tasks: int) -> None:
        self.world = OneOffWorld(minimum)
        self.world.publish(tasks)
        for _ in range(int(BOOT) + 2):
            self.world.second()
            self.world.work(length=1000)

    @rule(how=OTHERWISE)
    def hire_otherwise(self, how: str) -> None:
        self.world.otherwise = how


TestOneOffPool = OneOffPoolMachine.TestCase
TestOneOffPool.settings = settings(max_examples=25, stateful_step_count=20)


@settings(max_examples=25)
@given(seeds, st.sampled_from([0, 0, 1]), evils)
def test_days(seed: int, minimum: int, evil: float) -> None:
    """``python -m tests.unit.properties`` lives many more."""
    world = OneOffWorld(minimum)
    Days(world, Random(seed), evil).pass_by(300)
    assert not world.wronged
    assert_it_recovers(world)
