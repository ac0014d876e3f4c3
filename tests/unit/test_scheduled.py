"""What is found in Celery's timer, a real one."""

from __future__ import annotations

import random
from time import monotonic
from types import SimpleNamespace
from typing import Any

import kombu.asynchronous.timer
from celery.worker.request import Request

from celery_middle_management.agents.scheduled import overdue


def request() -> Request:
    """One of which nothing is asked."""
    return object.__new__(Request)


def test_overdue_is_what_has_fallen_due_and_no_more() -> None:
    timer, now, due = kombu.asynchronous.timer.Timer(), monotonic(), []
    offsets = [*range(-50, 0), *range(600, 650)]
    random.Random(1).shuffle(offsets)
    for offset in offsets:
        entered = request()
        timer.call_at(now + offset, print, (entered,))
        if offset < 0:
            due.append(entered)
    found = overdue(SimpleNamespace(timer=timer))
    assert {*map(id, found)} == {*map(id, due)}
    assert len(found) == len(due)


def test_overdue_is_no_request_that_was_called_off_and_nothing_but_requests() -> None:
    timer, past = kombu.asynchronous.timer.Timer(), monotonic() - 1
    timer.call_at(past, print, (request(),)).cancel()
    timer.call_at(past, print, ("not a request",))
    timer.call_at(past, print)
    left = request()
    timer.call_at(past, print, (left,))
    assert [*map(id, overdue(SimpleNamespace(timer=timer)))] == [id(left)]


def test_nothing_is_overdue_in_a_timer_that_is_no_heap() -> None:
    timer: Any = SimpleNamespace(queue={})
    assert overdue(SimpleNamespace(timer=timer)) == []
