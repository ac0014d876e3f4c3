"""What each of Celery's signals counts for."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest
from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery import Celery, Task
from kombu import Exchange, Queue

from celery_middle_management.core.batch import Batch, Due, Started
from celery_middle_management.core.headers import COPIES, HEADER, STARTABLE
from celery_middle_management.counting.signals import SignalHandlers
from celery_middle_management.counting.tally import Tally


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


def test_only_messages_of_our_queues_are_stamped(told: Told) -> None:
    headers: dict[str, Any] = {HEADER: "of an earlier attempt", COPIES: ["of an earlier attempt"]}
    told.handlers.published.before_task_publish(headers, None, "", "theirs")
    assert headers == {}
    # That such a queue is in use is told, and no more of it.
    batch = told.batch()
    assert (list(batch.queues), batch.published, batch.unplaced) == (["theirs"], {}, False)
    assert batch
    told.handlers.published.before_task_publish(headers, None, "", "ours")
    assert headers[HEADER] == "ours"
    assert COPIES not in headers


def test_published_tasks_count_now_or_when_they_are_due(told: Told) -> None:
    later = datetime.now(timezone.utc) + timedelta(hours=1)
    for eta in (None, "not a time", "2001-01-01T00:00:00+00:00", later.isoformat()):
        told.handlers.published.after_task_publish({HEADER: "ours", "eta": eta})
    batch = told.batch()
    assert sum(batch.published["ours"].values()) == 3
    (due,) = batch.scheduled["ours"].values()
    assert due == Due(later.timestamp(), 1)
    assert told.published == 4


def test_a_scheduled_task_of_protocol_1_is_not_due_at_once(told: Told) -> None:
    later = datetime.now(timezone.utc) + timedelta(hours=1)
    headers: dict[str, Any] = {}
    body = {"eta": later.isoformat(), "args": (), "kwargs": {}}
    told.handlers.published.before_task_publish(headers, None, "", "ours", body=body)
    told.handlers.published.after_task_publish(headers, body)
    assert headers[STARTABLE] == round(later.timestamp(), 3)
    [[due]] = [slots.values() for slots in told.batch().scheduled.values()]
    assert due == Due(later.timestamp(), 1)


def test_an_attempt_that_the_parent_tells_of_twice_counts_once(told: Told) -> None:
    told_of = {"id": "1", "retries": 0, HEADER: "ours"}
    request = Request(id="1", task=Task(), request_dict=told_of)
    told.handlers.tasks.task_received(request)
    sender = SimpleNamespace(request=None)
    for error in (TimeLimitExceeded(1), TimeLimitExceeded(1), WorkerLostError()):
        told.handlers.tasks.task_failure(sender, "1", error)
    told.handlers.tasks.task_failure(sender, "1", RuntimeError("task_postrun tells of this one"))
    assert told.finished() == 1
    unknown = SimpleNamespace(request=SimpleNamespace(id="2", retries=1, **{HEADER: "ours"}))
    told.handlers.tasks.task_failure(unknown, "2", WorkerLostError())
    assert told.finished() == 1


def test_what_ends_without_running_counts(told: Told) -> None:
    told.handlers.tasks.task_revoked(SimpleNamespace(id="1", retries=0, **{HEADER: "ours"}))
    told.handlers.tasks.task_internal_error({"id": "2", HEADER: "ours"})
    told.handlers.tasks.task_unknown(SimpleNamespace(headers={HEADER: "ours"}))
    told.handlers.tasks.task_rejected(SimpleNamespace(headers={}))
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
    told.handlers.tasks.task_prerun(task)
    told.handlers.tasks.task_postrun(task, SimpleNamespace(requeue=requeue), state)
    done = told.batch().finished
    assert sum(d.tasks for d in done.values()) == tasks
    assert all(d.runtime >= 0 for d in done.values())


@pytest.mark.parametrize("due_in", [0.0, 3600.0])
@pytest.mark.parametrize("ahead", [-900.0, 0.0, 900.0])
def test_a_wait_is_from_when_a_task_could_start(told: Told, due_in: float, ahead: float) -> None:
    told.tally.ahead = ahead
    eta = datetime.fromtimestamp(time.time() + due_in, timezone.utc).isoformat()
    headers: dict[str, Any] = {"eta": eta if due_in else None, STARTABLE: "an earlier attempt's"}
    told.handlers.published.before_task_publish(headers, None, "", "ours")
    assert headers[STARTABLE] == pytest.approx(time.time() + (due_in or ahead), abs=5)
    headers[STARTABLE] -= 5000
    for eager in (True, False):
        told.handlers.tasks.task_prerun(
            SimpleNamespace(request=SimpleNamespace(is_eager=eager, **headers))
        )
    batch = Batch(ahead=ahead)
    told.tally.drain(batch)
    assert not batch.since, "nobody hires or fires for it"
    assert batch.started["ours"].tasks == 1
    wait = 5000 if not due_in else max(5000 + ahead - due_in, 0)
    assert batch.started["ours"].waits == pytest.approx(wait, abs=5)


def test_nobody_told_when_a_task_of_an_older_release_could_start(told: Told) -> None:
    told.handlers.tasks.task_prerun(
        SimpleNamespace(request=SimpleNamespace(is_eager=False, **{HEADER: "ours"}))
    )
    assert told.batch().started["ours"] == Started(1, 0.0)


def test_of_copies_each_worker_tells_of_its_own(told: Told) -> None:
    app = told.handlers.app
    both = Exchange("both", type="fanout")
    app.conf.task_queues = [Queue(name, both) for name in ("one", "two", "theirs")]
    headers: dict[str, Any] = {}
    told.handlers.published.before_task_publish(headers, None, "both", "any")
    assert (headers[HEADER], headers[COPIES]) == ("one", ["one", "two"])
    told.handlers.published.after_task_publish(headers)
    assert set(told.batch().published) == {"one", "two"}
    for name in ("one", "two"):
        app.amqp.queues.select([name])
        told.handlers.tasks.task_revoked({"id": name, **headers})
        assert set(told.batch().finished) == {name}


@pytest.mark.parametrize(
    ("headers", "exchange", "routing_key", "queue"),
    [
        ({HEADER: "stamped"}, "", "other", "stamped"),
        ({}, "", "pdf", "pdf"),
        ({}, "news", "news.sport", "sport"),
        ({}, "nobodys", "some.key", "some.key"),
        ({}, None, None, ""),
    ],
)
def test_the_queue_that_a_worker_took_a_task_from(
    told: Told, headers: dict[str, str], exchange: str | None, routing_key: str | None, queue: str
) -> None:
    news = Exchange("news", type="topic")
    told.handlers.app.conf.task_queues = [
        Queue("weather", news, routing_key="news.weather"),
        Queue("sport", news, routing_key="news.*"),
    ]
    request = Request(
        request_dict=headers,
        delivery_info={"exchange": exchange, "routing_key": routing_key},
    )
    assert told.handlers.source_queues.queue_of(request) == queue
