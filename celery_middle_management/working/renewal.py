"""Renews a worker's connection to its broker when that connection must be dead."""

from __future__ import annotations

import logging
from contextlib import suppress
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
    shut_down,
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
#: A loop that polls its sockets notices within this time (s) that they are shut down.
_NOTICED = 3 * _TURN


class Renewal:
    """Watches one worker, over all the connections that it makes."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._renewals = Renewals()
        self._timer: Any = None
        #: When the loop last turned, and when that was last checked.
        self._turned = self._checked_at = monotonic()
        #: Since when the worker has had to stop, but the broker has not answered its last request.
        self._unstopped_since = monotonic()
        #: When the sockets were shut down, until there are new ones.
        self._shut_at = inf

    def start(self, consumer: Any) -> None:
        """Begin when the worker has connected: have its event loop, if any, turn once a second.

        kombu before 5.7 waits for its broker for up to 10 s, whatever other threads call soon.
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
        """Renew the connection to the broker if it must be dead. From the reporter's thread."""
        now = monotonic()
        if now - self._checked_at > SILENT:
            # The whole process may have been suspended, and the loop has not turned yet.
            self._turned = self._unstopped_since = now
        self._checked_at = now
        if not cordoned or intake.stopped:
            self._unstopped_since = now
        overdue = self._overdue(consumer, presence, reply, now)
        if _would_cancel(consumer, intake) or not self._renewals.due(overdue, now):
            return
        self._shut_at = now
        if _hang_up(consumer, idle=consumer.pool.uses_semaphore or not presence.busy):
            logger.warning(
                "%s has received nothing from the broker for %d s, though it should have: it"
                " renews its connection",
                *(self._name, overdue),
            )

    def _overdue(self, consumer: Any, presence: Presence, reply: Reply, now: float) -> float:
        """Return for how long (s) the broker has owed the worker something; 0 or less if not.

        The broker owes it something in each of these cases:

        - the *reply* says that counts have found messages that the worker had room for, but did
          not take;
        - the worker must stop, but its last request for a message has not been answered;
        - the loop waits for an answer, and so does not learn that a task has ended either.

        The last two can also mean that the broker itself does not answer, so it must have answered
        a count since then.
        """
        counted = now - (reply.now - reply.counted_at)

        def owed(since: float) -> float:
            return now - since if counted - since > _NOTICED else 0.0

        overdue = min(presence.idle, max(reply.untaken, owed(self._unstopped_since)))
        if is_loop_apart(consumer.pool):
            overdue = max(overdue, owed(self._unstopped_since), owed(self._turned))
        # Until it has missed two heartbeats, RabbitMQ keeps the dead connection's exclusive queues,
        # such as the worker's control queue. If that cannot be declared anew, Celery 5.7 ends.
        return overdue - 2 * heartbeat(consumer.connection)

    def _turn(self) -> None:
        self._turned = monotonic()
        if self._turned - self._shut_at > _NOTICED:
            self._shut_at = inf
            self._renewals.connected(self._turned)  # almost: connecting takes a moment
            # kombu before 5.7 may have stopped polling its sockets for good.
            raise ConnectionResetError("the connection to the broker is renewed")


def _would_cancel(consumer: Any, intake: Intake) -> bool:
    """Return whether a setting makes Celery end a running task when the connection is lost.

    Without that setting, a task that is not acknowledged goes on. The broker redelivers it in any
    case, because it cannot be acknowledged over a dead connection.
    """
    active = copied(worker_state.active_requests)
    return bool(consumer.app.conf.worker_cancel_long_running_tasks_on_connection_loss) and any(
        not request.acknowledged for request in intake.slots.running(active)
    )


def _hang_up(consumer: Any, *, idle: bool) -> bool:
    """Shut down a worker's sockets as if its broker had hung up; return False if none was up.

    They belong to its consumer, its events, its remote control, and the pool that it publishes
    with. Tasks that publish are left alone: a connection of the pool that is in use is shut down
    only while the worker is *idle*, when the connection must be the worker's own.

    Celery then reacts as to any lost connection, even while it waits for an answer that never
    comes: the sockets stay open until Celery closes them, so whatever waits for them is woken.
    """
    found = False
    events = consumer.event_dispatcher
    own = consumer.connection, events and events.connection, control_connection(consumer)
    for connection in (*own, *pooled(consumer.app.pool, in_use=idle)):
        for sock in sockets(connection):
            with suppress(OSError):  # it has been closed meanwhile
                shut_down(sock)
                found = True
    return found
