"""How a broker delivers messages to a worker, and how each way is held back.

A Redis broker is polled for each message; RabbitMQ pushes messages up to the prefetch count. In
ordinary work, neither way of holding back cancels a consumer, rejects a message or reorders one.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from time import monotonic
from typing import Any, Protocol

from celery import Task
from kombu.transport.virtual import Channel as VirtualChannel

from celery_middle_management.celery_internals import (
    asks,
    idle_redis,
    prefetch_can_change,
)
from celery_middle_management.core.prefetch import PrefetchLimit
from celery_middle_management.working.waker import Waker

#: Redis closes a connection that is silent for longer than its ``timeout``. So while polling is
#: held back, an empty line, which Redis does not answer, is sent as often (s) as a poll would be.
_EMPTY_LINE_EVERY = 1.0


class IntakeRule(Protocol):
    """What a delivery asks of the worker's intake."""

    @property
    def should_consume(self) -> bool:
        """Whether the worker should consume; False while it is cordoned."""

    @property
    def unrestricted(self) -> bool:
        """Whether Celery's prefetch count is the only limit."""

    def may_take(self) -> bool:
        """Return whether there is room for a message. Only called while none is on its way."""


class PolledDelivery:
    """kombu polls the broker, such as Redis, for each message if ``qos.can_consume`` allows it."""

    consuming = True
    #: Whether the worker can be kept from taking more than it has slots for.
    can_limit = True

    def __init__(self, consumer: Any, rule: IntakeRule, waker: Waker) -> None:
        self._channel = consumer.task_consumer.channel
        self._rule = rule
        self._waker = waker
        self._prefetch_has_room: Callable[[], bool] = self._channel.qos.can_consume
        self._channel.qos.can_consume = self.can_consume
        self._silent_until = 0.0

    def can_consume(self) -> bool:
        """Return whether the channel may poll for a message; replaces its QoS's own method."""
        if self._rule.unrestricted:
            self._waker.waiting = False
            return self._prefetch_has_room()
        if asks(self._channel):
            return True  # the answer may hold a task, which must not be left unread
        self._waker.waiting = True  # before the check, so that a task that ends during it wakes us
        if self._rule.may_take() and self._prefetch_has_room():
            self._waker.waiting = False
            return True
        self._keep_alive()
        return False

    def _keep_alive(self) -> None:
        """Keep the connection alive while it is not polled."""
        connection = idle_redis(self._channel)
        if connection is None:
            return
        connection.can_read(timeout=0)  # raises if it is closed, so that the loop learns of it
        now = monotonic()
        if now >= self._silent_until:
            self._silent_until = now + _EMPTY_LINE_EVERY
            connection.send_packed_command([b"\r\n"], check_health=False)
            # Otherwise, for lack of answers, redis-py would do a health check before the next
            # BRPOP, and wait for its answer for as long as it takes.
            connection.next_health_check = float("inf")

    def prefetch_has_room(self, _: int) -> bool:
        """Return whether Celery's prefetch count has room."""
        return self._prefetch_has_room()

    def set_limit(self, limit: PrefetchLimit) -> None:
        """Do nothing: :meth:`can_consume` asks for the limit each time."""

    def stop_consuming(self) -> bool:
        """Return whether no message can arrive any more; :meth:`can_consume` stops the polling."""
        return not asks(self._channel)

    def resume_consuming(self) -> None:
        """Do nothing: :meth:`can_consume` resumes the polling."""


