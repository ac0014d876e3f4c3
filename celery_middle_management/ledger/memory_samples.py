"""``lua/report_samples.lua`` in Python, on the store of a ledger in memory."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Mapping

from celery_middle_management.ledger.memory_store import Store
from celery_middle_management.ledger.sampling import Sampling

#: The numbers of a pool in a sample, by their places: counters, then tasks.
Numbers = list[float | None]
_QUANTITY, _TASKS = 5, (6, 7, 8)


def take_sample(store: Store, sampling: Sampling, now: int) -> None:
    """Keep a sample of the pools, if this is the first report of a minute."""
    minute = now // 60_000
    if minute <= store.number("minute"):
        return
    store.set("minute", minute)
    counters = sampling["counters"]
    pools: defaultdict[str, Numbers] = defaultdict(lambda: [0] * len(counters))
    for field, value in store.state.items():
        pool, _, counter = field.rpartition("/")
        if pool and counter in counters:
            pools[pool][counters.index(counter)] = _tenths(value)
    running, (past, future) = _running(store, sampling, now), _due(store, now)
    for pool in {*pools, *running, *past, *future}:
        waiting = max(_reckoned(store, pool) + past[pool] - running[pool], 0)
        pools[pool] += [waiting, running[pool], future[pool]]
    store.samples.insert(0, json.dumps([minute, pools]))
    del store.samples[sampling["most_minutes"] :]
    _sum_up(store, sampling, minute, pools)


def _tenths(value: str) -> float:
    tenths = math.floor(float(value) * 10 + 0.5)
    return tenths / 10 if tenths % 10 else tenths // 10


def _running(store: Store, sampling: Sampling, now: int) -> Counter[str]:
    running = Counter[str]()
    for at, presence in store.workers.values():
        if now - at <= sampling["silent"]:
            for queue, held in presence.held.items():
                pool = sampling["pools"].get(queue) or sampling.get("rest")
                if pool:
                    running[pool] += held.running
    return running


def _due(store: Store, now: int) -> tuple[Counter[str], Counter[str]]:
    past, future = Counter[str](), Counter[str]()
    for name, tasks in store.due.items():
        pool, _, bucket = name.rpartition("/")
        (past if int(bucket) * 1000 <= now else future)[pool] += tasks
    return past, future


def _reckoned(store: Store, pool: str) -> int:
    count = json.loads(store.state.get(f"{pool}/count", "{}"))
    published, finished = (
        store.number(f"{pool}/{name}") - store.number(f"{pool}/base_{name}")
        for name in ("published", "finished")
    )
    counted: int = count.get("waiting", 0) + count.get("running", 0)
    return counted + int(published - finished)


def _sum_up(store: Store, sampling: Sampling, minute: int, pools: Mapping[str, Numbers]) -> None:
    """Keep a sample of ten minutes, if they have passed since the last one."""
    last = store.number("summed")
    if minute // 10 <= last // 10:
        return
    store.set("summed", minute)
    most: defaultdict[tuple[str, int], Numbers] = defaultdict(list)
    for at, its in map(json.loads, store.samples[:11]):
        if (at - 1) // 10 == last // 10:
            for pool, told in its.items():
                for n in (_QUANTITY, *_TASKS):
                    most[pool, n] += told[n : n + 1]
    for pool, told in pools.items():
        for n in _TASKS:
            told[n] = max((x for x in most[pool, n] if x is not None), default=None)
        told.append(max((x for x in most[pool, _QUANTITY] if x is not None), default=None))
    store.tens.insert(0, json.dumps([minute, pools]))
    del store.tens[sampling["most_tens"] :]
