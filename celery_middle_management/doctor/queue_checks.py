"""The broker's queues, and what serves them."""

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
from celery_middle_management.views.troubles import none_evaluates

#: So many messages of each list are looked at.
_SAMPLE = 50
#: Of the last minutes, so many tell what was alive.
_MINUTES = 10
_BROKER = "see that the broker is up, and that its user may read the queue"


def queues_can_be_counted(installation: Installation) -> Iterator[Finding]:
    """Whether the broker tells how much waits in each queue."""
    queues = sorted({q for queues in installation.queues.values() for q in queues})
    try:
        counted = installation.broker.backlogs(queues, {})
    except CountFailed as error:
        yield Finding("count", FAILURE, f"{error}; nothing is fired until it answers", _BROKER)
        return
    failed = {q: found for q, found in counted.items() if isinstance(found, CountFailed)}
    for why in failed.values():
        what = f"{why}; no worker of its pool is fired until it can be"
        yield Finding("count", FAILURE, what, _BROKER)
    if not failed:
        yield Finding("count", OK, "every queue can be counted")


def queues_are_served(installation: Installation) -> Iterator[Finding]:
    """Whether each queue that is used has a pool."""
    used = (*named_queues(installation.app), *installation.redis.snapshot.queues)
    stray = list(unserved(installation.settings, used))
    if stray:
        waiting = ""
        with suppress(CountFailed):  # which another check tells
            counted = installation.broker.backlogs(stray, {}).values()
            waiting = f" ({sum(b.ready for b in counted if isinstance(b, Backlog))} wait now)"
        yield Finding(
            "queues",
            FAILURE,
            f"no pool serves {_list(stray)}: no worker is hired for their tasks{waiting}",
            "name them in middle_management_pools, or have a pool there without queues, which "
            "serves all that no other names",
        )
    else:
        yield Finding("queues", OK, "every queue has a pool")


def workers_consume_their_queues(installation: Installation) -> Iterator[Finding]:
    """Whether the workers of each pool take from its queues, and from no other's."""
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
                "give these queues to another pool in middle_management_pools, or start the "
                f"workers with\n{installation.shell.celery} worker "
                f"-Q {','.join(queues)}",
            )
        if foreign:
            found = True
            yield Finding(
                "consumers",
                WARNING,
                f"workers of {pool.name} consume {_list(foreign)}, for which it is not hired",
                "name these queues in middle_management_pools, or leave them out of the command:\n"
                f"{installation.shell.celery} worker -Q {','.join(queues)}",
            )
    if not found:
        yield Finding("consumers", OK, "workers consume the queues of their pools")


def _queues(installation: Installation, pool: str) -> list[str]:
    """Those of the *pool* that are known, and those that the app's routes name."""
    routed = (
        q for q in named_queues(installation.app) if installation.settings.pool_name(q) == pool
    )
    return sorted({*installation.queues[pool], *routed})


def _consumed(installation: Installation, pool: str) -> set[str] | None:
    """By what its workers say; else by how they are started; None where neither is known."""
    live = [p for p in installation.redis.snapshot.presences_of(pool) if p.queues and not p.closing]
    if live:
        return {queue for presence in live for queue in presence.queues}
    command = installation.platform.worker_commands.get(pool)
    if command is None:
        return None
    # Without -Q, a worker consumes what the app declares.
    return {*(command.queues or installation.declared)}


def publishers_have_the_package(installation: Installation) -> Iterator[Finding]:
    """Whether tasks wait that were not told of, since their publisher lacks the package."""
    if not isinstance(installation.broker, RedisBroker):
        return
    unstamped = []
    for queue in sorted({q for queues in installation.queues.values() for q in queues}):
        if any(not _stamped(text) for text in installation.broker.sample(queue, _SAMPLE)):
            unstamped.append(queue)
    if unstamped:
        samples = installation.redis.ledger.history(_MINUTES)
        late = none_evaluates(installation.redis.snapshot, samples, installation.shell.celery)
        found = f"nothing finds them: {late}" if late else "counts find them, up to a minute late"
        yield Finding(
            "publishers",
            FAILURE if late else WARNING,
            f"in {_list(unstamped)} wait tasks whose publisher does not have this package, or has "
            f"it switched off: {found}",
            "in the module that makes the Celery app of whatever publishes them, add\n"
            "import celery_middle_management",
        )
    else:
        yield Finding("publishers", OK, "the tasks that wait were all told of by their publishers")


def _stamped(message: str) -> bool:
    try:
        headers = json.loads(message).get("headers") or {}
    except (ValueError, AttributeError):
        return True  # no task
    return HEADER in headers or "task" not in headers


def redeliveries_wait_for_etas(installation: Installation) -> Iterator[Finding]:
    """Whether Redis gives a scheduled task to a second worker before it is due."""
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
            f"a task is scheduled {furthest / 3600:.1f} h ahead, and Redis gives every task that "
            f"is unacknowledged for {timeout / 3600:.1f} h to another worker, too: it runs twice",
            "set it above the longest countdown:\n"
            f"broker_transport_options = {{'visibility_timeout': {_days(furthest)}}}",
        )
    else:
        yield Finding(
            "visibility-timeout", OK, "no task is scheduled beyond the visibility timeout"
        )


def _days(seconds: float) -> int:
    """As many whole days as are above that."""
    return (int(seconds) // 86400 + 1) * 86400


def _list(names: list[str]) -> str:
    shown = ", ".join(map(repr, names[:5]))
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
