"""Every name that we use although it is not public: Celery's, kombu's, redis-py's and Python's.

If a release lacks an attribute that is read with a default, its function answers as if there were
nothing to find. Our tests run with the oldest and the newest releases, so they would notice.
"""

from __future__ import annotations

from _socket import SHUT_RDWR
from _socket import socket as PlainSocket
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from celery import _state
from celery.app.base import PendingConfiguration  # type: ignore[attr-defined]
from celery.local import Proxy

#: The method of ``app.amqp`` that makes the sending function when it is first needed.
CREATE_SENDER = "_create_task_sender"


# -- apps


def active_apps() -> list[Any]:
    """Return every app of the process."""
    return list(copied(_state._get_active_apps()))  # type: ignore[attr-defined]


def itself(app: Any) -> Any:
    """Return the app behind Celery's ``current_app``; any other app as it is."""
    return app._get_current_object() if isinstance(app, Proxy) else app


def on_finalize(callback: Callable[[Any], None]) -> None:
    """Call *callback* with every app that is finalized from now on."""
    _state.connect_on_app_finalize(callback)


def configured(app: Any) -> bool:
    """Return whether the configuration has been read. Reading it may fail or have side effects."""
    maps: Any = getattr(vars(app).get("_conf"), "maps", ())
    return len(maps) > 0 and not isinstance(maps[0], PendingConfiguration)


def copied(weak: Iterable[Any]) -> set[Any]:
    """Return a copy of a weak set that other threads may add to meanwhile."""
    while True:
        try:
            return set(weak)
        except RuntimeError:
            continue


# -- a worker's pool


def slots(pool: Any) -> int:
    """Return how many tasks a pool runs at once; 0 for a prefork pool that has been shut down."""
    if pool.uses_semaphore:
        return int(getattr(getattr(pool, "_pool", None), "_processes", 0))
    return int(pool.limit)


def children(pool: Any) -> set[int]:
    """Return the process ids of a prefork pool's children."""
    return {process.pid for process in list(getattr(getattr(pool, "_pool", None), "_pool", ()))}


def busy_children(pool: Any) -> int:
    """Return how many children of a prefork pool have a job.

    Before Celery 5.7, children that had a job when the connection was lost are not counted.
    """
    return len(getattr(getattr(pool, "_pool", None), "_busy_workers", ()))


def jobs(pool: Any) -> int:
    """Return how many jobs a prefork pool has.

    When the connection is lost, Celery forgets jobs not yet begun; before 5.6.3, perhaps all.
    """
    return len(_jobs(pool))


def has_job(pool: Any, request: Any) -> bool:
    """Return whether a prefork pool still has the job that it was given for a *request*."""
    find = getattr(request, "_apply_result", None)
    job = find() if find is not None else None
    return job is not None and _jobs(pool).get(job._job) is job


def _jobs(pool: Any) -> dict[Any, Any]:
    found: dict[Any, Any] = getattr(getattr(pool, "_pool", None), "_cache", {})
    return found


def is_loop_apart(pool: Any) -> bool:
    """Return whether a worker's loop certainly runs no tasks itself, unlike a solo pool's."""
    apart = pool.uses_semaphore or pool.is_green
    return bool(apart) or type(pool).__module__ == "celery.concurrency.thread"


# -- prefetching


def prefetch_can_change(consumer: Any) -> bool:
    """Return whether changing the prefetch count affects consumers already started, and helps.

    It affects them if one count holds for the whole channel, which is not so for quorum queues and,
    with kombu 5.7, for RabbitMQ 4. Before Celery 5.7 it does not help threads, green or not: an
    acknowledgement is sent only after another message has come, and with a count of one per slot
    none may come.
    """
    if not (consumer.pool.uses_semaphore or hasattr(consumer, "call_soon_ack")):
        return False
    from celery.worker.consumer.tasks import Tasks  # imported only in a worker

    known = getattr(consumer, "qos_global", None)
    if known is not None:
        return bool(known)
    find = getattr(Tasks, "qos_global", None)
    return bool(
        find(None, consumer) if find else not consumer.connection.qos_semantics_matches_spec
    )


def prefetch_is_reduced(consumer: Any) -> bool:
    """Return whether Celery itself has lowered the prefetch count after a lost connection."""
    return not getattr(consumer, "_maximum_prefetch_restored", True)


# -- connections


def asks(channel: Any) -> bool:
    """Return whether a channel has asked Redis for a message and waits for the answer."""
    return bool(getattr(channel, "_in_poll", None))


def idle_redis(channel: Any) -> Any:
    """Return the connection over which a channel polls Redis, if it is up and not polling now."""
    client = getattr(channel, "__dict__", {}).get("client")
    connection: Any = getattr(client, "connection", None)
    return None if asks(channel) or getattr(connection, "_sock", None) is None else connection


def control_connection(consumer: Any) -> Any:
    """Return the connection of a worker's remote control, which is separate under green threads."""
    for step in consumer.steps:
        node = getattr(getattr(step, "box", None), "node", None)
        if (channel := getattr(node, "channel", None)) is not None:
            return getattr(channel.connection, "client", None)
    return None


def pooled(pool: Any, *, in_use: bool) -> list[Any]:
    """Return the free connections of one of kombu's pools and, with *in_use*, the others, too."""
    free = list(getattr(getattr(pool, "_resource", None), "queue", ()))
    return free + ([*copied(getattr(pool, "_dirty", ()))] if in_use else [])


def heartbeat(connection: Any) -> float:
    """Return the heartbeat interval (s) agreed on with RabbitMQ; 0 if there is none."""
    return float(getattr(getattr(connection, "_connection", None), "heartbeat", 0) or 0)


def sockets(connection: Any) -> Iterator[Any]:
    """Yield every open socket of a connection to RabbitMQ or Redis."""
    made = getattr(connection, "_connection", None)
    found = [getattr(getattr(made, "_transport", None), "sock", None)]
    for channel in list(getattr(made, "channels", None) or ()):
        for pool in (getattr(channel, "_pool", None), getattr(channel, "_async_pool", None)):
            for kept in ("_available_connections", "_in_use_connections"):
                found += [getattr(c, "_sock", None) for c in copied(getattr(pool, kept, ()))]
    return (sock for sock in found if sock is not None)


def shut_down(sock: Any) -> None:
    """Shut a socket down in both directions.

    A TLS socket's own method is avoided: it also drops TLS, and a thread that is reading would go
    on without TLS.

    Raises:
        OSError: it has been closed.
    """
    if isinstance(sock, PlainSocket):
        PlainSocket.shutdown(sock, SHUT_RDWR)
    else:
        sock.shutdown(SHUT_RDWR)
