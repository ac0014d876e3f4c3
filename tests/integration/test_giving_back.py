"""What a cordoned worker does with the scheduled tasks that it holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from celery import Celery
from celery.bootsteps import RUN
from celery.worker import state as worker_state
from celery.worker.request import Request
from kombu.asynchronous.timer import Timer, to_timestamp
from kombu.common import QoS

from celery_middle_management.core.traits import DOTTED
from celery_middle_management.working import giving_back as module
from celery_middle_management.working.giving_back import (
    ALLOWED,
    ASSUMED,
    PATIENCE,
    SHARE,
    GivingBack,
    gives_back_one_by_one,
)
from celery_middle_management.working.scheduled import ScheduledScan, scheduled

MANY = int(ALLOWED / ASSUMED) + 1
PREFETCH = 4


def later() -> None:
    """A task."""


class Worker:
    """A worker's consumer, with real requests from a real queue in a real timer."""

    def __init__(self, url: str) -> None:
        self.app = Celery("held", broker=url, set_as_current=False)
        self.app.conf.task_ignore_result = True
        self.task = self.app.task(later, name="later")
        self.client = redis.Redis.from_url(url)
        self.connection = self.app.connection_for_read()
        self.messages: list[Any] = []
        tasks = self.app.amqp.TaskConsumer(self.connection, on_message=self.messages.append)
        self.consumer: Any = SimpleNamespace(
            app=self.app,
            timer=Timer(),
            hub=object(),
            blueprint=SimpleNamespace(state=RUN),
            task_consumer=tasks,
            initial_prefetch_count=PREFETCH,
            qos=QoS(tasks.qos, PREFETCH),
        )

    def take(self, tasks: int, countdown: float = 600.0) -> list[Request]:
        """Take so many tasks that are due after *countdown* seconds."""
        eta = datetime.now(timezone.utc) + timedelta(seconds=countdown)
        for _ in range(tasks):
            self.task.apply_async(eta=eta)
        self.messages.clear()
        self.consumer.task_consumer.consume()
        while len(self.messages) < tasks:
            self.connection.drain_events(timeout=5)
        return [self._hold(message) for message in self.messages]

    def _hold(self, message: Any) -> Request:
        # As celery.worker.strategy does.
        request = Request(message, app=self.app, task=self.task, on_ack=message.ack_log_error)
        self.consumer.qos.increment_eventually()
        self.consumer.timer.call_at(to_timestamp(request.eta), lambda _: None, (request,))
        worker_state.requests[request.id] = request
        return request

    @property
    def in_the_queue(self) -> tuple[int, int]:
        """Messages that wait, and those that are taken and not acknowledged."""
        return int(self.client.llen("celery")), int(self.client.zcard("unacked_index"))

    @property
    def held(self) -> int:
        return len(list(scheduled(self.consumer)))


@pytest.fixture
def worker(redis_url: str) -> Iterator[Worker]:
    made = Worker(redis_url)
    made.client.flushdb()
    yield made
    worker_state.reset_state()
    made.connection.close()


@pytest.fixture
def pass_by(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets time pass."""
    passed = 0.0
    clock = module.monotonic

    def pass_seconds(seconds: float) -> None:
        nonlocal passed
        passed += seconds

    monkeypatch.setattr(module, "monotonic", lambda: clock() + passed)
    return pass_seconds


def give_back(worker: Worker, tasks: int) -> GivingBack:
    giving_back = GivingBack(DOTTED.imminent)
    assert giving_back.look(tasks, cordoned=True, one_by_one=True) == tasks
    while giving_back.give_back_portion(worker.consumer):
        pass
    return giving_back


def test_nothing_that_is_given_back_is_lost_or_remembered(worker: Worker) -> None:
    requests = worker.take(MANY)
    assert worker.in_the_queue == (0, MANY)
    giving_back = give_back(worker, MANY)
    given, held = worker.in_the_queue
    assert (given + held, worker.held) == (MANY, held)
    assert given > 0
    assert sum(r.acknowledged for r in requests) == given
    assert len(worker_state.requests) == held
    assert worker.consumer.qos.value == PREFETCH + held
    assert giving_back.look(held, cordoned=True, one_by_one=True) == 0, "the rest is soon back"


def test_a_worker_that_can_give_back_at_its_shutdown_gives_nothing_back_before(
    worker: Worker,
) -> None:
    worker.take(3)
    giving_back = GivingBack(DOTTED.imminent)
    assert giving_back.look(3, cordoned=True, one_by_one=True) == 0
    assert not giving_back.give_back_portion(worker.consumer)
    assert worker.in_the_queue == (0, 3)
    assert gives_back_one_by_one(worker.consumer)
    # When a connection ends, RabbitMQ itself redelivers everything at once.
    assert GivingBack(DOTTED.imminent).look(8000, cordoned=True, one_by_one=False) == 0


def test_what_is_imminent_is_kept_and_what_is_revoked_is_done_with(worker: Worker) -> None:
    soon = worker.take(MANY, countdown=DOTTED.imminent - 10)
    scan = ScheduledScan(DOTTED.imminent).update(worker.consumer, 0.0, cordoned=True)
    assert (scan.imminent, scan.later) == (MANY, 0)
    give_back(worker, MANY)
    assert not any(request.acknowledged for request in soon)
    revoked = worker.take(MANY)
    worker_state.revoked.update(request.id for request in revoked)
    scan = ScheduledScan(DOTTED.imminent).update(worker.consumer, 0.0, cordoned=True)
    assert (scan.imminent, scan.later) == (MANY, MANY)
    give_back(worker, MANY)
    done = sum(request.acknowledged for request in revoked)
    assert done > 0
    assert worker.in_the_queue == (0, 2 * MANY - done)
    assert worker.held == 2 * MANY - done


def test_what_the_broker_did_not_take_back_is_still_held(worker: Worker) -> None:
    worker.take(MANY)
    giving_back = GivingBack(DOTTED.imminent)
    giving_back.look(MANY, cordoned=True, one_by_one=True)
    # A full server refuses what it cannot store.
    worker.client.config_set("maxmemory", 1)
    try:
        with pytest.raises(redis.ResponseError):
            giving_back.give_back_portion(worker.consumer)
    finally:
        worker.client.config_set("maxmemory", 0)
    assert worker.in_the_queue == (0, MANY)
    assert worker.held == MANY
    giving_back.give_back_portion(worker.consumer)
    assert sum(worker.in_the_queue) == MANY
    assert worker.in_the_queue[0] > 0


def test_a_cordon_that_comes_and_goes_does_not_churn(
    worker: Worker, pass_by: Callable[[float], None]
) -> None:
    worker.take(MANY)
    giving_back = GivingBack(DOTTED.imminent)

    def cordon(is_set: bool) -> bool:
        giving_back.look(worker.held, cordoned=is_set, one_by_one=True)
        return giving_back.due

    for _ in range(5):
        assert not cordon(True)
        pass_by(PATIENCE - 1)
        assert not cordon(True)
        assert not cordon(False)
    cordon(True)
    pass_by(PATIENCE + 0.1)
    assert cordon(True)
    giving_back._spent = 40.0  # it takes so long
    cordon(False)
    cordon(True)
    pass_by(40 / SHARE - PATIENCE)
    assert not cordon(True)
    pass_by(PATIENCE + 1)
    assert cordon(True)
