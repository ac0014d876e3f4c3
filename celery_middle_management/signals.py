"""Celery's signals, turned into records of the tally.

Only messages that we stamped count, on both sides: one published without the package shows up in
the next count of the broker and can never drive the counters below zero.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from time import monotonic, time
from typing import Any
from weakref import WeakValueDictionary

from billiard.exceptions import Terminated, TimeLimitExceeded, WorkerLostError
from celery import Celery, signals, states
from celery.utils.time import maybe_iso8601, maybe_make_aware

from .delayed import queue_when_due
from .tally import FINISHED, PUBLISHED, Tally

#: The header that a counted message bears; its value is the queue that it was published to.
HEADER = "mm_queue"

#: A task that falls due within this time (s) is as good as due.
_SOON = 1.0

_STARTED = "_mm_started"

#: Ends of tasks that only the worker's parent process sees, each under its own exception.
_SEEN_BY_PARENT = (WorkerLostError, TimeLimitExceeded, Terminated)


class SignalHandlers:
    """The receivers of one app; Celery keeps weak references to them, so keep the object."""

    def __init__(
        self,
        app: Celery,
        tally: Tally,
        counts: Callable[[str], bool],
        published: Callable[[], None],
    ) -> None:
        """*counts* says whether a queue is ours; *published* is told after each task of ours."""
        self._app = app
        self._tally = tally
        self._counts = counts
        self._published = published
        self._received: WeakValueDictionary[str, Any] = WeakValueDictionary()
        self._ended: deque[tuple[str, int]] = deque(maxlen=1000)

    def connect(self) -> None:
        """Connect every receiver."""
        signals.before_task_publish.connect(self.before_task_publish)
        signals.after_task_publish.connect(self.after_task_publish)
        signals.task_received.connect(self.task_received)
        signals.task_prerun.connect(self.task_prerun)
        signals.task_postrun.connect(self.task_postrun)
        signals.task_failure.connect(self.task_failure)
        signals.task_revoked.connect(self.task_revoked)
        signals.task_internal_error.connect(self.task_internal_error)
        signals.task_unknown.connect(self.message_discarded)
        signals.task_rejected.connect(self.message_discarded)

    def before_task_publish(
        self,
        headers: dict[str, Any] | None = None,
        declare: Sequence[Any] | None = None,
        exchange: Any = None,
        routing_key: str | None = None,
        **_: Any,
    ) -> None:
        if headers is None:
            return
        queue = queue_when_due(self._app.amqp.queues, exchange, routing_key)
        queue = queue or queue_of(declare, exchange, routing_key)
        if queue is not None and self._counts(queue):
            headers[HEADER] = queue
        else:
            # A retry or a chain may hand the stamp of an earlier message on.
            headers.pop(HEADER, None)

    def after_task_publish(self, headers: Mapping[str, Any] | None = None, **_: Any) -> None:
        queue = headers.get(HEADER) if headers else None
        if headers and queue:
            eta = headers.get("eta")
            self._tally.add(PUBLISHED, queue, self._due(eta) if eta else 0.0)
            self._published()

    def task_received(self, request: Any = None, **_: Any) -> None:
        self._received[request.id] = request

    def task_prerun(self, task: Any = None, **_: Any) -> None:
        setattr(task.request, _STARTED, monotonic())

    def task_postrun(
        self, task: Any = None, retval: Any = None, state: str | None = None, **_: Any
    ) -> None:
        request = task.request
        if request.is_eager:
            return
        if state is None:
            return  # a child being killed, for its time limit or a revoke: the parent tells
        if state == states.REJECTED and getattr(retval, "requeue", False):
            return  # back in its queue
        started = getattr(request, _STARTED, None)
        self._finished(request, 0.0 if started is None else monotonic() - started)

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

    def message_discarded(self, message: Any = None, **_: Any) -> None:
        self._finished(message.headers, 0.0)

    def _ended_by_parent(self, request: Any) -> None:
        """Count once: Celery may tell the end of one attempt by several signals."""
        attempt = (str(_field(request, "id")), int(_field(request, "retries") or 0))
        if attempt not in self._ended:
            self._ended.append(attempt)
            self._finished(request, 0.0)

    def _finished(self, request: Any, runtime: float) -> None:
        queue = _field(request, HEADER)
        if queue:
            self._tally.add(FINISHED, queue, runtime)

    def _due(self, eta: Any) -> float:
        """The Unix time (s) of an ETA header, 0 for what is due as good as now."""
        try:
            when = maybe_iso8601(eta)
        except (TypeError, ValueError, AttributeError):
            when = None  # the worker will refuse it; until then it waits
        due = maybe_make_aware(when, self._app.timezone).timestamp() if when else 0.0
        return due if due > time() + _SOON else 0.0


def queue_of(declare: Sequence[Any] | None, exchange: Any, routing_key: str | None) -> str | None:
    """The queue that a message goes to, or None where only the broker knows."""
    name = getattr(exchange, "name", exchange)
    if not name and routing_key:
        return routing_key  # the default exchange routes by the queue's name
    return str(declare[0].name) if declare else None


def _field(request: Any, name: str) -> Any:
    if isinstance(request, Mapping):
        return request.get(name)
    return getattr(request, name, None)
