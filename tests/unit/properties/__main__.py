"""``python -m tests.unit.properties --days 20000``: random days of a pool.

Many more than pytest has time for.

Exits with 1 if a fire stopped a worker at work, or a pool did not recover; the day is printed.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import time
import traceback

from celery_middle_management.core.traits import DOTTED, Stops, Traits

from .days import Days, assert_it_recovers
from .one_off_world import OneOffWorld
from .world import FROM_ZERO, World

#: Traits of platforms that stop the highest number, and of those that stop any worker.
NUMBERED, UNNUMBERED = (DOTTED, FROM_ZERO), (DOTTED, Traits(Stops.ANY))


def live_one(seed: int) -> str:
    """Live a day; returns what went wrong, or nothing."""
    choose = random.Random(seed)
    singly, numbered, minimum = (
        choose.random() < 0.4,
        choose.random() < 0.6,
        choose.choice([0, 0, 1]),
    )
    traits = choose.choice(NUMBERED if numbered else UNNUMBERED)
    world = OneOffWorld(minimum) if singly else World(minimum, numbered, traits)
    try:
        Days(world, choose, choose.choice([0.02, 0.1, 0.3])).pass_by(300)
        if not world.wronged:
            assert_it_recovers(world)
    except Exception:  # noqa: BLE001 - of many days, all that go wrong are told
        return traceback.format_exc()
    return "; ".join(world.wronged)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.unit.properties", description=__doc__)
    parser.add_argument("--days", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the first one")
    options = parser.parse_args()
    logging.disable()  # what it warns of is all in a day
    wrong = 0
    for seed in range(options.seed, options.seed + options.days):
        if trouble := live_one(seed):
            wrong += 1
            print(f"day {seed}: {trouble}", flush=True)
    print(f"{wrong} of {options.days} days went wrong, seeds from {options.seed}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
