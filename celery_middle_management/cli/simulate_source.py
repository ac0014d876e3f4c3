"""Where the tasks of ``celery mm simulate`` come from: a file, or the history of an app's pool."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from celery_middle_management.cli.common import CouldNot, UsedWrongly

if TYPE_CHECKING:
    from celery_middle_management.core.pools import Pool
    from celery_middle_management.managed_app import ManagedApp
    from celery_middle_management.sim import Trace

#: No trace lasts longer than this (s).
LONGEST = 366 * 86_400.0


def trace_of_file(path: Path, runtime: str | None, seed: int, queues: tuple[str, ...]) -> Trace:
    """Return the tasks in a file; with *queues*, only those of these queues.

    Raises:
        UsedWrongly: the file or an option is wrong.
    """
    from celery_middle_management.sim import RunTimes, TraceError, read_trace

    try:
        given = RunTimes.parse(runtime) if runtime is not None else None
    except ValueError as error:
        raise UsedWrongly(f"--runtime: {error}") from None
    try:
        trace = read_trace(path, runtime=given, seed=seed)
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


def pool_of_app(ctx: click.Context, name: str | None) -> tuple[ManagedApp, Pool]:
    """Return the app that ``-A`` names, and its pool of this *name*, or its only one.

    Raises:
        UsedWrongly: the app is not managed, or has no such pool.
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
    return managed, pool


def settings_of_pool(managed: ManagedApp, pool: Pool) -> dict[str, Any]:
    """Return the settings of a pool, as options of the command."""
    return {
        "minimum": pool.min_workers,
        "maximum": pool.max_workers,
        "dynos": "one-off" if pool.one_off else "formation",
        "call_interval": managed.settings.call_interval,
    }


def trace_of_history(managed: ManagedApp, pool: Pool, seed: int) -> Trace:
    """Return tasks like those that a pool had lately.

    Raises:
        CouldNot: there were none, or the ledger cannot be read.
    """
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
