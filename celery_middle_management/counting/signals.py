"""Connects each of Celery's signals to the counters of the app that the signal concerns.

A worker's signals say which app that is: the sender is a task or a consumer, and knows its app. The
signals of publishing do not, although several apps may publish in one process, even in one thread.
So the message itself identifies the app, in one of two ways:

- by *our mark*, a header that the app itself puts into every message that it sends
  (``counting.marks``). ``after_task_publish`` goes by the mark alone;
- by its *reply address*, if the message was on its way when its app was set up. That happens where
  nothing finalizes the app, as in a script that only calls ``send_task()``: its first message was
  made before there was a mark. Celery's default reply address belongs to one app and one thread
  alone. Without it, the first task of each such process would only be found by the next count.

Our *other headers* (``core.headers``) say nothing about the app. They name the queue, so that a
worker knows that a message was counted when it was published, and in which queue.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakSet, WeakValueDictionary

from celery import Celery, signals

from celery_middle_management.celery_internals import copied
from celery_middle_management.counting.marks import MARK, Mark, mark_messages
from celery_middle_management.counting.publish_counter import PublishCounter, remove_our_headers
from celery_middle_management.counting.routing import Routes
from celery_middle_management.counting.source_queue import SourceQueues
from celery_middle_management.counting.tally import Tally
from celery_middle_management.counting.task_counter import TaskCounter

#: A worker's signals; their sender is a task or a consumer.
_OF_WORKERS = (
    (signals.task_received, TaskCounter.task_received),
    (signals.task_prerun, TaskCounter.task_prerun),
    (signals.task_postrun, TaskCounter.task_postrun),
    (signals.task_failure, TaskCounter.task_failure),
    (signals.task_revoked, TaskCounter.task_revoked),
    (signals.task_internal_error, TaskCounter.task_internal_error),
    (signals.task_unknown, TaskCounter.task_unknown),
    (signals.task_rejected, TaskCounter.task_rejected),
)
#: The attribute of an app that holds its handlers, so that they live as long as the app.
_ATTRIBUTE = "_middle_management_handlers"
_managed: WeakSet[Celery] = WeakSet()
_by_mark: WeakValueDictionary[str, SignalHandlers] = WeakValueDictionary()


class SignalHandlers:
    """The handlers of the signals about one app."""

    def __init__(
        self,
        app: Celery,
        tally: Tally,
        is_ours: Callable[[str], bool],
        on_publish: Callable[[], None],
        *,
        in_reach: Callable[[], bool] = lambda: True,
        fanout_waits: Callable[[], bool] = lambda: True,
    ) -> None:
        """See :class:`PublishCounter` and :class:`Routes` for what the functions return."""
        self.app = app
        self._mark = Mark(secrets.token_hex(4))
        routes = Routes(lambda: app.amqp.queues, fanout_waits=fanout_waits)
        self.source_queues = SourceQueues(app, routes)
        self.published = PublishCounter(
            app,
            self._mark,
            tally,
            routes,
            is_ours=is_ours,
            on_publish=on_publish,
            in_reach=in_reach,
        )
        self.tasks = TaskCounter(tally, self.source_queues)
        _by_mark[self._mark] = self

    def claim(self) -> bool:
        """Become the app's handlers; return False if it has some already.

        Threads that publish at the same time may each try to set the app up. From here on, the
        app's messages are recognized.
        """
        _managed.add(self.app)
        return vars(self.app).setdefault(_ATTRIBUTE, self) is self

    def connect(self) -> None:
        """Begin to count what the app publishes, and what its workers do."""
        for signal, count in _OF_WORKERS:
            signal.connect(_for_senders_app(count), weak=False, dispatch_uid=__name__)
        mark_messages(self.app, self._mark)


def handlers_of(app: Any) -> SignalHandlers | None:
    """Return the handlers of *app*, None if it is not managed."""
    found = getattr(app, _ATTRIBUTE, None)
    return found if isinstance(found, SignalHandlers) else None


def watch_publishing(set_up_late: Callable[[], None]) -> None:
    """Watch every message that is published in this process, whichever app publishes it.

    *set_up_late* is called for a message without a mark: its app may not be set up yet.
    """

    def before_task_publish(
        headers: dict[str, Any] | None = None, properties: Any = None, **message: Any
    ) -> None:
        if headers is None:
            return
        mark = headers.pop(MARK, None)
        handlers = _by_mark.get(mark) if isinstance(mark, Mark) else None
        if handlers is None:
            set_up_late()
            handlers = _by_reply_address((properties or {}).get("reply_to"))
        if handlers is None:
            remove_our_headers(headers)
        else:
            handlers.published.before_task_publish(headers, **message)

    signals.before_task_publish.connect(before_task_publish, weak=False, dispatch_uid=__name__)
    signals.after_task_publish.connect(_after_task_publish, weak=False, dispatch_uid=__name__)


def _after_task_publish(
    headers: Mapping[str, Any] | None = None, body: Any = None, **_: Any
) -> None:
    handlers = _by_mark.get(headers.get(MARK, "")) if headers else None
    if headers and handlers is not None:
        handlers.published.after_task_publish(headers, body)


def _by_reply_address(address: str | None) -> SignalHandlers | None:
    for app in copied(_managed) if address else ():
        handlers = handlers_of(app)
        if handlers is not None and address == app.thread_oid:
            return handlers
    return None


def _for_senders_app(count: Callable[..., None]) -> Callable[..., None]:
    """Return a receiver that passes signals to *count*, if the sender's app is managed."""

    def receiver(sender: Any = None, **arguments: Any) -> None:
        handlers = handlers_of(getattr(sender, "app", None))
        if handlers is not None:
            count(handlers.tasks, sender=sender, **arguments)

    return receiver
