"""Trouble with Heroku: its API, its limits, and what other people do there."""

from __future__ import annotations

import random
import time
from typing import Any

from tests.chaos.stage import MAXIMA, Stage
from tests.emulator.api import MAX_QUANTITY

from .act import Act, Hands

#: The platform ends a request after 30 s.
LATEST = 20.0
#: A write that got no good answer is carried out at most this long (s) after it came in.
LATEST_WRITE = 60.0


WRITES = ("PATCH", "POST")


def break_api(hands: Hands) -> None:
    lasting = hands.random.uniform(1.0, 6.0)
    seconds = hands.random.choice([2.0, 8.0, LATEST])
    status, retry_after = hands.random.choice([(429, None), (429, 3), (429, 6), (500, None)])
    sort: Any = hands.random.choice(
        [*["status"] * 3, "garbage", "hang", "drop", "drop_after", "late_before", "late_after"]
    )
    methods = hands.random.choice([None, None, WRITES, ("GET",)])
    hands.stage.emulator.fault(
        sort,
        status=status,
        seconds=seconds,
        retry_after=retry_after,
        methods=methods,
        lasting=lasting,
    )
    at = time.time()
    late = seconds if sort.startswith("late") else 0.0
    hands.write(
        "fault", at=at, until=at + lasting + late, what="api", sort=sort, status=status,
        retry_after=retry_after, seconds=seconds, methods=methods,
    )  # fmt: skip


def delay_writes(hands: Hands) -> None:
    """Carry writes out when they are no longer expected, each after its own delay."""
    lasting = hands.random.uniform(8.0, 25.0)
    sort: Any = hands.random.choice(["later_error", "later_hang", "later_reset", "late_before"])
    draw = random.Random(hands.random.random())
    hands.stage.emulator.fault(
        sort,
        status=503,
        seconds=lambda: draw.uniform(0.0, LATEST_WRITE),
        methods=WRITES,
        count=hands.random.randint(1, 2),
        lasting=lasting,
    )
    at = time.time()
    hands.write("fault", at=at, until=at + lasting, what="late", sort=sort)


def limit(hands: Hands) -> None:
    """Limit one process type, or all, to fewer dynos than we may hire, for a while."""
    emulator, seconds = hands.stage.emulator, hands.random.uniform(10.0, 60.0)
    pool = hands.some_pool() if hands.random.random() < 0.7 else None
    if pool is not None:
        most = hands.random.randint(max(hands.stage.minimum, 1), MAXIMA[pool] - 1)
        emulator.limit(pool, most)
        hands.lasting(seconds, lambda: emulator.limit(pool, None), "limit", pool=pool, most=most)
        return
    others = sum(q for name, q in emulator.quantities().items() if name not in hands.stage.pools)
    least = max(hands.stage.minimum, 1) * len(hands.stage.pools)
    greatest = sum(MAXIMA[pool] for pool in hands.stage.pools) - 1
    emulator.app_limit = others + hands.random.randint(least, greatest)

    def heal() -> None:
        emulator.app_limit = MAX_QUANTITY

    hands.lasting(seconds, heal, "limit", pool=None, most=emulator.app_limit)


def remove_type(hands: Hands) -> None:
    """Deploy without a process type; a later deploy brings it back."""
    if (pool := hands.some_pool()) is None:
        return
    emulator = hands.stage.emulator
    emulator.remove_type(pool)
    seconds = hands.random.uniform(5.0, 40.0)
    hands.lasting(seconds, lambda: emulator.add_type(pool), "missing", pool=pool)


def scale_by_hand(hands: Hands) -> None:
    if (pool := hands.some_pool()) is None:
        return
    quantity = hands.random.choice([hands.stage.minimum, *range(1, MAXIMA[pool] + 3)])
    with hands.fault("hand", pool=pool, quantity=quantity):
        hands.stage.emulator.scale_by_hand(pool, quantity)


def deploy(hands: Hands) -> None:
    with hands.fault("deploy"):
        hands.stage.emulator.deploy()


def limit_one_offs(hands: Hands) -> None:
    emulator, pools = hands.stage.emulator, hands.stage.pools
    least = max(hands.stage.minimum, 1) * len(pools)
    most = hands.random.randint(least, sum(MAXIMA[pool] for pool in pools) - 1)
    emulator.one_off_limit = most

    def heal() -> None:
        emulator.one_off_limit = None

    hands.lasting(hands.random.uniform(10.0, 60.0), heal, "limit", pool=None, most=most)


def hire_otherwise(hands: Hands) -> None:
    """Have Heroku skip a hire, or do it twice."""
    kind: Any = hands.random.choice(["skip", "double"])
    with hands.fault(kind):
        hands.stage.emulator.fault(kind, count=1, lasting=20.0)


def formation(stage: Stage) -> bool:
    return not stage.one_off


def one_off(stage: Stage) -> bool:
    return stage.one_off


ACTS = (
    Act(5, "api", break_api),
    Act(4, "late", delay_writes),
    Act(2, "limit", limit, formation),
    Act(2, "limit", limit_one_offs, one_off),
    Act(2, "otherwise", hire_otherwise, one_off),
    Act(1, "missing", remove_type, lambda stage: len(stage.pools) > 1 and not stage.one_off),
    Act(3, "hand", scale_by_hand, formation),
    Act(2, "deploy", deploy),
)
