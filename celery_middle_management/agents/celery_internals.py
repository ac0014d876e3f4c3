"""Every name of Celery's and kombu's that is not public, and what we make of it.

Where a release lacks one, what rests on it is as if there was nothing to see; our tests run with
the oldest and the newest releases, and tell.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakSet

from celery import _state
from celery.app.base import PendingConfiguration  # type: ignore[attr-defined]
from celery.concurrency.base import BasePool

#: The method of ``app.amqp`` that makes, at its first use, the function that sends.
CREATE_SENDER = "_create_task_sender"


def active_apps() -> list[Any]:
    """Every app of the process."""
    return copied(_state._get_active_apps())  # type: ignore[attr-defined]


def copied(weak: WeakSet[Any]) -> list[Any]:
    """A copy of a set that other threads may add to meanwhile."""
    while True:
        try:
            return list(weak)
        except RuntimeError:
            continue


def on_finalize(callback: Callable[[Any], None]) -> None:
    """Have every app that is finalized from now on handed to *callback*."""
    _state.connect_on_app_finalize(callback)


def configured(app: Any) -> bool:
    """Whether the configuration has been read: to read it may fail, or do whatever it does."""
    maps: Any = getattr(vars(app).get("_conf"), "maps", ())
    return len(maps) > 0 and not isinstance(maps[0], PendingConfiguration)


def timer_heap(timer: Any) -> list[Any]:
    """The entries of a consumer's timer, a heap; that of gevent and eventlet counts as empty."""
    heap = getattr(getattr(timer, "schedule", timer), "_queue", None)
    return heap if isinstance(heap, list) else []


def jobs(pool: Any) -> int:
    """Jobs in a prefork pool: after a lost connection Celery forgets those not yet begun."""
    return len(getattr(getattr(pool, "_pool", None), "_cache", ()))


def given_up(request: Any, pool: Any) -> bool:
    """Whether an active request does not run and never will.

    Revoked with *terminate* while it waited, it is terminated when it is begun. A pool of threads
    cannot do that: Celery gives it up there, and shows it as active for ever.
    """
    to_end = request.time_start and getattr(request, "_terminate_on_ack", None) is not None
    return bool(to_end) and type(pool).terminate_job is BasePool.terminate_job


def idle_redis(channel: Any) -> Any:
    """The connection over which a channel asks Redis for tasks, if it is up and asks for none."""
    client = getattr(channel, "__dict__", {}).get("client")
    connection: Any = getattr(client, "connection", None)
    asks = getattr(channel, "_in_poll", True)
    return None if asks or getattr(connection, "_sock", None) is None else connection
