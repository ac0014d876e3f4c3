"""Workers: what a deploy does to their tasks, what wakes them, and whether they agree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from celery_middle_management.doctor.command import starts_no_worker
from celery_middle_management.doctor.finding import FAILURE, OK, WARNING, Finding
from celery_middle_management.doctor.installation import Installation
from celery_middle_management.ledger.pool import read_pool
from celery_middle_management.version import __version__
from celery_middle_management.views.status import asleep


def sigterm_is_warm(installation: Installation) -> Iterator[Finding]:
    """Whether a dyno that is told to stop may finish its tasks."""
    remapped = installation.environ.get("REMAP_SIGTERM")
    if remapped:
        yield Finding(
            "sigterm",
            WARNING,
            f"REMAP_SIGTERM={remapped}: a deploy or restart ends running tasks at once",
            "unset it; worker_soft_shutdown_timeout has tasks given back within the 30 s:\n"
            f"heroku config:unset REMAP_SIGTERM{installation.shell.heroku_app}",
        )
    else:
        yield Finding("sigterm", OK, "SIGTERM lets running tasks finish")


def long_tasks_survive_deploys(installation: Installation) -> Iterator[Finding]:
    """Whether tasks that outlast a dyno's 30 s are given back when it is killed.

    A deploy leaves one-off dynos alone.
    """
    safe = installation.conf.task_acks_late or installation.conf.get("worker_soft_shutdown_timeout")
    long, kills_after = {}, installation.platform.traits.kills_after
    for pool in installation.settings.pools:
        if pool.one_off:
            continue
        finished = installation.redis.snapshot.number(f"{pool.name}/finished")
        mean = (
            installation.redis.snapshot.number(f"{pool.name}/runtime") / finished
            if finished
            else 0.0
        )
        if mean > kills_after:
            long[pool.name] = mean
    if long and not safe:
        pools = ", ".join(f"{pool}: {mean:.0f} s in the mean" for pool, mean in long.items())
        yield Finding(
            "long-tasks",
            WARNING,
            f"tasks take longer ({pools}) than the {kills_after:.0f} s that a deploy leaves them, "
            "and are lost then",
            "make them idempotent, and have them given back:\n"
            "task_acks_late = True\nworker_soft_shutdown_timeout = 20",
        )
    else:
        yield Finding("long-tasks", OK, "no pool's tasks are known to be lost by a deploy")


def beat_stays(installation: Installation) -> Iterator[Finding]:
    """Whether an embedded beat is fired with its worker."""
    gone = [
        pool.name
        for pool in installation.settings.pools
        if not pool.min_workers and pool.name in installation.platform.worker_commands
        if installation.platform.worker_commands[pool.name].beat
    ]
    for pool in gone:
        yield Finding(
            "beat",
            FAILURE,
            f"workers of {pool} have an embedded beat (-B), and none may be left of them: nothing "
            "is scheduled then",
            "set middle_management_min_workers to 1, or give beat a dyno of its own by a line of "
            f"the Procfile:\nbeat: {installation.shell.celery} beat",
        )
    if not gone:
        yield Finding("beat", OK, "no pool that may be empty has an embedded beat")


def pools_run_workers(installation: Installation) -> Iterator[Finding]:
    """Whether the process type of each pool starts a Celery worker at all."""
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
            "are hired, and paid for, and run no task",
            "name another type in middle_management_pools, or deploy a Procfile with the line\n"
            f"{pool}: {installation.shell.worker(pool)}",
        )
    if not without:
        yield Finding("worker-command", OK, "no pool's command is known to start no worker")


def nothing_is_purged(installation: Installation) -> Iterator[Finding]:
    """Whether a worker is started that would delete what it was hired for."""
    purging = [
        pool for pool, command in installation.platform.worker_commands.items() if command.purge
    ]
    for pool in purging:
        done = (
            "in this dry run, each that starts deletes what waits"
            if installation.settings.dry_run
            else "they ignore it, for what waits is what they are hired for"
        )
        yield Finding(
            "purge",
            WARNING,
            f"workers of {pool} are started with --purge: {done}",
            "take it out of the Procfile; to delete what waits, once:\n"
            f"{installation.shell.celery} purge",
        )
    if not purging:
        yield Finding("purge", OK, "no worker is started with --purge")


def versions_are_sound(installation: Installation) -> Iterator[Finding]:
    """Whether the releases of Celery and kombu are known to lose tasks or workers."""
    found = list(known_faults(installation.versions, on_redis=installation.broker_kind == "redis"))
    for what, mend in found:
        yield Finding("versions", WARNING, what, mend)
    if not found:
        yield Finding("versions", OK, "Celery and kombu have no fault that is known to matter here")


def known_faults(
    versions: Mapping[str, tuple[int, ...]], *, on_redis: bool
) -> Iterator[tuple[str, str]]:
    """What is wrong with these releases of celery and kombu, and how to mend it."""
    said = {name: ".".join(map(str, version)) for name, version in versions.items()}
    if versions["celery"] < (5, 6, 3):
        yield (
            f"Celery {said['celery']}: after a lost connection to the broker, a prefork worker "
            "forgets the tasks that it runs, and may take more than it has slots for",
            "pip install 'celery>=5.6.3'",
        )
    if on_redis and versions["kombu"] < (5, 7):
        yield (
            f"kombu {said['kombu']}: after a restart of Redis, a prefork worker may take no task "
            "any more, until it renews its connection a minute later",
            "pip install 'kombu[redis]>=5.7'",
        )


def processes_are_fixed(installation: Installation) -> Iterator[Finding]:
    """Whether Celery's own autoscaling is on beside ours."""
    scaling = [
        pool for pool, command in installation.platform.worker_commands.items() if command.autoscale
    ]
    for pool in scaling:
        yield Finding(
            "autoscale",
            WARNING,
            f"workers of {pool} are started with --autoscale: a dyno has the same memory with few "
            "children as with many, and is paid for in either case",
            "give them a fixed number, in place of it:\n--concurrency 4",
        )
    if not scaling:
        yield Finding("autoscale", OK, "workers have a fixed concurrency")


