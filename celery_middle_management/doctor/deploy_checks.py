"""Checks of what a deploy does to running tasks."""

from __future__ import annotations

from collections.abc import Iterator

from celery_middle_management.core.pools import Pool
from celery_middle_management.doctor.finding import OK, WARNING, Finding
from celery_middle_management.doctor.installation import Installation


def sigterm_is_warm(installation: Installation) -> Iterator[Finding]:
    """Check that a dyno that is asked to stop leaves its tasks some time.

    The platform sends SIGTERM to every process of a dyno. That ends prefork's children at once,
    unless it is remapped; and then the worker itself ends them, unless it shuts down softly.
    One-off dynos are not checked: they live through a deploy.
    """
    remapped = installation.environ.get("REMAP_SIGTERM")
    soft = installation.conf.get("worker_soft_shutdown_timeout")
    formation = [pool for pool in installation.settings.pools if not pool.one_off]
    forking = [pool.name for pool in formation if _forks(pool, installation)]
    softly = "app.conf.worker_soft_shutdown_timeout = 20"
    if formation and remapped and not soft:
        yield Finding(
            "sigterm",
            WARNING,
            f"REMAP_SIGTERM={remapped}: a deploy or restart kills running tasks at once",
            f"give them 20 of Heroku's 30 s (Celery 5.5 or later):\n{softly}",
        )
    elif forking and not remapped:
        yield Finding(
            "sigterm",
            WARNING,
            f"a deploy or restart kills running tasks of {', '.join(forking)} at once: SIGTERM "
            "reaches every process of a dyno, and prefork's end on it",
            "give them 20 of Heroku's 30 s (Celery 5.5 or later), or start workers with "
            f"--pool threads:\n{softly}\n"
            f"heroku config:set REMAP_SIGTERM=SIGQUIT{installation.shell.heroku_app}",
        )
    else:
        yield Finding("sigterm", OK, "a deploy or restart leaves running tasks some time")


def _forks(pool: Pool, installation: Installation) -> bool:
    command = installation.platform.worker_commands.get(pool.name)
    execution = (command and command.execution) or installation.conf.worker_pool
    return execution in ("prefork", "processes")


def long_tasks_survive_deploys(installation: Installation) -> Iterator[Finding]:
    """Check that tasks too long for the platform's grace period are given back.

    One-off dynos are not checked: they live through a deploy.
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
        pools = ", ".join(f"{pool}: {mean:.0f} s on average" for pool, mean in long.items())
        yield Finding(
            "long-tasks",
            WARNING,
            f"tasks take longer ({pools}) than the {kills_after:.0f} s that a deploy leaves them: "
            "it kills and loses them",
            "use one-off dynos, or make them idempotent, and have workers give them back:\n"
            "app.conf.update(task_acks_late=True, worker_soft_shutdown_timeout=20)",
        )
    else:
        yield Finding("long-tasks", OK, "no pool is known to lose tasks in a deploy")
