"""Checks of workers: how they start, and what wakes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from celery_middle_management.doctor.command import starts_no_worker
from celery_middle_management.doctor.finding import FAILURE, OK, WARNING, Finding
from celery_middle_management.doctor.installation import Installation
from celery_middle_management.ledger.pool_reading import read_pool
from celery_middle_management.version import __version__
from celery_middle_management.views.status import asleep


def beat_stays(installation: Installation) -> Iterator[Finding]:
    """Check that no embedded beat is fired together with its worker."""
    gone = [
        pool.name
        for pool in installation.settings.pools
        if not pool.widest.min_workers and pool.name in installation.platform.worker_commands
        if installation.platform.worker_commands[pool.name].beat
    ]
    for pool in gone:
        yield Finding(
            "beat",
            FAILURE,
            f"workers of {pool} embed beat (-B), and the pool may shrink to zero: periodic "
            "tasks then stop",
            "set min_workers of the pool to 1, or give beat a dyno of its own with this line "
            f"in the Procfile:\nbeat: {installation.shell.celery} beat",
        )
    if not gone:
        yield Finding("beat", OK, "no pool that may be empty embeds beat")


def pools_run_workers(installation: Installation) -> Iterator[Finding]:
    """Check that the process type of each pool starts a Celery worker at all."""
    without = {
        p: command
        for p, command in installation.platform.commands.items()
        if starts_no_worker(command)
    }
    for pool, command in without.items():
        yield Finding(
            "worker-command",
            FAILURE,
            f"the process type {pool} starts no Celery worker: {_shortened(command)}. Its dynos "
            "cost money and run no task",
            "name another type in app.conf.middle_management_pools, or deploy a Procfile with the "
            "line\n"
            f"{pool}: {installation.shell.worker(pool)}",
        )
    if not without:
        yield Finding("worker-command", OK, "each pool's process type may start a worker")


def nothing_is_purged(installation: Installation) -> Iterator[Finding]:
    """Check that no worker starts by deleting the tasks that it was hired for."""
    purging = [
        pool for pool, command in installation.platform.worker_commands.items() if command.purge
    ]
    for pool in purging:
        done = (
            "in a dry run, each one deletes the waiting tasks when it starts"
            if installation.settings.dry_run
            else "they ignore it, since they are hired for the waiting tasks"
        )
        yield Finding(
            "purge",
            WARNING,
            f"workers of {pool} are started with --purge: {done}",
            "remove it from the Procfile; to delete the waiting tasks once:\n"
            f"{installation.shell.celery} purge",
        )
    if not purging:
        yield Finding("purge", OK, "no worker is started with --purge")


def versions_are_sound(installation: Installation) -> Iterator[Finding]:
    """Check that Celery and kombu have no known fault that loses tasks or workers."""
    found = list(known_faults(installation.versions, on_redis=installation.broker_kind == "redis"))
    for what, mend in found:
        yield Finding("versions", WARNING, what, mend)
    if not found:
        yield Finding("versions", OK, "Celery and kombu have no known fault that matters here")


def known_faults(
    versions: Mapping[str, tuple[int, ...]], *, on_redis: bool
) -> Iterator[tuple[str, str]]:
    """Yield each known fault of these *versions* of celery and kombu, and its remedy."""
    said = {name: ".".join(map(str, version)) for name, version in versions.items()}
    if versions["celery"] < (5, 6, 3):
        yield (
            f"Celery {said['celery']}: after losing its broker connection, a prefork worker "
            "forgets the tasks that it runs, and may take more tasks than it has slots",
            "pip install 'celery>=5.6.3'",
        )
    if on_redis and versions["kombu"] < (5, 7):
        yield (
            f"kombu {said['kombu']}: after a restart of Redis, a prefork worker may take no task "
            "until it renews its connection a minute later",
            "pip install 'kombu[redis]>=5.7'",
        )


def processes_are_fixed(installation: Installation) -> Iterator[Finding]:
    """Check that Celery's own autoscaling of a worker's processes is off."""
    scaling = [
        pool for pool, command in installation.platform.worker_commands.items() if command.autoscale
    ]
    for pool in scaling:
        yield Finding(
            "autoscale",
            WARNING,
            f"workers of {pool} are started with --autoscale, which saves nothing: a dyno costs "
            "the same with few processes as with many",
            "use a fixed number instead, such as\n--concurrency 4",
        )
    if not scaling:
        yield Finding("autoscale", OK, "workers have a fixed concurrency")


def prefetch_is_bounded(installation: Installation) -> Iterator[Finding]:
    """Check that a worker reserves a bounded number of tasks."""
    if installation.conf.worker_prefetch_multiplier == 0:
        yield Finding(
            "prefetch",
            WARNING,
            "worker_prefetch_multiplier is 0: one worker may reserve all short tasks, and others "
            "are hired only to idle",
            "remove the setting, or use\napp.conf.worker_prefetch_multiplier = 1",
        )
    else:
        yield Finding("prefetch", OK, "workers reserve a bounded number of tasks")


def pools_are_woken(installation: Installation) -> Iterator[Finding]:
    """Check that a process is alive to hire workers when scheduled tasks fall due."""
    if asleep(installation.status):
        yield Finding(
            "wake",
            WARNING,
            "tasks are scheduled, and no worker is up: the pool wakes in time only while a process "
            "that has published is alive",
            "set app.conf.middle_management_min_workers = 1, or keep a process up for it with this "
            f"line in the Procfile:\nwatch: {installation.shell.celery} mm run",
        )
    else:
        yield Finding("wake", OK, "no scheduled task depends on a sleeping pool")


def minimum_is_kept(installation: Installation) -> Iterator[Finding]:
    """Check that each pool has at least its min_workers."""
    short = []
    for pool in installation.settings.pools:
        state = read_pool(installation.redis.snapshot, pool)
        quantity, least = state.quantity, state.pool.min_workers
        if (quantity or 0) < least:
            short.append(pool.name)
            yield Finding(
                "minimum",
                WARNING,
                f"{pool.name} has {quantity or 0} workers, and min_workers is {least}: "
                "no process that publishes or works has hired the missing ones yet",
                "publish a task, or hire them now:\n"
                + (
                    f"{installation.shell.celery} mm run"
                    if pool.one_off or not installation.shell.heroku_app
                    else f"heroku ps:scale {pool.name}={least}" + installation.shell.heroku_app
                ),
            )
    if not short:
        yield Finding("minimum", OK, "each pool has its min_workers")


def processes_agree(installation: Installation) -> Iterator[Finding]:
    """Check that the workers have the same release and settings as this process."""
    states = (read_pool(installation.redis.snapshot, pool) for pool in installation.settings.pools)
    outdated = {name for state in states for name in state.roster.outdated}
    live = [
        p
        for p in installation.redis.snapshot.presences
        if not p.silent(installation.redis.snapshot.now) and not p.closing
        # A one-off worker that outlived a deploy leaves by itself, and decides nothing.
        if p.name not in outdated
    ]
    others = sorted({p.release for p in live if p.release and p.release != __version__})
    if others:
        yield Finding(
            "releases",
            WARNING,
            f"workers run release {', '.join(others)}, and this process runs {__version__}",
            "wait for the deploy to finish; if this stays, restart all processes"
            f"{installation.shell.heroku('ps:restart')}",
        )
    apart = sorted(
        {p.name for p in live if p.settings and p.settings != installation.settings.fingerprint}
    )
    if apart:
        yield Finding(
            "settings",
            FAILURE,
            f"{', '.join(apart[:5])} {'has' if len(apart) == 1 else 'have'} different "
            "Middle Management settings from this process, and each decides by its own",
            "give all processes the same settings, in the app or by config vars, then wait for the "
            f"deploy to finish, or restart them{installation.shell.heroku('ps:restart')}",
        )
    if not others and not apart:
        yield Finding(
            "settings", OK, "workers have the same version of this package and the same settings"
        )


def workers_are_of_a_pool(installation: Installation) -> Iterator[Finding]:
    """Check that every worker belongs to a pool."""
    without_pool = sorted(
        {
            p.name
            for p in installation.redis.snapshot.presences
            if p.pool is None and not p.silent(installation.redis.snapshot.now)
        }
    )
    if without_pool:
        yield Finding(
            "strangers",
            WARNING,
            f"no pool includes {', '.join(without_pool[:5])}: these workers are never hired or "
            "fired, and while they hold tasks, no worker of the same queues is fired",
            "add their process type to app.conf.middle_management_pools, or leave them alone",
        )
    else:
        yield Finding("strangers", OK, "every worker belongs to a pool")


def _shortened(command: str) -> str:
    return command if len(command) <= 60 else f"{command[:59]}…"
