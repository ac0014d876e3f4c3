"""Celery's signals, turned into records of the tally of the app that they are about.

Only messages that we stamped count, on both sides: one published without the package shows up in
the next count of the broker and can never drive the counters below zero.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from time import monotonic, time
from typing import Any
from weakref import WeakSet, WeakValueDictionary

from billiard.exceptions import Terminated, TimeLimitExceeded, WorkerLostError
from celery import Celery, Task, signals, states
from celery.utils.time import maybe_iso8601, maybe_make_aware

from celery_middle_management.celery_internals import copied
from celery_middle_management.core.batch import (
    BEGUN,
    ENDED,
    FINISHED,
    PUBLISHED,
    STARTED,
    UNPLACED,
    UNSERVED,
)
from celery_middle_management.core.headers import COPIES, HEADER, SOON, STARTABLE, eta_of
from celery_middle_management.counting.delayed import without_delay
from celery_middle_management.counting.marks import MARK, Mark, mark_messages
from celery_middle_management.counting.routing import Routes
from celery_middle_management.counting.tally import Tally

#: When (``monotonic()``) a request began, and the queue that it came from.
_BEGUN = "_mm_begun"
#: Ends of tasks that only the worker's parent process sees, each under its own exception.
_SEEN_BY_PARENT = (WorkerLostError, TimeLimitExceeded, Terminated)
#: What a worker tells about, by the receiver's name. The sender is a task or a consumer: either
#: knows its app.
_OF_WORKERS = {
    "task_received": signals.task_received,
    "task_prerun": signals.task_prerun,
    "task_postrun": signals.task_postrun,
    "task_failure": signals.task_failure,
    "task_revoked": signals.task_revoked,
    "task_internal_error": signals.task_internal_error,
    "task_unknown": signals.task_unknown,
    "task_rejected": signals.task_rejected,
}
#: An app's handlers are kept in an attribute of the app, so that they live as long as it.
_ATTRIBUTE = "_middle_management_handlers"
_managed: WeakSet[Celery] = WeakSet()
_by_mark: WeakValueDictionary[str, SignalHandlers] = WeakValueDictionary()


class SignalHandlers:
    """The receivers of one app."""

    def __init__(
        self,
        app: Celery,
        tally: Tally,
        counts: Callable[[str], bool],
        published: Callable[[], None],
        *,
        in_reach: Callable[[], bool] = lambda: True,
        fanout_waits: Callable[[], bool] = lambda: True,
    ) -> None:
        """*counts* says whether a queue is ours; *published* is told of each task.

        *in_reach* says whether anybody could be hired for the app's tasks at all.
        """
        self.app = app
        self._mark = Mark(secrets.token_hex(4))
        self._tally = tally
        self._counts = counts
        self._published = published
        self._in_reach = in_reach
        self._routes = Routes(lambda: app.amqp.queues, fanout_waits=fanout_waits)
        self._received: WeakValueDictionary[str, Any] = WeakValueDictionary()
        #: Requests of tasks with a strategy of their own, as far as anything still holds them.
        self.apart: WeakSet[Any] = WeakSet()
        self._ended: deque[tuple[str, int]] = deque(maxlen=1000)
        _by_mark[self._mark] = self

    def claim(self) -> bool:
        """Become the app's handlers; returns whether it had none yet.

        Threads that publish at once may set it up at once. From here on its messages are known.
        """
        _managed.add(self.app)
        return vars(self.app).setdefault(_ATTRIBUTE, self) is self

    def connect(self) -> None:
        """Have Celery tell what the app publishes, and what its workers do."""
        for name, signal in _OF_WORKERS.items():
            signal.connect(_forward_to(name), weak=False, dispatch_uid=f"{__name__}.{name}")
        mark_messages(self.app, self._mark)

    def before_task_publish(
        self,
        headers: dict[str, Any],
        declare: Iterable[Any] | None = None,
        exchange: Any = None,
        routing_key: str | None = None,
        body: Any = None,
        **_: Any,
    ) -> None:
        _unstamp(headers)
        if not self._in_reach():
            return
        queues = self._routes.queues_of(exchange, routing_key, declare)
        ours = [queue for queue in queues if self._counts(queue)]
        if ours or not queues:
            headers[MARK] = str(self._mark)
            startable = self._due(eta_of(headers, body)) or self._tally.now()
            headers[STARTABLE] = round(startable, 3)
        else:
            self._published()  # nothing of a pool's, but the pools' minimum is to be kept
        for queue in queues:
            if queue not in ours:
                self._tally.add(UNSERVED, queue, 0.0)
        if ours:
            headers[HEADER] = ours[0]
        if len(ours) > 1:
            headers[COPIES] = ours

    def after_task_publish(self, headers: Mapping[str, Any], body: Any = None) -> None:
        due = self._due(eta_of(headers, body))
        if HEADER in headers:
            for queue in headers.get(COPIES) or (headers[HEADER],):
                self._tally.add(PUBLISHED, queue, due)
        else:
            self._tally.add(UNPLACED, "", due)
        self._published()

    def task_received(self, request: Any = None, **_: Any) -> None:
        self._received[request.id] = request
        if request.task.Strategy != Task.Strategy:
            self.apart.add(request)

    def task_prerun(self, task: Any = None, **_: Any) -> None:
        request = task.request
        if request.is_eager:
            return
        queue = self._stamped(request)
        setattr(request, _BEGUN, (monotonic(), queue))
        if queue:
            self._tally.add(STARTED, queue, _field(request, STARTABLE) or 0.0)
        else:
            self._tally.add(BEGUN, "", 0.0)

    def task_postrun(
        self, task: Any = None, retval: Any = None, state: str | None = None, **_: Any
    ) -> None:
        request = task.request
        if request.is_eager:
            return
        at, queue = getattr(request, _BEGUN, None) or (monotonic(), self._stamped(request))
        # Without a state, a child is being killed, for its time limit or a revoke.
        requeued = state == states.REJECTED and getattr(retval, "requeue", False)
        if queue and state is not None and not requeued:
            self._tally.add(FINISHED, queue, monotonic() - at)
        else:
            self._tally.add(ENDED, "", 0.0)

    def task_failure(
        self, sender: Any = None, task_id: str = "", exception: Any = None, **_: Any
    ) -> None:
        # A failure inside the task is followed by task_postrun; these never are.
        if isinstance(exception, _SEEN_BY_PARENT):
            request = self._received.get(task_id)
            self._ended_by_parent(request.request_dict if request is not None else sender.request)

    def task_revoked(self, request: Any = None, **_: Any) -> None:
        self._ended_by_parent(request)

    def task_internal_error(self, request: Any = None, **_: Any) -> None:
        self._ended_by_parent(request)

    def task_unknown(self, message: Any = None, **_: Any) -> None:
        self._finished_at_once(message.headers)

    task_rejected = task_unknown

    def _ended_by_parent(self, request: Any) -> None:
        """Count once: Celery may tell the end of one attempt by several signals."""
        attempt = (str(_field(request, "id")), int(_field(request, "retries") or 0))
        if attempt not in self._ended:
            self._ended.append(attempt)
            self._finished_at_once(request)

    def _finished_at_once(self, request: Any) -> None:
        queue = self._stamped(request)
        if queue:
            self._tally.add(FINISHED, queue, 0.0)

    def queue_of(self, request: Any) -> str:
        """The queue that a worker took this request of its from."""
        told = self._stamped(request.request_dict)
        if told:
            return told
        key = without_delay(request.delivery_info.get("routing_key") or "")
        queues = self._routes.queues_of(request.delivery_info.get("exchange"), key)
        return self._consumed(queues) or key

    def _stamped(self, request: Any) -> str | None:
        """The queue that a message came from, as its stamp tells."""
        copies = _field(request, COPIES)
        return self._consumed(copies) if copies else _field(request, HEADER)

    def _consumed(self, queues: Sequence[str]) -> str | None:
        """The one of several that this process consumes, or the first."""
        if len(queues) < 2:
            return next(iter(queues), None)
        consumed: Container[str] = self.app.amqp.queues.consume_from
        return next((queue for queue in queues if queue in consumed), queues[0])

    def _due(self, eta: Any) -> float:
        """The Unix time (s) of an ETA, 0 for what is due as good as now."""
        if not eta:
            return 0.0
        try:
            when = maybe_iso8601(eta)
        except (TypeError, ValueError, AttributeError):
            when = None  # the worker will refuse it; until then it waits
        due = maybe_make_aware(when, self.app.timezone).timestamp() if when else 0.0
        return due if due > time() + SOON else 0.0


def handlers_of(app: Any) -> SignalHandlers | None:
    """The handlers of *app*, None if it is not managed."""
    found = getattr(app, _ATTRIBUTE, None)
    return found if isinstance(found, SignalHandlers) else None


def watch_publishing(set_up_late: Callable[[], None]) -> None:
    """Have every message that is published in this process looked at.

    *set_up_late* is called with one that no managed app has marked: its app may not be set up yet.
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
            _unstamp(headers)
        else:
            handlers.before_task_publish(headers, **message)

    signals.before_task_publish.connect(before_task_publish, weak=False, dispatch_uid=__name__)
    signals.after_task_publish.connect(_after_task_publish, weak=False, dispatch_uid=__name__)


