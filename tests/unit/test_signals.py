"""What each of Celery's signals counts for."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest
from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery import Celery
from kombu import Exchange, Queue

from celery_middle_management.signals import HEADER, SignalHandlers, queue_of
from celery_middle_management.tally import Batch, Due, Tally


class Request(SimpleNamespace):
    """A worker's request; unlike a plain namespace, it can be referred to weakly."""


class Told:
    """The handlers of an app whose queues are ours but for ``theirs``."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.published = 0
        self.handlers = SignalHandlers(
            Celery("told", set_as_current=False),
            self.tally,
            lambda queue: queue != "theirs",
            self._publish,
        )

    def _publish(self) -> None:
        self.published += 1

    def batch(self) -> Batch:
        batch = Batch()
        self.tally.drain(batch)
        return batch

    def finished(self) -> int:
        return sum(done.tasks for done in self.batch().finished.values())


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.mark.parametrize(
    ("declare", "exchange", "routing_key", "queue"),
    [
        ([Queue("pdf")], "", "pdf", "pdf"),
        (None, "", "pdf", "pdf"),
        ([Queue("default")], "", "pdf", "pdf"),
        ([Queue("pdf")], Exchange("media"), "some.topic", "pdf"),
        (None, "media", "some.topic", None),
        ([], None, None, None),
    ],
)
def test_the_queue_of_a_message(
    declare: Any, exchange: Any, routing_key: str | None, queue: str | None
) -> None:
    assert queue_of(declare, exchange, routing_key) == queue


def test_only_messages_of_our_queues_are_stamped(told: Told) -> None:
    told.handlers.before_task_publish()
    headers = {HEADER: "of an earlier attempt"}
    told.handlers.before_task_publish(headers, None, "", "theirs")
    assert headers == {}
    told.handlers.before_task_publish(headers, None, "", "ours")
    assert headers == {HEADER: "ours"}


def test_published_tasks_count_now_or_when_they_are_due(told: Told) -> None:
    later = datetime.now(timezone.utc) + timedelta(hours=1)
    for eta in (None, "not a time", "2001-01-01T00:00:00+00:00", later.isoformat()):
        told.handlers.after_task_publish({HEADER: "ours", "eta": eta})
    told.handlers.after_task_publish({"eta": None})
    told.handlers.after_task_publish()
    batch = told.batch()
    assert sum(batch.published["ours"].values()) == 3
    (due,) = batch.scheduled["ours"].values()
    assert due == Due(later.timestamp(), 1)
    assert told.published == 4


def test_an_attempt_that_the_parent_tells_of_twice_counts_once(told: Told) -> None:
    request = Request(id="1", request_dict={"id": "1", "retries": 0, HEADER: "ours"})
    told.handlers.task_received(request)
    sender = SimpleNamespace(request=None)
    for error in (TimeLimitExceeded(1), TimeLimitExceeded(1), WorkerLostError()):
        told.handlers.task_failure(sender, "1", error)
    told.handlers.task_failure(sender, "1", RuntimeError("task_postrun tells of this one"))
    assert told.finished() == 1
    unknown = SimpleNamespace(request=SimpleNamespace(id="2", retries=1, **{HEADER: "ours"}))
    told.handlers.task_failure(unknown, "2", WorkerLostError())
    assert told.finished() == 1


def test_what_ends_without_running_counts(told: Told) -> None:
    told.handlers.task_revoked(SimpleNamespace(id="1", retries=0, **{HEADER: "ours"}))
    told.handlers.task_internal_error({"id": "2", HEADER: "ours"})
    told.handlers.message_discarded(SimpleNamespace(headers={HEADER: "ours"}))
    told.handlers.message_discarded(SimpleNamespace(headers={}))
    assert told.finished() == 3


@pytest.mark.parametrize(
    ("eager", "state", "requeue", "tasks"),
    [
        (False, "SUCCESS", False, 1),
        (True, "SUCCESS", False, 0),
        (False, None, False, 0),
        (False, "REJECTED", True, 0),
        (False, "REJECTED", False, 1),
    ],
)
def test_what_ran_counts_with_its_run_time(
    told: Told, eager: bool, state: str | None, requeue: bool, tasks: int
) -> None:
    task = SimpleNamespace(request=SimpleNamespace(is_eager=eager, **{HEADER: "ours"}))
    told.handlers.task_prerun(task)
    told.handlers.task_postrun(task, SimpleNamespace(requeue=requeue), state)
    done = told.batch().finished
    assert sum(d.tasks for d in done.values()) == tasks
    assert all(d.runtime >= 0 for d in done.values())
