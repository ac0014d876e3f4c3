"""The jobs that a pool of threads or green threads has and has not ended.

Celery's own sets do not tell: they keep for ever a task that ended by an exception such as
``SystemExit``, which its receivers of results cannot unpack, and one that was revoked to be
terminated while it waited for a thread. After a lost connection they lack what still runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from celery_middle_management.agents.celery_internals import copied


class PoolJobs:
    """Of one pool. A job is there for as long as the pool can still tell of its result."""

    def __init__(self, pool: Any, ended: Callable[[], None]) -> None:
        """*ended* is called, by any thread, whenever a job has ended."""
        self._ended = ended
        self._apply_async = pool.apply_async
        #: By what the pool calls with the result, which goes with the job however that ends: the
        #: id of the task.
        self._jobs = WeakKeyDictionary[Callable[..., Any], str]()
        pool.apply_async = self._apply

    def __len__(self) -> int:
        return len(self._jobs)

    def ids(self) -> set[str]:
        """The tasks of the jobs."""
        return copied(self._jobs.values())

    def _apply(self, *args: Any, callback: Callable[..., Any] | None = None, **options: Any) -> Any:
        def done(*result: Any, **more: Any) -> Any:
            try:
                return callback(*result, **more) if callback else None
            finally:
                self._jobs.pop(done, None)
                self._ended()

        self._jobs[done] = options.get("correlation_id", "")
        return self._apply_async(*args, callback=done, **options)
