"""The jobs that a pool of threads or green threads has and has not ended.

Celery's own sets do not tell: they keep for ever a task that ended by an exception such as
``SystemExit``, which its receivers of results cannot unpack, and one that was revoked to be
terminated while it waited for a thread. After a lost connection they lack what still runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakSet

from celery.worker.request import Request

from celery_middle_management.agents.celery_internals import copied


class _Job:
    """Held by nothing but what the pool calls: it goes with a job that the pool drops."""


class PoolJobs:
    """Of one pool. A job is there until the pool has told of its result, or can no more."""

    def __init__(self, pool: Any, ended: Callable[[], None]) -> None:
        """*ended* is called, by any thread, whenever a job has ended."""
        self._ended = ended
        self._apply_async = pool.apply_async
        self._jobs = WeakSet[_Job]()
        self._over = WeakSet[Request]()
        pool.apply_async = self._apply

    def __len__(self) -> int:
        return len(self._jobs)

    def over(self) -> set[Request]:
        """The requests whose jobs have ended, as far as anything still holds them."""
        return copied(self._over)

    def _apply(
        self,
        target: Callable[..., Any],
        *args: Any,
        callback: Callable[..., Any] | None = None,
        accept_callback: Callable[..., Any] | None = None,
        **options: Any,
    ) -> Any:
        job = _Job()
        request = getattr(callback, "__self__", None)

        def end() -> None:
            self._jobs.discard(job)
            if isinstance(request, Request):
                self._over.add(request)
            self._ended()

        def done(*result: Any, **more: Any) -> Any:
            try:
                return callback(*result, **more) if callback else None
            finally:
                end()

        self._jobs.add(job)
        accepted = accept_callback and _or_else(accept_callback, end)
        return self._apply_async(
            _or_else(target, end), *args, callback=done, accept_callback=accepted, **options
        )


def _or_else(call: Callable[..., Any], failed: Callable[[], None]) -> Callable[..., Any]:
    """*call*, with *failed* called if it raises: of such a job the pool tells nothing."""

    def called(*args: Any, **options: Any) -> Any:
        try:
            return call(*args, **options)
        except BaseException:
            failed()
            raise

    return called
