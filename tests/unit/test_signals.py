"""How each of Celery's signals is counted."""

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


class Counted:
    """The handlers of an app whose queues are ours but for ``theirs``."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.published = 0
        self.handlers = SignalHandlers(
            Celery("counted", set_as_current=False),
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
def counted() -> Counted:
    return Counted()


def test_only_messages_of_our_queues_get_our_headers(counted: Counted) -> None:
    headers: dict[str, Any] = {HEADER: "of an earlier attempt", COPIES: ["of an earlier attempt"]}
    counted.handlers.published.before_task_publish(headers, None, "", "theirs")
    assert headers == {}
    # Only that such a queue is in use is reported.
    batch = counted.batch()
    assert (list(batch.queues), batch.published, batch.unplaced) == (["theirs"], {}, False)
    assert batch
    counted.handlers.published.before_task_publish(headers, None, "", "ours")
    assert headers[HEADER] == "ours"
    assert COPIES not in headers


def test_published_tasks_count_now_or_when_they_are_due(counted: Counted) -> None:
    later = datetime.now(timezone.utc) + timedelta(hours=1)
    for eta in (None, "not a time", "2001-01-01T00:00:00+00:00", later.isoformat()):
        counted.handlers.published.after_task_publish({HEADER: "ours", "eta": eta})
    batch = counted.batch()
    assert sum(batch.published["ours"].values()) == 3
    (due,) = batch.scheduled["ours"].values()
    assert due == Due(later.timestamp(), 1)
    assert counted.published == 4


def test_a_scheduled_task_of_protocol_1_is_not_due_at_once(counted: Counted) -> None:
    later = datetime.now(timezone.utc) + timedelta(hours=1)
    headers: dict[str, Any] = {}
    body = {"eta": later.isoformat(), "args": (), "kwargs": {}}
    counted.handlers.published.before_task_publish(headers, None, "", "ours", body=body)
    counted.handlers.published.after_task_publish(headers, body)
    assert headers[STARTABLE] == round(later.timestamp(), 3)
    [[due]] = [slots.values() for slots in counted.batch().scheduled.values()]
    assert due == Due(later.timestamp(), 1)


def test_an_attempt_whose_end_the_parent_signals_twice_counts_once(counted: Counted) -> None:
    headers = {"id": "1", "retries": 0, HEADER: "ours"}
    request = Request(id="1", task=Task(), request_dict=headers)
    counted.handlers.tasks.task_received(request)
    sender = SimpleNamespace(request=None)
    for error in (TimeLimitExceeded(1), TimeLimitExceeded(1), WorkerLostError()):
        counted.handlers.tasks.task_failure(sender, "1", error)
    counted.handlers.tasks.task_failure(sender, "1", RuntimeError("task_postrun follows this one"))
    assert counted.finished() == 1
    unknown = SimpleNamespace(request=SimpleNamespace(id="2", retries=1, **{HEADER: "ours"}))
    counted.handlers.tasks.task_failure(unknown, "2", WorkerLostError())
    assert counted.finished() == 1


def test_what_ends_without_running_counts(counted: Counted) -> None:
    counted.handlers.tasks.task_revoked(SimpleNamespace(id="1", retries=0, **{HEADER: "ours"}))
    counted.handlers.tasks.task_internal_error({"id": "2", HEADER: "ours"})
    counted.handlers.tasks.task_unknown(SimpleNamespace(headers={HEADER: "ours"}))
    counted.handlers.tasks.task_rejected(SimpleNamespace(headers={}))
    assert counted.finished() == 3


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
    counted: Counted, eager: bool, state: str | None, requeue: bool, tasks: int
) -> None:
    task = SimpleNamespace(request=SimpleNamespace(is_eager=eager, **{HEADER: "ours"}))
    counted.handlers.tasks.task_prerun(task)
    counted.handlers.tasks.task_postrun(task, SimpleNamespace(requeue=requeue), state)
    done = counted.batch().finished
    assert sum(d.tasks for d in done.values()) == tasks
    assert all(d.runtime >= 0 for d in done.values())


@pytest.mark.parametrize("due_in", [0.0, 3600.0])
@pytest.mark.parametrize("ahead", [-900.0, 0.0, 900.0])
def test_a_wait_is_from_when_a_task_could_start(
    counted: Counted, due_in: float, ahead: float
) -> None:
    counted.tally.ahead = ahead
    eta = datetime.fromtimestamp(time.time() + due_in, timezone.utc).isoformat()
    headers: dict[str, Any] = {"eta": eta if due_in else None, STARTABLE: "an earlier attempt's"}
    counted.handlers.published.before_task_publish(headers, None, "", "ours")
    assert headers[STARTABLE] == pytest.approx(time.time() + (due_in or ahead), abs=5)
    headers[STARTABLE] -= 5000
    for eager in (True, False):
        counted.handlers.tasks.task_prerun(
            SimpleNamespace(request=SimpleNamespace(is_eager=eager, **headers))
        )
    batch = Batch(ahead=ahead)
    counted.tally.drain(batch)
    assert not batch.since, "no evaluation waits for it"
    assert batch.started["ours"].tasks == 1
    wait = 5000 if not due_in else max(5000 + ahead - due_in, 0)
    assert batch.started["ours"].waits == pytest.approx(wait, abs=5)


def test_it_is_unknown_when_a_task_of_an_older_release_could_start(counted: Counted) -> None:
    counted.handlers.tasks.task_prerun(
        SimpleNamespace(request=SimpleNamespace(is_eager=False, **{HEADER: "ours"}))
    )
    assert counted.batch().started["ours"] == Started(1, 0.0)


def test_each_worker_counts_its_own_copy(counted: Counted) -> None:
    app = counted.handlers.app
    both = Exchange("both", type="fanout")
    app.conf.task_queues = [Queue(name, both) for name in ("one", "two", "theirs")]
    headers: dict[str, Any] = {}
    counted.handlers.published.before_task_publish(headers, None, "both", "any")
    assert (headers[HEADER], headers[COPIES]) == ("one", ["one", "two"])
    counted.handlers.published.after_task_publish(headers)
    assert set(counted.batch().published) == {"one", "two"}
    for name in ("one", "two"):
        app.amqp.queues.select([name])
        counted.handlers.tasks.task_revoked({"id": name, **headers})
        assert set(counted.batch().finished) == {name}


@pytest.mark.parametrize(
    ("headers", "exchange", "routing_key", "queue"),
    [
        ({HEADER: "named"}, "", "other", "named"),
        ({}, "", "pdf", "pdf"),
        ({}, "news", "news.sport", "sport"),
        ({}, "unknown", "some.key", "some.key"),
        ({}, None, None, ""),
    ],
)
def test_the_queue_that_a_worker_took_a_task_from(
    counted: Counted,
    headers: dict[str, str],
    exchange: str | None,
    routing_key: str | None,
    queue: str,
) -> None:
    news = Exchange("news", type="topic")
    counted.handlers.app.conf.task_queues = [
        Queue("weather", news, routing_key="news.weather"),
        Queue("sport", news, routing_key="news.*"),
    ]
    request = Request(
        request_dict=headers,
        delivery_info={"exchange": exchange, "routing_key": routing_key},
    )
    assert counted.handlers.source_queues.queue_of(request) == queue
