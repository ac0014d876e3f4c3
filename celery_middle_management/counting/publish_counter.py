"""Counts the tasks that an app publishes, and puts our headers into their messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from time import time
from typing import Any

from celery import Celery
from celery.utils.time import maybe_iso8601, maybe_make_aware

from celery_middle_management.core.batch import PUBLISHED, UNPLACED, UNSERVED
from celery_middle_management.core.headers import COPIES, HEADER, SOON, STARTABLE, eta_of
from celery_middle_management.counting.marks import MARK, Mark
from celery_middle_management.counting.routing import Routes
from celery_middle_management.counting.tally import Tally


class PublishCounter:
    """Handles Celery's publishing signals for one app, in the thread that publishes."""

    def __init__(
        self,
        app: Celery,
        mark: Mark,
        tally: Tally,
        routes: Routes,
        *,
        is_ours: Callable[[str], bool],
        on_publish: Callable[[], None],
        in_reach: Callable[[], bool],
    ) -> None:
        """*is_ours* returns whether a pool serves a queue; *on_publish* is called for each task.

        *in_reach* returns whether workers that the platform starts can reach the app's tasks.
        """
        self._app = app
        self._mark = mark
        self._tally = tally
        self._routes = routes
        self._is_ours = is_ours
        self._on_publish = on_publish
        self._in_reach = in_reach

    def before_task_publish(
        self,
        headers: dict[str, Any],
        declare: Iterable[Any] | None = None,
        exchange: Any = None,
        routing_key: str | None = None,
        body: Any = None,
        **_: Any,
    ) -> None:
        remove_our_headers(headers)
        if not self._in_reach():
            return
        queues = self._routes.queues_of(exchange, routing_key, declare)
        ours = [queue for queue in queues if self._is_ours(queue)]
        if ours or not queues:
            headers[MARK] = str(self._mark)
            startable = self._due(eta_of(headers, body)) or self._tally.now()
            headers[STARTABLE] = round(startable, 3)
        else:
            self._on_publish()  # no pool serves the task, but the pools' minimum must be kept
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
        self._on_publish()

    def _due(self, eta: Any) -> float:
        """Return the Unix time (s) of an ETA, 0 for a task that is due now or within ``SOON``."""
        if not eta:
            return 0.0
        try:
            when = maybe_iso8601(eta)
        except (TypeError, ValueError, AttributeError):
            when = None  # the worker will refuse the task; until then it waits
        due = maybe_make_aware(when, self._app.timezone).timestamp() if when else 0.0
        return due if due > time() + SOON else 0.0


def remove_our_headers(headers: dict[str, Any]) -> None:
    """Remove any of our headers that a retry or a chain has copied from an earlier message."""
    for name in (HEADER, COPIES, STARTABLE, MARK):
        headers.pop(name, None)
