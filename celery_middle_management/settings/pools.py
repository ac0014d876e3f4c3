"""The pools that the settings describe."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any

from celery.exceptions import ImproperlyConfigured

from celery_middle_management.core.pools import Pool
from celery_middle_management.settings import kinds
from celery_middle_management.settings.kinds import Kind
from celery_middle_management.settings.schedules import read_schedule
from celery_middle_management.settings.source import (
    Given,
    checked,
    refuse_both,
    refuse_crossed,
    refuse_unknown,
    require,
    shown,
)
from celery_middle_management.settings.table import OF_A_POOL, TABLE


def read_pools(all_given: Mapping[str, Given]) -> tuple[Pool, ...]:
    """Read the pools from all the settings; each queue belongs to at most one pool."""
    label, given, _ = all_given["pools"]
    refuse_crossed(all_given["min_workers"], all_given["max_workers"])
    refuse_both(all_given["jobs_per_worker"], all_given["max_wait"])
    pools = tuple(_pool(all_given, label, name, pool) for name, pool in given.items())
    pool_of: dict[str | None, str] = {}
    for pool in pools:
        for queue in (None,) if pool.queues is None else pool.queues:
            if queue in pool_of:
                what = "every other queue" if queue is None else f"the queue {queue!r}"
                raise ImproperlyConfigured(
                    f"{label} gives {what} to {pool_of[queue]!r} and to {pool.name!r}; "
                    "allowed: each queue in one pool, and at most one pool without queues"
                )
            pool_of[queue] = pool.name
    return pools


def _pool(all_given: Mapping[str, Given], parent: str, name: str, given: Mapping[str, Any]) -> Pool:
    checked(kinds.POOL_NAME, Given(f"the name of a pool in {parent}", name))
    prefix = f"{parent}[{name!r}]."
    refuse_unknown(prefix, [prefix + key for key in given], ("queues", *OF_A_POOL))

    def own(key: str, kind: Kind) -> Given | None:
        value = given.get(key)
        return None if value is None else checked(kind, Given(prefix + key, value))

    queues = own("queues", kinds.QUEUES)
    its = {key: value for key in OF_A_POOL if (value := own(key, TABLE[key].kind))}
    least, most, jobs, max_wait, dynos, size, schedule = (
        its.get(key, all_given[key]) for key in OF_A_POOL
    )
    where = f" for the pool {name!r}"
    require(most, "max_workers", where)
    refuse_crossed(least, most, where)
    if "jobs_per_worker" in its:
        if "max_wait" in its:
            refuse_both(jobs, max_wait)
        max_wait = Given(max_wait.label, None)
    one_off = dynos.value == "one-off"
    if size.value is not None and not one_off:
        raise ImproperlyConfigured(
            f"{size.label} is {shown(size.value)}; allowed: only where {dynos.label} is "
            "'one-off' (other dynos have the size of their process type)"
        )
    # The app's schedule does not lead a pool beyond a maximum of its own.
    cap = most.value if "max_workers" in its and "schedule" not in its else inf
    return Pool(
        name=name,
        queues=queues and queues.value,
        min_workers=least.value if most.value else 0,
        max_workers=most.value,
        jobs_per_worker=None if jobs.value == "auto" else jobs.value,
        max_wait=max_wait.value,
        one_off=one_off,
        dyno_size=size.value,
        schedule=read_schedule(schedule, all_given["timezone"], least, most, where, cap=cap),
    )