def _after_task_publish(
    headers: Mapping[str, Any] | None = None, body: Any = None, **_: Any
) -> None:
    handlers = _by_mark.get(headers.get(MARK, "")) if headers else None
    if headers and handlers is not None:
        handlers.after_task_publish(headers, body)


def _by_reply_address(address: str | None) -> SignalHandlers | None:
    """Whose message it is that bears no mark: it was on its way when its app was set up."""
    for app in copied(_managed) if address else ():
        handlers = handlers_of(app)
        # Celery's default for it: an address of this app and this thread alone.
        if handlers is not None and address == app.thread_oid:
            return handlers
    return None


def _forward_to(name: str) -> Callable[..., None]:
    receive = getattr(SignalHandlers, name)

    def receiver(sender: Any = None, **told: Any) -> None:
        handlers = handlers_of(getattr(sender, "app", None))
        if handlers is not None:
            receive(handlers, sender=sender, **told)

    return receiver


def _unstamp(headers: dict[str, Any]) -> None:
    """Take off what a retry or a chain handed on of an earlier message."""
    for name in (HEADER, COPIES, STARTABLE, MARK):
        headers.pop(name, None)


def _field(request: Any, name: str) -> Any:
    if isinstance(request, dict):
        return request.get(name)
    return getattr(request, name, None)
