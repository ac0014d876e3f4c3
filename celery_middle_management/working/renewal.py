"""Renews a worker's connection to its broker when that must be dead."""

from __future__ import annotations

import logging
from _socket import SHUT_RDWR
from _socket import socket as PlainSocket
from contextlib import suppress
from functools import partial
from math import inf
from time import monotonic
from typing import Any

from celery.worker import state as worker_state

from celery_middle_management.celery_internals import (
    control_connection,
    copied,
    heartbeat,
    is_loop_apart,
    pooled,
    sockets,
)
from celery_middle_management.core.deafness import Renewals
from celery_middle_management.core.presence import Presence
from celery_middle_management.core.timing import SILENT
from celery_middle_management.ledger.model import Reply
from celery_middle_management.working.intake import Intake

logger = logging.getLogger(__name__)

#: An event loop turns at least this often (s).
_TURN = 1.0
#: A loop that polls its sockets has noticed by then (s) that they are shut down.
_NOTICED = 3 * _TURN


class Renewal:
    """Of one worker, over all the connections that it makes."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._renewals = Renewals()
        self._timer: Any = None
        #: When the loop last turned, and when it was last looked at that.
        self._turned = self._looked_at = monotonic()
        #: Since when the worker is to stop, and its broker owes it an answer.
        self._unstopped_since = monotonic()
        #: When the sockets were shut down, until there are new ones.
        self._shut_at = inf

    def start(self, consumer: Any) -> None:
        """The worker has connected: have its event loop, if it has one, turn once a second.

        kombu before 5.7 waits for its broker for up to 10 s, whatever other threads ask for.
        """
        hub, connection = consumer.hub, consumer.connection
        self._shut_at = inf
        self._renewals.connected(monotonic())
        if self._timer is not None:
            self._timer.cancel()
        if hub is not None:
            self._timer = hub.call_repeatedly(_TURN, self._turn)
            return
        drain_events = connection.drain_events

        def drain(*args: Any, **options: Any) -> Any:
            self._turned = monotonic()
            return drain_events(*args, **options)

        connection.drain_events = drain

    def look(
        self, consumer: Any, intake: Intake, presence: Presence, reply: Reply, *, cordoned: bool
    ) -> None:
        """Renew the connection to the broker if it must be dead; from a thread of ours.

        By the *reply*, counts found messages that were not taken; or the worker is to stop, and
        the answer to what it last asked for does not come; or its loop waits for an answer and so
        is told of no end of a task either. These two have another reason where the broker itself
        does not answer, so it must have answered a count since.
        """
        now = monotonic()
        if now - self._looked_at > SILENT:
            # The whole process may have stood still, and the loop is yet to turn.
            self._turned = self._unstopped_since = now
        self._looked_at = now
        if not cordoned or intake.stopped:
            self._unstopped_since = now
        counted = now - (reply.now - reply.counted_at)

        def owed(since: float) -> float:
            return now - since if counted - since > _NOTICED else 0.0

        overdue = min(presence.idle, max(reply.untaken, owed(self._unstopped_since)))
        if is_loop_apart(consumer.pool):
            overdue = max(overdue, owed(self._unstopped_since), owed(self._turned))
        # Until it has missed two heartbeats, RabbitMQ keeps for the dead connection what is
        # exclusive, as the worker's control queue: a new one, Celery 5.7 would not survive.
        overdue -= 2 * heartbeat(consumer.connection)
        if _would_cancel(consumer, intake) or not self._renewals.due(overdue, now):
            return
        self._shut_at = now
        if _hang_up(consumer, idle=consumer.pool.uses_semaphore or not presence.busy):
            logger.warning(
                "%s has heard nothing from the broker for %d s, though it should: it renews its"
                " connection",
                *(self._name, overdue),
            )

    def _turn(self) -> None:
        self._turned = monotonic()
        if self._turned - self._shut_at > _NOTICED:
            self._shut_at = inf
            self._renewals.connected(self._turned)  # as good as: it takes a moment
            # kombu before 5.7 may have stopped to poll its sockets for good.
            raise ConnectionResetError("the connection to the broker is renewed")


def _would_cancel(consumer: Any, intake: Intake) -> bool:
    """Whether Celery would end a task that runs, as it does with a lost connection if told to.

    Without that setting, one that is not acknowledged goes on; the broker gives it back in any
    case, for its end cannot be told over a dead connection.
    """
    active = copied(worker_state.active_requests)
    return bool(consumer.app.conf.worker_cancel_long_running_tasks_on_connection_loss) and any(
        not request.acknowledged for request in intake.running(active)
    )


def _hang_up(consumer: Any, *, idle: bool) -> bool:
    """Shut down the sockets of a worker to its broker, as if that had hung up; whether any was up.

    Those of its consumer, its events, its control, and of the pool that it publishes by. What tasks
    publish is left alone: of the pool, a connection in use goes with the rest only while the worker
    is *idle*, so that it is the worker's own.

    Celery then does as after any lost connection, also where it waits for an answer that never
    comes: the sockets stay open until it closes them, so that whatever waits for them is woken.
    """
    found = False
    events = consumer.event_dispatcher
    own = consumer.connection, events and events.connection, control_connection(consumer)
    for connection in (*own, *pooled(consumer.app.pool, in_use=idle)):
        for sock in sockets(connection):
            with suppress(OSError):  # it has been closed meanwhile
                # Not TLS's own, which would have its reader meet a socket without TLS.
                plain = isinstance(sock, PlainSocket)
                shutdown = partial(PlainSocket.shutdown, sock) if plain else sock.shutdown
                shutdown(SHUT_RDWR)
                found = True
    return found
