"""Where the tasks of ``celery mm simulate`` come from: a file, or the history of an app's pool."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from celery_middle_management.cli.common import CouldNot, UsedWrongly

if TYPE_CHECKING:
    from celery_middle_management.core.pools import Pool
    from celery_middle_management.managed_app import ManagedApp
    from celery_middle_management.sim import RunTimes, Trace

#: No trace lasts longer than this (s).
LONGEST = 366 * 86_400.0
#: The policies that are simulated on a file if none is named.
USUAL = (
    *("jobs_per_worker:10", "jobs_per_worker:1", "fixed:5", "hirefire:5", "hirefire:5@15"),
    *("judoscale", "keda:5", "aws:5", "original:10"),
)
#: The same on a history, after the pool's own setting.
_JOBS_PER_WORKER = (1, 2, 5, 10, 20, 50)


class Source(NamedTuple):
    """Tasks, and what is usually asked about them."""

    #: Returns the tasks; takes a seed.
    read: Callable[[int], Trace]
    #: Names of policies.
    policies: tuple[str, ...] = USUAL
    #: Options of the command that are not the usual ones.
    options: Mapping[str, Any] = {}


# -- a file


def source_of_file(path: Path, runtime: str | None, queues: tuple[str, ...]) -> Source:
    """Return the tasks in a file; with *queues*, only those of these queues.

    Raises:
        UsedWrongly: an option is wrong; when the tasks are read, also if the file is.
    """
    from celery_middle_management.sim import RunTimes

    try:
        given = RunTimes.parse(runtime) if runtime is not None else None
    except ValueError as error:
        raise UsedWrongly(f"--runtime: {error}") from None
    return Source(partial(_trace_of_file, path, given, queues))


def _trace_of_file(
    path: Path, runtime: RunTimes | None, queues: tuple[str, ...], seed: int
) -> Trace:
    from celery_middle_management.sim import TraceError, read_trace

    try:
        trace = read_trace(path, runtime=runtime, seed=seed)
    except TraceError as error:
        raise UsedWrongly(str(error)) from None
    try:
        trace = trace.only(queues) if queues else trace
    except ValueError as error:
        raise UsedWrongly(f"--queue: {error}") from None
    _check_length(trace)
    return trace


def _check_length(trace: Trace) -> None:
    longest = max(trace.runtimes, default=0.0)
    for what, seconds in (("lasts for", trace.span), ("has a task that runs for", longest)):
        if seconds > LONGEST:
            raise UsedWrongly(
                f"{trace.name} {what} {seconds:g} s; allowed: a year. Are its times in seconds?"
            )


# -- a history


def source_of_history(ctx: click.Context, name: str | None) -> Source:
    """Return tasks like those that a pool of the app had lately: this one, or the only one.

    Raises:
        UsedWrongly: the app is not managed, or has no such pool.
        CouldNot: when the tasks are read: there were none, or the ledger cannot be read.
    """
    from celery_middle_management.app_setup import look_only
    from celery_middle_management.cli.common import managed_app_of_context, no_such_pool
    from celery_middle_management.core.pools import pool_named

    look_only()
    managed = managed_app_of_context(ctx)
    pools = managed.settings.pools
    pool = pool_named(pools, name)
    if pool is None:
        raise UsedWrongly(f"--pool: {no_such_pool(name, [each.name for each in pools])}")
    others = (f"jobs_per_worker:{number}" for number in _JOBS_PER_WORKER)
    return Source(
        partial(_trace_of_history, managed, pool),
        tuple(dict.fromkeys((policy_of(pool), *others))),
        _settings_of_pool(managed, pool),
    )


def policy_of(pool: Pool) -> str:
    """Return the name of the policy that the pool has."""
    if pool.max_wait is not None:
        return f"max_wait:{pool.max_wait:.3f}".rstrip("0").rstrip(".")
    return f"jobs_per_worker:{pool.jobs_per_worker or 'auto'}"


def _trace_of_history(managed: ManagedApp, pool: Pool, seed: int) -> Trace:
    import redis

    from celery_middle_management import inspection
    from celery_middle_management.cli.common import redis_failed

    try:
        trace = inspection.history_trace(managed, pool.name, seed)
    except (redis.RedisError, OSError) as error:
        raise redis_failed("read", error, managed) from None
    if not trace.tasks:
        raise CouldNot(f"the history of pool {pool.name!r} has no tasks yet")
    return trace


def _settings_of_pool(managed: ManagedApp, pool: Pool) -> dict[str, Any]:
    settings = {
        "minimum": pool.widest.min_workers,
        "maximum": pool.widest.max_workers,
        "dynos": "one-off" if pool.one_off else "formation",
        "call_interval": managed.settings.call_interval,
    }
    return {**settings, "size": pool.dyno_size.lower()} if pool.dyno_size else settings
