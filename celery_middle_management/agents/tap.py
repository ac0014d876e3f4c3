"""The consumers of one connection, which can be cancelled for a while, and let so much through.

What the broker delivers before it answers is kept, and looked at afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Tap:
    """Only the thread of the worker's loop may turn it."""

    def __init__(
        self, consumer: Any, handle: Callable[[Any], Any], turned: Callable[[], None]
    ) -> None:
        """*handle* gets what was delivered meanwhile; *turned* is called after each change."""
        tasks = consumer.task_consumer
        self._cancel, self._consume, self._qos = tasks.cancel, tasks.consume, tasks.qos
        self._errors = consumer.channel_errors
        self._handle, self._turned = handle, turned
        #: Whether the broker sends messages by itself, as many as the prefetch count allows.
        self.pushes = consumer.connection.transport.driver_type == "amqp"
        #: Whether that count is one for the whole channel, or for each consumer.
        self.shared = False
        self.open = self.turning = False
        #: What was allowed last may have been delivered since.
        self.used = False
        self._narrow = False
        self._sent = -1
        self._arrived: list[Any] = []

    def keeps(self, message: Any) -> bool:
        """Whether a message that has come is kept until the change under way is through."""
        if self.turning:
            self._arrived.append(message)
        return self.turning

    def turn_on(self, *args: Any, narrow: bool, **kwargs: Any) -> None:
        """Consume; *narrow*: with a lower count than Celery's, that holds from the begin on."""
        self.open, self._narrow = True, narrow
        self._turn(lambda: self._consume(*args, **kwargs))

    def turn_off(self) -> None:
        """Consume no more for now."""
        if self.open:
            self.open = False
            self._turn(self._cancel)

    def allow(self, count: int, *, narrow: bool) -> None:
        """Have the broker push so many at once, which is *narrow* where it is not Celery's count.

        A count for each consumer holds for those that begin afterwards: it turns the tap off.
        """
        if count == self._sent and not (self.used and self.open and not self.shared):
            return
        if not self.shared and (self._narrow or narrow):
            self.turn_off()
        self._sent, self.used = count, False
        self._turn(lambda: self.set_count(0, count, self.shared))

    def set_count(self, *how: Any) -> None:
        """Set the prefetch count, as Celery would."""
        self._qos(*how)

    def _turn(self, change: Callable[[], Any]) -> None:
        self.turning = True
        try:
            change()
        except self._errors as error:
            # Such as for a queue that is gone: a new connection declares it.
            raise ConnectionError(f"could not consume: {error}") from error
        finally:
            self.turning = False
            arrived, self._arrived = self._arrived, []
            self._turned()
        for message in arrived:
            self._handle(message)


def can_turn(consumer: Any) -> bool:
    """Whether its broker and its queues bear that their consumer leaves for a while."""
    known = consumer.connection.transport.driver_type in ("redis", "amqp")
    bounded = consumer.prefetch_multiplier > 0
    return known and bounded and not any(map(_needs_its_consumer, consumer.task_consumer.queues))


def _needs_its_consumer(queue: Any) -> bool:
    """Whether a queue is lost, or taken over by another consumer, when it is not consumed from."""
    arguments = queue.queue_arguments or {}
    return bool(
        queue.auto_delete
        or queue.exclusive
        or queue.no_ack
        or queue.expires
        or (queue.exchange and queue.exchange.type == "fanout")
        or {"x-expires", "x-single-active-consumer"} & {*arguments}
    )
