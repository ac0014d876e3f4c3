"""The jobs of a pool that have not ended yet, whatever submitted them.

Celery's own sets of requests cannot tell. They lack the jobs of a task with its own strategy.
With threads and green threads, they keep for ever a task that ended by an exception such as
``SystemExit``, which Celery's callback for results cannot unpack, and one that was revoked with
``terminate`` while it waited for a thread. After a lost connection they lack what still runs, or,
with prefork before Celery 5.6.3, keep it for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Set
from typing import Any
from weakref import WeakSet

from celery.worker.request import Request

from celery_middle_management.celery_internals import children, copied, has_job, jobs


class PreforkJobs:
    """The jobs of a prefork pool."""

    def __init__(self, pool: Any, at_work: Set[int]) -> None:
        """*at_work* are the pool's processes that last reported being busy."""
        self._pool = pool
        self._at_work = at_work

    def __len__(self) -> int:
        return max(jobs(self._pool), len(self._busy()))

    def over(self, active: Collection[Request]) -> set[Request]:
        """Return those of the *active* requests that have ended.

        The pool has forgotten them, and none of its processes runs them: a busy process runs the
        job that it was given last.
        """
        forgotten = {request for request in active if not has_job(self._pool, request)}
        if not forgotten:
            return forgotten
        busy = self._busy()
        in_order: list[Any] = sorted(active, key=lambda request: request.time_start or 0.0)
        last = {request.worker_pid: request for request in in_order}
        return forgotten - {last[pid] for pid in busy & {*last}}

    def _busy(self) -> set[int]:
        at_work = set(self._at_work)
        return at_work & children(self._pool) if at_work else at_work


class _Job:
    """Referenced only by the callbacks of a job, so that it vanishes if the pool drops the job."""


class PoolJobs:
    """The jobs of any other pool: each is kept until the pool calls back, or no longer can."""

    def __init__(self, pool: Any, on_end: Callable[[], None]) -> None:
        """*on_end* is called, by any thread, whenever a job has ended."""
        self._on_end = on_end
        self._apply_async = pool.apply_async
        self._jobs = WeakSet[_Job]()
        self._over = WeakSet[Request]()
        pool.apply_async = self._apply

    def __len__(self) -> int:
        return len(self._jobs)

    def over(self, active: Collection[Request]) -> set[Request]:
        """Return those of the *active* requests that have ended."""
        return copied(self._over) & set(active)

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
            self._on_end()

        def done(*result: Any, **more: Any) -> Any:
            try:
                return callback(*result, **more) if callback else None
            finally:
                end()

        self._jobs.add(job)
        accepted = accept_callback and _with_fallback(accept_callback, end)
        return self._apply_async(
            _with_fallback(target, end), *args, callback=done, accept_callback=accepted, **options
        )


def _with_fallback(call: Callable[..., Any], on_error: Callable[[], None]) -> Callable[..., Any]:
    """Wrap *call* so that *on_error* is called if it raises: the pool then calls nothing else."""

    def wrapped(*args: Any, **options: Any) -> Any:
        try:
            return call(*args, **options)
        except BaseException:
            on_error()
            raise

    return wrapped