class PushedDelivery:
    """The broker (RabbitMQ) sends messages unasked, as many as the prefetch count allows.

    It also serves Redis with a fanout queue, whose polling cannot be held back.
    """

    def __init__(self, consumer: Any, rule: IntakeRule, waker: Waker) -> None:
        self._consumer = consumer
        self._rule = rule
        self._begun = False
        self.consuming = True
        self.can_limit = prefetch_can_change(consumer)
        tasks = consumer.task_consumer
        self._consume: Callable[..., Any] = tasks.consume
        tasks.consume = self._begin
        _send_counts_in_the_loop(consumer.qos)
        _wake_when_raised(consumer.qos, waker.wake)

    def _begin(self, *args: Any, **kwargs: Any) -> None:
        """Consume, if allowed. Called when Celery's loop begins, or remote control adds a queue."""
        self._begun = True
        self.consuming = self._rule.should_consume
        if self.consuming:
            self._consume(*args, **kwargs)

    def can_consume(self) -> bool:
        """Return True: no polling is held back."""
        return True

    def prefetch_has_room(self, unacknowledged: int) -> bool:
        """Return whether the prefetch count surely has room beyond *unacknowledged* messages."""
        consumer = self._consumer
        # If the count cannot be changed, the broker uses the initial one, whatever Celery's is now.
        count = consumer.qos.value if self.can_limit else consumer.initial_prefetch_count
        return not count or unacknowledged < count

    def set_limit(self, limit: PrefetchLimit) -> None:
        """Change the multiplier of Celery's prefetch count, now and for later connections.

        Celery sends a changed ``qos.value`` in the next turn of its loop.
        """
        consumer = self._consumer
        now = consumer.prefetch_multiplier
        configured = consumer.controller.prefetch_multiplier
        new = 1 if limit is PrefetchLimit.ONE_PER_SLOT else configured
        if new == now:  # 0 stands for no limit
            return
        more = consumer.initial_prefetch_count // now * (new - now)
        consumer.prefetch_multiplier = new
        consumer.initial_prefetch_count += more
        if more > 0:
            consumer.qos.increment_eventually(more)
        else:
            consumer.qos.decrement_eventually(-more)

    def stop_consuming(self) -> bool:
        """Cancel the consumer; return whether no message can arrive any more."""
        tasks = self._consumer.task_consumer
        tasks.cancel()
        self.consuming = False
        return not asks(tasks.channel)

    def resume_consuming(self) -> None:
        """Consume again, from the same queues as before."""
        if self._begun:
            self._consume()
        self.consuming = True


def delivery_for(consumer: Any) -> type[PolledDelivery | PushedDelivery]:
    """Return the kind of delivery that a worker's consumer has."""
    tasks = consumer.task_consumer
    # kombu reads fanout messages, too, while can_consume allows it.
    fanout = any(queue.exchange and queue.exchange.type == "fanout" for queue in tasks.queues)
    polled = isinstance(tasks.channel, VirtualChannel) and not fanout
    return PolledDelivery if polled else PushedDelivery


def gathers_messages(consumer: Any) -> bool:
    """Return whether a task gathers messages by a strategy of its own, as celery-batches does."""
    return any(task.Strategy != Task.Strategy for task in list(consumer.app.tasks.values()))


def has_queue_for_one_consumer(consumer: Any) -> bool:
    """Return whether a queue delivers to only one of its consumers, even if others have room."""
    tasks = consumer.task_consumer
    return tasks is not None and any(
        queue.exclusive or "x-single-active-consumer" in (queue.queue_arguments or {})
        for queue in tasks.queues
    )


def _send_counts_in_the_loop(qos: Any) -> None:
    """Have only the loop, which runs in this thread, send a changed prefetch count.

    After a lost connection, Celery sends it from whichever thread starts or ends a task that was
    taken before. That thread and the loop would then read each other's answers.
    """
    loop, set_count = get_ident(), qos.set

    def send(count: int) -> Any:
        # In its next turn, the loop sends the value that qos.value has by then.
        return set_count(count) if get_ident() == loop else count

    qos.set = send


def _wake_when_raised(qos: Any, wake: Callable[[], None]) -> None:
    """Wake the event loop when the prefetch count is raised, so that it sends the new count.

    A scheduled task raises it. The loop may read such a task and then wait for events, but none
    comes until the count is sent: the messages behind the task would wait for a timer.
    """
    increment = qos.increment_eventually

    def raised(n: int = 1) -> Any:
        value = increment(n)
        wake()
        return value

    qos.increment_eventually = raised
