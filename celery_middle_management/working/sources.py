"""The two ways in which messages come to a worker, and how each is held back.

Neither cancels a consumer, rejects a message or reorders one in ordinary work.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from time import monotonic
from typing import Any, Protocol

from celery_middle_management.celery_internals import (
    asks,
    idle_redis,
    prefetch_can_change,
)
from celery_middle_management.core.prefetch import Prefetch

#: Redis closes connections that are silent for longer than its ``timeout``. One that is held back
#: sends it an empty line, to which there is no answer, as often (s) as one that asks for tasks.
_EMPTY_LINE_EVERY = 1.0


class Rule(Protocol):
    """The worker's side, as far as a source asks for it."""

    @property
    def wanted(self) -> bool:
        """Whether the worker is to consume, that is, not cordoned."""

    @property
    def free(self) -> bool:
        """Whether nothing but Celery's own rule counts."""

    def may_take(self) -> bool:
        """Whether there is room for a message; no answer of the broker is under way now."""

    def held_back(self, held: bool) -> None:
        """Whether the broker is asked for nothing, so that a free slot has to wake the loop."""

    def wake(self) -> None:
        """Have the loop turn once more."""


class Pulled:
    """kombu asks such a broker (Redis) for each message, while ``can_consume`` allows it."""

    consumes = True
    #: Whether the worker can be kept from taking more than it has slots for.
    limitable = True

    def __init__(self, consumer: Any, rule: Rule) -> None:
        self._channel = consumer.task_consumer.channel
        self._rule = rule
        self._celerys: Callable[[], bool] = self._channel.qos.can_consume
        self._channel.qos.can_consume = self.look
        self._silent_until = 0.0

    def look(self) -> bool:
        """Whether the channel may ask for a message, or has; in place of its ``can_consume``."""
        rule = self._rule
        if rule.free:
            rule.held_back(False)
            return self._celerys()
        if asks(self._channel):
            return True  # the answer may hold a task, which must not lie unread
        rule.held_back(True)  # before looking, so that a task that ends meanwhile wakes the loop
        if rule.may_take() and self._celerys():
            rule.held_back(False)
            return True
        self._keep_alive()
        return False

    def _keep_alive(self) -> None:
        """Of the connection over which nothing is asked for."""
        connection = idle_redis(self._channel)
        if connection is None:
            return
        connection.can_read(timeout=0)  # raises where it is closed, which the loop has to know
        now = monotonic()
        if now >= self._silent_until:
            self._silent_until = now + _EMPTY_LINE_EVERY
            connection.send_packed_command([b"\r\n"], check_health=False)
            # As if there were answers all the time: redis-py would wait for one before the next
            # BRPOP, for as long as it took.
            connection.next_health_check = float("inf")

    def room(self, _: int) -> bool:
        """Whether Celery's prefetch count has room."""
        return self._celerys()

    def set_prefetch(self, prefetch: Prefetch) -> None:
        """Nothing has to be changed: the channel asks each time."""

    def stop(self) -> bool:
        """Nothing has to be done; returns whether nothing can come any more."""
        return not asks(self._channel)

    def go_on(self) -> None:
        """Nothing has to be done."""


class Pushed:
    """Such a broker (RabbitMQ) sends messages by itself, as many as the prefetch count allows."""

    def __init__(self, consumer: Any, rule: Rule) -> None:
        self._consumer = consumer
        self._rule = rule
        self._begun = False
        self.consumes = True
        self.limitable = prefetch_can_change(consumer)
        tasks = consumer.task_consumer
        self._consume: Callable[..., Any] = tasks.consume
        tasks.consume = self._begin
        _send_counts_in_the_loop(consumer.qos)
        _wake_when_raised(consumer.qos, rule.wake)

    def _begin(self, *args: Any, **kwargs: Any) -> None:
        """Celery's loop begins to consume, or a remote control command has added a queue."""
        self._begun = True
        self.consumes = self._rule.wanted
        if self.consumes:
            self._consume(*args, **kwargs)

    def room(self, unacknowledged: int) -> bool:
        """Whether the prefetch count surely has room beside so many messages."""
        consumer = self._consumer
        # A count that cannot change is the first one, whatever Celery has made of it.
        count = consumer.qos.value if self.limitable else consumer.initial_prefetch_count
        return not count or unacknowledged < count

    def set_prefetch(self, prefetch: Prefetch) -> None:
        """Change the multiplier of Celery's prefetch count, now and for later connections.

        Celery sends a changed ``qos.value`` in the next turn of its loop.
        """
        consumer = self._consumer
        now = consumer.prefetch_multiplier
        celerys = consumer.controller.prefetch_multiplier
        new = 1 if prefetch is Prefetch.ONE_PER_SLOT else celerys
        if new == now:  # 0 stands for no limit
            return
        more = consumer.initial_prefetch_count // now * (new - now)
        consumer.prefetch_multiplier = new
        consumer.initial_prefetch_count += more
        if more > 0:
            consumer.qos.increment_eventually(more)
        else:
            consumer.qos.decrement_eventually(-more)

    def look(self) -> None:
        """The broker is asked for nothing."""

    def stop(self) -> bool:
        """Consume no more; returns whether nothing can come any more."""
        tasks = self._consumer.task_consumer
        tasks.cancel()
        self.consumes = False
        return not asks(tasks.channel)

    def go_on(self) -> None:
        """Consume again, from the same queues as before."""
        if self._begun:
            self._consume()
        self.consumes = True


def _send_counts_in_the_loop(qos: Any) -> None:
    """Leave it to the loop, which is this thread, to send a changed prefetch count.

    After a lost connection Celery has any thread send it in which a task begins or ends that was
    taken before. That and the loop then read one another's answers off the new connection.
    """
    loop, celerys = get_ident(), qos.set

    def send(count: int) -> Any:
        # The loop sends in its next turn what qos.value has become.
        return celerys(count) if get_ident() == loop else count

    qos.set = send


def _wake_when_raised(qos: Any, wake: Callable[[], None]) -> None:
    """Have an event loop turn at once when the prefetch count is raised, for it to be sent.

    A scheduled task raises it. The loop may have read that task before it waits for events, of
    which there is none until the count is sent: what is behind the task would wait for a timer.
    """
    celerys = qos.increment_eventually

    def raised(n: int = 1) -> Any:
        value = celerys(n)
        wake()
        return value

    qos.increment_eventually = raised
