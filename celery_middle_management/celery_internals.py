"""Every name of Celery's and kombu's that is not public, and what we make of it.

Where a release lacks one, what rests on it is as if there was nothing to see; our tests run with
the oldest and the newest releases, and tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from celery import _state
from celery.app.base import PendingConfiguration  # type: ignore[attr-defined]
from celery.local import Proxy

#: The method of ``app.amqp`` that makes, at its first use, the function that sends.
CREATE_SENDER = "_create_task_sender"


def active_apps() -> list[Any]:
    """Every app of the process."""
    return list(copied(_state._get_active_apps()))  # type: ignore[attr-defined]


def itself(app: Any) -> Any:
    """The app behind Celery's ``current_app``; of any other, the app as it is."""
    return app._get_current_object() if isinstance(app, Proxy) else app


def copied(weak: Iterable[Any]) -> set[Any]:
    """A copy of a weak set that other threads may add to meanwhile."""
    while True:
        try:
            return set(weak)
        except RuntimeError:
            continue


def on_finalize(callback: Callable[[Any], None]) -> None:
    """Have every app that is finalized from now on handed to *callback*."""
    _state.connect_on_app_finalize(callback)


def configured(app: Any) -> bool:
    """Whether the configuration has been read: to read it may fail, or do whatever it does."""
    maps: Any = getattr(vars(app).get("_conf"), "maps", ())
    return len(maps) > 0 and not isinstance(maps[0], PendingConfiguration)


def jobs(pool: Any) -> int:
    """Jobs in a prefork pool: after a lost connection Celery forgets those not yet begun.

    Before Celery 5.6.3, it may forget all of them.
    """
    return len(_jobs(pool))


def has_job(pool: Any, request: Any) -> bool:
    """Whether a prefork pool knows of the job of a *request* that it has been given."""
    find = getattr(request, "_apply_result", None)
    job = find() if find is not None else None
    return job is not None and _jobs(pool).get(job._job) is job


def slots(pool: Any) -> int:
    """The tasks that a pool runs at once: none once a worker that ends has shut prefork's down."""
    if pool.uses_semaphore:
        return int(getattr(getattr(pool, "_pool", None), "_processes", 0))
    return int(pool.limit)


def children(pool: Any) -> set[int]:
    """The ids of a prefork pool's processes."""
    return {process.pid for process in list(getattr(getattr(pool, "_pool", None), "_pool", ()))}


def _jobs(pool: Any) -> dict[Any, Any]:
    found: dict[Any, Any] = getattr(getattr(pool, "_pool", None), "_cache", {})
    return found


def busy_children(pool: Any) -> int:
    """How many processes of a prefork pool have a job.

    Before Celery 5.7, those that had one when the connection was lost are not among them.
    """
    return len(getattr(getattr(pool, "_pool", None), "_busy_workers", ()))


def asks(channel: Any) -> bool:
    """Whether the answer to what a channel last asked Redis for is under way."""
    return bool(getattr(channel, "_in_poll", None))


def idle_redis(channel: Any) -> Any:
    """The connection over which a channel asks Redis for tasks, if it is up and asks for none."""
    client = getattr(channel, "__dict__", {}).get("client")
    connection: Any = getattr(client, "connection", None)
    return None if asks(channel) or getattr(connection, "_sock", None) is None else connection


def sockets(connection: Any) -> Iterator[Any]:
    """Every socket of a connection to RabbitMQ or Redis, as far as it is up."""
    made = getattr(connection, "_connection", None)
    found = [getattr(getattr(made, "_transport", None), "sock", None)]
    for channel in list(getattr(made, "channels", None) or ()):
        for pool in (getattr(channel, "_pool", None), getattr(channel, "_async_pool", None)):
            for kept in ("_available_connections", "_in_use_connections"):
                found += [getattr(c, "_sock", None) for c in copied(getattr(pool, kept, ()))]
    return (sock for sock in found if sock is not None)


def control_connection(consumer: Any) -> Any:
    """The connection that a worker is controlled by: green threads have one for that alone."""
    for step in consumer.steps:
        node = getattr(getattr(step, "box", None), "node", None)
        if (channel := getattr(node, "channel", None)) is not None:
            return getattr(channel.connection, "client", None)
    return None


def is_loop_apart(pool: Any) -> bool:
    """Whether a worker's loop surely runs no task itself, as that of a solo pool does."""
    apart = pool.uses_semaphore or pool.is_green
    return bool(apart) or type(pool).__module__ == "celery.concurrency.thread"


def heartbeat(connection: Any) -> float:
    """The interval (s) that was agreed on with RabbitMQ, 0 if there is none."""
    return float(getattr(getattr(connection, "_connection", None), "heartbeat", 0) or 0)


def pooled(pool: Any, *, in_use: bool) -> list[Any]:
    """The connections of one of kombu's pools that are free, and those *in use* if wanted."""
    free = list(getattr(getattr(pool, "_resource", None), "queue", ()))
    return free + ([*copied(getattr(pool, "_dirty", ()))] if in_use else [])


def prefetch_can_change(consumer: Any) -> bool:
    """Whether a changed prefetch count reaches consumers that have begun, and serves its end.

    It does where one count holds for the whole channel, which quorum queues and, by kombu 5.7,
    RabbitMQ 4 do not have. What a thread acknowledges, Celery before 5.7 sends only after another
    message has come, which with a count of one for each slot may be never.
    """
    if not (consumer.pool.uses_semaphore or hasattr(consumer, "call_soon_ack")):
        return False
    from celery.worker.consumer.tasks import Tasks  # there in a worker alone

    known = getattr(consumer, "qos_global", None)
    if known is not None:
        return bool(known)
    find = getattr(Tasks, "qos_global", None)
    return bool(
        find(None, consumer) if find else not consumer.connection.qos_semantics_matches_spec
    )


def prefetch_is_reduced(consumer: Any) -> bool:
    """Whether Celery itself has lowered the prefetch count for a while, after a lost connection."""
    return not getattr(consumer, "_maximum_prefetch_restored", True)
