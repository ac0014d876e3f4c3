"""Which queues an app names."""

from __future__ import annotations

import re
from typing import Any

import pytest
from celery import Celery
from kombu import Queue

from celery_middle_management.counting.declared import declared_queues, named_queues


def route(name: str, *_: Any, **__: Any) -> None:
    """A function may route to whatever queue."""


@pytest.mark.parametrize(
    ("routes", "named"),
    [
        (None, ()),
        ({"app.mail": {"queue": "mail", "routing_key": "x"}, "app.*": "rest"}, ("mail", "rest")),
        ({"app.mail": {"queue": Queue("mail")}, "app.x": {"exchange": "x"}}, ("mail",)),
        ([[("app.mail", {"queue": "mail"}), (re.compile("x"), "rest")]], ("mail", "rest")),
        (({"app.mail": {"queue": "mail"}}, route, "app.Router"), ("mail",)),
        (route, ()),
    ],
)
def test_queues_of_routes(routes: Any, named: tuple[str, ...]) -> None:
    app = Celery("routes", set_as_current=False)
    app.conf.task_routes = routes
    assert declared_queues(app) == ("celery",)
    assert named_queues(app) == ("celery", *named)
