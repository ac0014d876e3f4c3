"""Counts the tasks that an app's workers start and finish."""

from __future__ import annotations

from collections import deque
from time import monotonic
from typing import Any
from weakref import WeakSet, WeakValueDictionary

from billiard.exceptions import Terminated, TimeLimitExceeded, WorkerLostError
from celery import Task, states

from celery_middle_management.core.batch import BEGUN, ENDED, FINISHED, STARTED
from celery_middle_management.core.headers import STARTABLE
from celery_middle_management.counting.source_queue import SourceQueues, header
from celery_middle_management.counting.tally import Tally

#: The attribute of a request that holds when it began (``monotonic()``) and its source queue.
_BEGUN = "_mm_begun"
#: Exceptions that end a task and that only the worker's parent process sees.
_SEEN_BY_PARENT = (WorkerLostError, TimeLimitExceeded, Terminated)


class TaskCounter:
    """Handles the signals of a worker and of its pool's processes, for one app.

    Only messages with our headers are counted as finished: a message that was published without the
    package was not counted then, so its end must not lower the outstanding count.
    """

    def __init__(self, tally: Tally, source_queues: SourceQueues) -> None:
        self._tally = tally
        self._source_queues = source_queues
        self._received: WeakValueDictionary[str, Any] = WeakValueDictionary()
        #: Requests of tasks with a strategy of their own, for as long as anything refers to them.
        self.with_own_strategy: WeakSet[Any] = WeakSet()
        self._ended: deque[tuple[str, int]] = deque(maxlen=1000)

    def task_received(self, request: Any = None, **_: Any) -> None:
        self._received[request.id] = request
        if request.task.Strategy != Task.Strategy:
            self.with_own_strategy.add(request)

    def task_prerun(self, task: Any = None, **_: Any) -> None:
        request = task.request
        if request.is_eager:
            return
        queue = self._source_queues.named_in_headers(request)
        setattr(request, _BEGUN, (monotonic(), queue))
        if queue:
            self._tally.add(STARTED, queue, header(request, STARTABLE) or 0.0)
        else:
            self._tally.add(BEGUN, "", 0.0)

    def task_postrun(
        self, task: Any = None, retval: Any = None, state: str | None = None, **_: Any
    ) -> None:
        request = task.request
        if request.is_eager:
            return
        begun = getattr(request, _BEGUN, None)
        at, queue = begun or (monotonic(), self._source_queues.named_in_headers(request))
        # Without a state, the child is being killed because of a time limit or a revoke.
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
            self._count_end_once(request.request_dict if request is not None else sender.request)

    def task_revoked(self, request: Any = None, **_: Any) -> None:
        self._count_end_once(request)

    def task_internal_error(self, request: Any = None, **_: Any) -> None:
        self._count_end_once(request)

    def task_unknown(self, message: Any = None, **_: Any) -> None:
        self._count_as_finished(message.headers)

    def task_rejected(self, message: Any = None, **_: Any) -> None:
        self._count_as_finished(message.headers)

    def _count_end_once(self, request: Any) -> None:
        """Count the end of an attempt, for which Celery may send several signals."""
        attempt = (str(header(request, "id")), int(header(request, "retries") or 0))
        if attempt not in self._ended:
            self._ended.append(attempt)
            self._count_as_finished(request)

    def _count_as_finished(self, request: Any) -> None:
        queue = self._source_queues.named_in_headers(request)
        if queue:
            self._tally.add(FINISHED, queue, 0.0)
