"""The queues that an app names in its configuration."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from celery import Celery


def declared_queues(app: Celery) -> tuple[str, ...]:
    """Return the queues that *app* declares, which a worker without ``-Q`` consumes.

    Not ``app.amqp.queues``: that grows with every queue that the app publishes to.
    """
    amqp: Any = app.amqp
    return tuple(amqp.Queues(app.conf.task_queues))


def named_queues(app: Celery) -> tuple[str, ...]:
    """Return the declared queues and those in ``task_routes``, except any that functions return."""
    conf: Any = app.conf
    return tuple(dict.fromkeys((*declared_queues(app), *_routed(conf.task_routes))))


def _routed(routes: Any) -> Iterator[str]:
    """Yield the queues of routes, in all forms that Celery accepts: dicts, pairs, lists of both."""
    if isinstance(routes, Mapping):
        yield from _names(routes.values())
    elif isinstance(routes, (list, tuple)):
        for route in routes:
            if isinstance(route, (list, tuple)) and len(route) == 2 and _is_pattern(route[0]):
                yield from _names([route[1]])
            else:
                yield from _routed(route)


def _is_pattern(first: Any) -> bool:
    return isinstance(first, (str, re.Pattern))


def _names(destinations: Iterable[Any]) -> Iterator[str]:
    for destination in destinations:
        queue = destination.get("queue") if isinstance(destination, Mapping) else destination
        name = getattr(queue, "name", queue)
        if isinstance(name, str):
            yield name