def prefetch_is_bounded(installation: Installation) -> Iterator[Finding]:
    """Whether a worker may take all that there is."""
    if installation.conf.worker_prefetch_multiplier == 0:
        yield Finding(
            "prefetch",
            WARNING,
            "worker_prefetch_multiplier is 0: one worker may take all short tasks that there are, "
            "and others are hired to idle",
            "leave it out, or set\nworker_prefetch_multiplier = 1",
        )
    else:
        yield Finding("prefetch", OK, "workers take a bounded number of tasks")


def pools_are_woken(installation: Installation) -> Iterator[Finding]:
    """Whether scheduled tasks wait for workers that no process would hire."""
    if asleep(installation.status):
        yield Finding(
            "wake",
            WARNING,
            "tasks are scheduled, and no worker lives: only a process that has published, and "
            "still lives, wakes the pool in time",
            "set middle_management_min_workers to 1, or have one process watch by a line of the "
            f"Procfile:\nwatch: {installation.shell.celery} mm run",
        )
    else:
        yield Finding("wake", OK, "no scheduled task waits for a sleeping pool")


def minimum_is_kept(installation: Installation) -> Iterator[Finding]:
    """Whether there are as many workers as there must be."""
    short = []
    for pool in installation.settings.pools:
        quantity = read_pool(installation.redis.snapshot, pool).quantity
        if (quantity or 0) < pool.min_workers:
            short.append(pool.name)
            yield Finding(
                "minimum",
                WARNING,
                f"{pool.name} has {quantity or 0} workers, and min_workers is {pool.min_workers}: "
                "no process that publishes or works has hired them yet",
                "publish a task, or have them hired once:\n"
                + (
                    f"{installation.shell.celery} mm run"
                    if pool.one_off or not installation.shell.heroku_app
                    else f"heroku ps:scale {pool.name}={pool.min_workers}"
                    + installation.shell.heroku_app
                ),
            )
    if not short:
        yield Finding("minimum", OK, "each pool has its min_workers")


def processes_agree(installation: Installation) -> Iterator[Finding]:
    """Whether the workers have our release and settings."""
    live = [
        p
        for p in installation.redis.snapshot.presences
        if not p.silent(installation.redis.snapshot.now) and not p.closing
    ]
    others = sorted({p.release for p in live if p.release and p.release != __version__})
    if others:
        yield Finding(
            "releases",
            WARNING,
            f"workers run release {', '.join(others)}, this process {__version__}",
            "a deploy ends that within minutes; otherwise have all processes restarted"
            f"{installation.shell.heroku('ps:restart')}",
        )
    apart = sorted(
        {p.name for p in live if p.settings and p.settings != installation.settings.fingerprint}
    )
    if apart:
        yield Finding(
            "settings",
            FAILURE,
            f"{', '.join(apart[:5])} {'has' if len(apart) == 1 else 'have'} other settings of "
            "Middle Management than this process: each decides by its own",
            "give all processes the same settings, in the app or by config vars, and wait until "
            f"the deploy is over, or have them restarted{installation.shell.heroku('ps:restart')}",
        )
    if not others and not apart:
        yield Finding("settings", OK, "workers have the release and the settings of this process")


def workers_are_of_a_pool(installation: Installation) -> Iterator[Finding]:
    """Whether dynos work that belong to no pool."""
    strangers = sorted(
        {
            p.name
            for p in installation.redis.snapshot.presences
            if p.pool is None and not p.silent(installation.redis.snapshot.now)
        }
    )
    if strangers:
        yield Finding(
            "strangers",
            WARNING,
            f"{', '.join(strangers[:5])} work, and are of no pool: they are never hired or fired, "
            "and nothing of their queues is fired while they hold tasks",
            "name their process type in middle_management_pools, or let them be",
        )
    else:
        yield Finding("strangers", OK, "every worker is of a pool")


def _shortened(command: str) -> str:
    return command if len(command) <= 60 else f"{command[:59]}…"
