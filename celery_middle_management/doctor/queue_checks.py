"""Checks of the broker's queues, their publishers and their consumers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress

from celery_middle_management.brokers.base import CountFailed
from celery_middle_management.brokers.redis import RedisBroker
from celery_middle_management.core.demand import Backlog
from celery_middle_management.core.headers import HEADER
from celery_middle_management.counting.declared import named_queues
from celery_middle_management.doctor.finding import FAILURE, OK, WARNING, Finding
from celery_middle_management.doctor.installation import Installation
from celery_middle_management.evaluation.queues import unserved
from celery_middle_management.views.unattended import why_no_evaluation

#: How many messages of each queue are sampled.
_SAMPLE = 50
#: How many minutes of history are searched for processes that are alive.
_MINUTES = 10
_BROKER = "check that the broker is up and that its user may read the queue"


def queues_can_be_counted(installation: Installation) -> Iterator[Finding]:
    """Check that the broker can count what waits in each queue."""
    queues = sorted({q for queues in installation.queues.values() for q in queues})
    try:
        counted = installation.broker.backlogs(queues, {})
    except CountFailed as error:
        yield Finding(
            "count", FAILURE, f"{error}; no worker is fired until the broker answers", _BROKER
        )
        return
    failed = {q: found for q, found in counted.items() if isinstance(found, CountFailed)}
    for why in failed.values():
        what = f"{why}; no worker of its pool is fired until it can be counted"
        yield Finding("count", FAILURE, what, _BROKER)
    if not failed:
        yield Finding("count", OK, "every queue can be counted")


def queues_are_served(installation: Installation) -> Iterator[Finding]:
    """Check that each queue in use belongs to a pool."""
    used = (*named_queues(installation.app), *installation.redis.snapshot.queues)
    without_pool = list(unserved(installation.settings, used))
    if without_pool:
        waiting = ""
        with suppress(CountFailed):  # another check reports it
            counted = installation.broker.backlogs(without_pool, {}).values()
            waiting = f" ({sum(b.ready for b in counted if isinstance(b, Backlog))} wait now)"
        yield Finding(
            "queues",
            FAILURE,
            f"no pool serves {_list(without_pool)}: no worker is hired for their tasks{waiting}",
            "add them to a pool in app.conf.middle_management_pools, or give one pool no queues: "
            "it serves every queue that no other pool names",
        )
    else:
        yield Finding("queues", OK, "every queue has a pool")


def workers_consume_their_queues(installation: Installation) -> Iterator[Finding]:
    """Check that the workers of each pool consume its queues and no others."""
    found = False
    for pool in installation.settings.pools:
        consumed = _consumed(installation, pool.name)
        if consumed is None:
            continue
        queues = _queues(installation, pool.name)
        missing = sorted({*queues} - consumed)
        foreign = sorted(q for q in consumed if installation.settings.pool_name(q) != pool.name)
        if missing:
            found = True
            yield Finding(
                "consumers",
                FAILURE,
                f"workers of {pool.name} do not consume {_list(missing)}, which the pool serves: "
                "they are hired for tasks that they never take",
                "move these queues to another pool in app.conf.middle_management_pools, or add "
                f"them to the workers' command:\n-Q {','.join(queues)}",
            )
        if foreign:
            found = True
            yield Finding(
                "consumers",
                WARNING,
                f"workers of {pool.name} consume {_list(foreign)}, but the pool does not serve "
                "these: it hires no worker for their tasks",
                "add them to the pool in app.conf.middle_management_pools, or remove them from the "
                f"workers' command:\n-Q {','.join(queues)}",
            )
    if not found:
        yield Finding("consumers", OK, "workers consume the queues of their pools")


def _queues(installation: Installation, pool: str) -> list[str]:
    """The known queues of the *pool*, and those that the app's routes name."""
    routed = (
        q for q in named_queues(installation.app) if installation.settings.pool_name(q) == pool
    )
    return sorted({*installation.queues[pool], *routed})


def _consumed(installation: Installation, pool: str) -> set[str] | None:
    """The queues that workers of *pool* consume, according to their reports or their command.

    None if neither is known.
    """
    live = [p for p in installation.redis.snapshot.presences_of(pool) if p.queues and not p.closing]
    if live:
        return {queue for presence in live for queue in presence.queues}
    command = installation.platform.worker_commands.get(pool)
    if command is None:
        return None
    # Without -Q, a worker consumes the queues that the app declares.
    return {*(command.queues or installation.declared)}


def publishers_have_the_package(installation: Installation) -> Iterator[Finding]:
    """Check that the waiting tasks come from publishers that have this package."""
    if not isinstance(installation.broker, RedisBroker):
        return
    unstamped = []
    for queue in sorted({q for queues in installation.queues.values() for q in queues}):
        if any(not _stamped(text) for text in installation.broker.sample(queue, _SAMPLE)):
            unstamped.append(queue)
    if unstamped:
        samples = installation.redis.ledger.history(_MINUTES)
        late = why_no_evaluation(installation.redis.snapshot, samples, installation.shell.celery)
        found = f"nothing counts them: {late}" if late else "a count finds them up to a minute late"
        yield Finding(
            "publishers",
            FAILURE if late else WARNING,
            f"tasks in {_list(unstamped)} were published without this package, or with it switched "
            f"off: {found}",
            "find what publishes them, and in the module that makes its Celery app, add\n"
            "import celery_middle_management",
        )
    else:
        yield Finding("publishers", OK, "the publishers of all waiting tasks have this package")


def _stamped(message: str) -> bool:
    try:
        headers = json.loads(message).get("headers") or {}
    except (ValueError, AttributeError):
        return True  # not a task
    return HEADER in headers or "task" not in headers


def redeliveries_wait_for_etas(installation: Installation) -> Iterator[Finding]:
    """Check that no scheduled task is due so late that Redis delivers it twice."""
    if not isinstance(installation.broker, RedisBroker):
        return
    timeout = installation.broker.visibility_timeout
    ahead = [
        bucket - installation.redis.snapshot.now
        for due in installation.redis.snapshot.due.values()
        for bucket in due
    ]
    furthest = max(ahead, default=0.0)
    if furthest > timeout:
        yield Finding(
            "visibility-timeout",
            WARNING,
            f"a task is scheduled {furthest / 3600:.1f} h ahead, and the visibility timeout is "
            f"{timeout / 3600:.1f} h: Redis then delivers the task to a second worker, and it runs "
            "twice",
            "set the timeout above the longest countdown:\n"
            f"app.conf.broker_transport_options = {{'visibility_timeout': {_days(furthest)}}}",
        )
    else:
        yield Finding(
            "visibility-timeout", OK, "no task is scheduled beyond the visibility timeout"
        )


def _days(seconds: float) -> int:
    """The next whole number of days, in seconds."""
    return (int(seconds) // 86400 + 1) * 86400


def _list(names: list[str]) -> str:
    shown = ", ".join(map(repr, names[:5]))
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
