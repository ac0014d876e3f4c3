"""A worker takes no more tasks than it can begin within about a second.

Celery's prefetch lets a worker take several tasks for each of its slots: those behind a long one
wait there while other workers idle. While every task is known to be short, nothing is changed.
Otherwise the worker consumes only while it has room: once its slots are full, it cancels its
consumers, before the broker hears that the last task was taken, and consumes again when one ends.
Where the broker pushes tasks (RabbitMQ), the prefetch count is lowered to the room that there is.

Celery's own bound holds besides. Scheduled tasks take no room until they are due; those that there
is none for then are given back, once by each worker, for others to begin. Rate-limited ones take
none until they may begin. Only the thread of the worker's loop talks to the broker.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from time import monotonic, time
from typing import Any, NamedTuple

from celery.bootsteps import RUN  # type: ignore[attr-defined]
from celery.utils.collections import LimitedSet
from celery.worker import state as worker_state
from celery.worker.request import Request

from celery_middle_management.agents.bell import Bell
from celery_middle_management.agents.celery_internals import idle_redis
from celery_middle_management.agents.run_times import BEGINS_WITHIN, RunTimes, room
from celery_middle_management.agents.scheduled import give_back, overdue
from celery_middle_management.agents.tap import Tap, can_turn

logger = logging.getLogger("celery_middle_management")

#: So many short tasks in a row, and Celery's prefetch is left as it is.
SHORT_IN_A_ROW = 50
#: How often (s) to look for a slot that is free again, where nothing else wakes the loop.
_LOOK = 0.02
#: A Redis that does not answer a PING for so long (s) is lost.
_ANSWERS_WITHIN = 5.0
#: So many tasks that were given back are remembered.
_REMEMBERED = 1000
#: The header with which a quorum queue tells how often a message came back.
_COUNTED = "x-delivery-count"
#: AMQP knows no higher prefetch count, and takes 0 for none.
_MOST = 0xFFFF


class _Held(NamedTuple):
    """A task that was given to the pool, which may be unknown or long."""

    task: str
    #: A reading of ``monotonic()``.
    since: float
    #: It stays unacknowledged on the present connection until it ends.
    late: bool


class Prefetch:
    """How much one worker takes, over all the connections that it makes.

    Without *limits*, as much as Celery would.
    """

    def __init__(self, consumer: Any, *, limits: bool = True) -> None:
        self._consumer = consumer
        self._limits = limits
        self._run_times, self._scheduled = RunTimes(), 0
        #: Run time (s) of tasks that all begin in time, with as many as Celery takes.
        self._short = BEGINS_WITHIN / max(consumer.prefetch_multiplier, 1)
        self._held: dict[Request, _Held] = {}
        self._gone_back = LimitedSet(maxlen=_REMEMBERED)
        self._short_in_a_row = 0
        self._limited = False
        self._apart = True
        self._bell: Bell | None = None
        # Before Celery makes its strategies, which keep the first.
        self._give_to_pool: Callable[[Request], Any] = consumer.on_task_request
        consumer.on_task_request = self._begin
        make_handler = consumer.create_task_handler
        consumer.create_task_handler = lambda: self._receiver(make_handler())

    @property
    def full(self) -> bool:
        """Whether it takes nothing now, for it could not begin it."""
        return self._limited and self._started and not self._tap.open

    def start(self) -> None:
        """The consumer has a new connection, and is about to consume."""
        consumer, tasks = self._consumer, self._consumer.task_consumer
        self._started = self._napping = self._put_off = False
        self._apart = not (self._limits and can_turn(self._consumer))
        self._limited = not self._apart
        if self._apart:
            return
        self._thread, self._short_in_a_row = threading.get_ident(), 0
        # A tag of the old connection cannot be acknowledged any more.
        self._held = {r: held._replace(late=False) for r, held in self._held.items()}
        self._tap = Tap(consumer, self._came_meanwhile, self._ring)
        tasks.consume, tasks.qos = self._consume, self._qos
        if consumer.hub is not None:
            self._seen: object = None
            self._bell = self._bell or Bell()
            consumer.hub.add_reader(self._bell.fd, self._answer)
            consumer.hub.on_tick.add(self._turn)
        else:
            self._turn_with(consumer.connection)
        # Its answer tells how Celery sets it here.
        consumer.qos.update()

    def watch(self, active: Iterable[Request], scheduled: int) -> None:
        """Look at what is *active*, from any thread: a task may be longer than ever.

        *scheduled* is how many are held until they are due.
        """
        # After a lost connection Celery may forget some of them.
        self._scheduled = scheduled if self._consumer.restart_count > 0 else 0
        for request in () if self._limited or self._apart else active:
            lasted = time() - (request.time_start or time())
            if lasted > self._short:
                task = request.task.name
                self._run_times.goes_on(task, lasted)
                self._held[request] = _Held(task, monotonic() - lasted, late=False)
                self._short_in_a_row = 0
                self._limited = True

    def keep_alive(self) -> None:
        """Have Redis not take an idle connection for a dead one, once a second, by the loop.

        Who consumes asks it for tasks as often; who does not, but works for minutes, would lose the
        connection (Heroku's Redis closes one after 5 minutes), and give back what it runs.
        """
        connection = idle_redis(getattr(self._consumer.task_consumer, "channel", None))
        if connection is None:
            return
        connection.send_command("PING", check_health=False)
        if not connection.can_read(timeout=_ANSWERS_WITHIN):
            raise ConnectionError("the broker does not answer")
        connection.read_response()

    # -- what Celery calls in place of its own

    def _begin(self, request: Request) -> Any:
        """A task is about to be given to the pool, which may run it here and now."""
        if not self._apart:
            task = request.task.name
            if self._limited or self._run_times.of(task) > self._short:
                if self._fell_due_without_room(request):
                    give_back(request)
                    return None
                self._take(request, task)
        return self._give_to_pool(request)

    def _fell_due_without_room(self, request: Request) -> bool:
        """Whether others may begin it sooner, of which this worker has held many until now."""
        loops = threading.get_ident() == self._thread
        if request.eta is None or not loops or self._room_in_pool() >= 0:
            return False
        return self._goes_back(request.message)

    def _goes_back(self, message: Any) -> bool:
        """Whether a message that there is no room for goes back; it is then remembered.

        Nothing may go round in circles, so each worker gives it back once; or be dropped by a queue
        that counts how often, as quorum queues do.
        """
        again = (message.delivery_info or {}).get("redelivered")
        headers = message.headers or {}
        task_id = headers.get("id")
        if again and (task_id is None or task_id in self._gone_back or _COUNTED in headers):
            return False
        if task_id is not None:
            self._gone_back.add(task_id)
        return True

    def _take(self, request: Request, task: str) -> None:
        self._held[request] = _Held(task, monotonic(), bool(request.task.acks_late))
        self._tap.used = True
        if self._run_times.of(task) > self._short:
            self._short_in_a_row = 0
            self._limited = True
        else:
            self._short_in_a_row += 1
        # Timers of gevent, eventlet are not the loop's.
        if threading.get_ident() == self._thread:
            self._settle()

    def _receiver(self, handle: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def receive(message: Any) -> Any:
            if self._limited and not self._takes(message):
                return None
            result = handle(message)
            if self._limited and (message.headers or {}).get("eta") and self._room() <= 0:
                self._settle()  # it was due, and is for the timer to begin
            return result

        self._handle = receive
        return receive

    def _came_meanwhile(self, message: Any) -> None:
        self._handle(message)

    def _takes(self, message: Any) -> bool:
        """Whether a message that has come is taken; if not, it is kept for later or given back."""
        if self._tap.keeps(message):
            return False
        if self._room() <= 0:
            self._settle()
        if self._tap.open or (message.headers or {}).get("eta") or not self._goes_back(message):
            return True
        message.requeue()
        return False

    def _consume(self, *args: Any, **kwargs: Any) -> None:
        self._started = True
        if self._limited and self._room() <= 0:
            return
        self._tap.turn_on(*args, narrow=self._limited, **kwargs)

    def _qos(
        self, prefetch_size: int = 0, prefetch_count: int = 0, apply_global: bool = False
    ) -> None:
        """Celery sets its prefetch count."""
        self._celerys, tap = prefetch_count, self._tap
        tap.shared = apply_global
        if not tap.pushes or self._apart:
            tap.set_count(prefetch_size, prefetch_count, apply_global)
            return
        tap.used = self._limited
        if threading.get_ident() == self._thread:
            self._settle()
        else:  # a task that is acknowledged after a lost connection, by a thread of the pool
            self._put_off = True
            self._ring()

    # -- the loop's thread

    def _turn_with(self, connection: Any) -> None:
        """Have a loop without timers look once in a while."""
        drain_events, looked = connection.drain_events, monotonic()

        def drain(timeout: float | None = None, **kwargs: Any) -> Any:
            nonlocal looked
            if (self._limited or self._put_off) and self._started:
                self._put_off = False
                self._learn()
                self._settle()
            if monotonic() - looked >= 1.0:
                looked = monotonic()
                self.keep_alive()
            waits = self._limited and (self._held or not self._tap.open)
            return drain_events(
                timeout=min(timeout or _LOOK, _LOOK) if waits else timeout, **kwargs
            )

        connection.drain_events = drain

    @property
    def _running(self) -> bool:
        """Whether the worker does not shut down, when it is not to consume any more."""
        consumer = self._consumer
        return consumer.blueprint.state == RUN and consumer.task_consumer is not None

    def _turn(self) -> None:
        """The event loop is about to wait: have it turn once more if something has changed."""
        if not self._limited or not self._started or self._bell is None:
            return
        self._learn()
        seen = self._room(), len(self._held)
        if seen != self._seen:
            self._seen = seen
            self._bell.ring()

    def _answer(self) -> None:
        """Called by the event loop as for a message: what it leads to is done in the next turn."""
        assert self._bell is not None
        self._bell.answer()
        if not self._running or not self._started:
            return
        self._settle()
        self._nap()
        if self._tap.pushes:
            # We may have read more than we waited for, off a socket that has no more to say (TLS).
            connection = self._consumer.connection
            connection.transport.on_readable(connection.connection, self._consumer.hub)

    def _nap(self) -> None:
        # Not while the loop prepares to wait: it knows by then for how long.
        if not self._tap.open and not self._napping:
            self._napping = True
            self._consumer.hub.call_later(_LOOK, self._wake)

    def _wake(self) -> None:
        self._napping = False
        if self._limited and self._running:
            self._nap()

    def _learn(self) -> None:
        """Note the run times of what has ended."""
        now = monotonic()
        for request, held in list(self._held.items()):
            if request in worker_state.reserved_requests:
                continue
            del self._held[request]
            if request.time_start is not None:
                lasted = time() - request.time_start
                # The clock may step.
                self._run_times.ended(held.task, min(max(lasted, 0.0), now - held.since))

    def _room(self) -> int:
        """How many more tasks it may take."""
        return self._room_in_pool([request.task.name for request in overdue(self._consumer)])

    def _room_in_pool(self, besides: Sequence[str] = ()) -> int:
        """The same where tasks of these names are to begin *besides* those that were begun."""
        now = monotonic()
        run_times = [
            max(self._run_times.of(held.task), now - held.since)
            for held in list(self._held.values())
        ]
        run_times += map(self._run_times.of, besides)
        held = len(worker_state.reserved_requests) + len(besides)
        return room(self._slots(), held, run_times)

    def _settle(self) -> None:
        """Consume as much as there is room for."""
        if self._tap.turning or not self._running:
            return
        try:
            self._adjust()
        except self._consumer.connection_errors:
            raise
        except Exception:
            logger.exception("the prefetch is left to Celery after an error")
            self._leave()

    def _adjust(self) -> None:
        if self._short_in_a_row >= SHORT_IN_A_ROW and not self._any_long():
            self._limited = False
            self._short_in_a_row = 0
            self._held.clear()
        space = self._room() if self._limited else None
        if space is not None and space <= 0:
            if self._tap.open and not can_turn(self._consumer):  # a queue was added meanwhile
                self._leave()
            else:
                self._tap.turn_off()
            return
        if self._tap.pushes:
            self._allow(space)
        if self._started and not self._tap.open:
            self._tap.used = False
            self._tap.turn_on(narrow=self._limited)

    def _leave(self) -> None:
        """Leave it to Celery until the next connection."""
        self._apart, self._limited = True, False
        if self._tap.pushes:
            self._allow(None)
        if self._started:
            self._tap.turn_on(narrow=False)

    def _allow(self, space: int | None) -> None:
        """Have the broker push no more than there is room for, or what Celery wants."""
        count = self._celerys if space is None else self._count(space)
        self._tap.allow(count, narrow=space is not None)

    def _count(self, space: int) -> int:
        """The prefetch count: it includes what is delivered and not yet acknowledged."""
        consumer = self._consumer
        unacknowledged = 0
        if self._tap.shared:
            buckets = list(consumer.task_buckets.values())
            unacknowledged = (
                sum(held.late and not r.acknowledged for r, held in list(self._held.items()))
                + sum(len(bucket.contents) for bucket in buckets if bucket)
                + max(consumer.qos.value - consumer.initial_prefetch_count, self._scheduled)
            )
        count = unacknowledged + space
        if self._celerys:
            count = min(count, self._celerys)
        return count if count <= _MOST else 0

    def _ring(self) -> None:
        if self._bell is not None:
            self._bell.ring()

    def _any_long(self) -> bool:
        return any(
            self._run_times.of(held.task) > self._short for held in list(self._held.values())
        )

    def _slots(self) -> int:
        autoscaler = getattr(self._consumer.controller, "autoscaler", None)
        slots = autoscaler.max_concurrency if autoscaler else self._consumer.pool.num_processes
        return max(int(slots), 1)
