"""Queue names without end, one for each user say: nothing grows with all that ever were."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from celery_middle_management.brokers import broker_of
from celery_middle_management.core.batch import UNSERVED
from celery_middle_management.core.demand import Held
from celery_middle_management.core.presence import Presence
from celery_middle_management.counting.declared import declared_queues
from celery_middle_management.evaluation.queues import FORGET_QUEUES, queues_of
from celery_middle_management.ledger import recent_queues as module
from celery_middle_management.ledger.model import MOST_QUEUES
from celery_middle_management.reporting.scaler import Scaler
from celery_middle_management.views.status import status_of
from tests.integration.office import Office, office

#: Redis forgets the oldest when there are so many.
KEPT = MOST_QUEUES * 1.25


@pytest.fixture
def it(redis_url: str) -> Iterator[Office]:
    with office(redis_url, count_interval=1, call_interval=1) as made:
        yield made


def told(it: Office) -> dict[str, str]:
    """Queues published to and when last, as the ledger has them."""
    queues: Any = it.redis.hgetall(it.ledger.keys["queues"])
    return dict(queues)


def age(it: Office, *queues: str, seconds: float = FORGET_QUEUES + 1) -> None:
    """No process has published to them for a while."""
    now = it.ledger.snapshot().now - seconds
    it.redis.hset(it.ledger.keys["queues"], mapping={q: str(round(now * 1000)) for q in queues})


def counted(it: Office) -> tuple[str, ...]:
    return queues_of(
        it.settings.pools[0], it.settings, it.ledger.snapshot(), declared_queues(it.app)
    )


@pytest.mark.parametrize("at_once", [100, 5_000])
def test_queue_names_without_end_fill_neither_redis_nor_a_publisher(
    it: Office, at_once: int, caplog: pytest.LogCaptureFixture
) -> None:
    names = 5_000
    for n in range(names):
        it.publish(queue=f"user-{n}")
        if n % at_once == at_once - 1:
            it.report()
    it.report()
    assert len(told(it)) <= KEPT
    assert f"user-{names - 1}" in told(it), "the latest are known"
    assert len(it.ledger._queues.reported) <= 3 * MOST_QUEUES
    assert it.ledger.snapshot().number("worker/published") == names
    assert set(told(it)) <= set(counted(it))
    assert len(counted(it)) <= KEPT + 1
    with caplog.at_level(logging.WARNING):
        it.scaler.evaluate(it.lease())
    assert f"more than {MOST_QUEUES} queues are in use" in caplog.text
    (pool,) = status_of(it.settings, it.ledger.snapshot())["pools"]
    assert pool["queues_left_out"]


def test_an_empty_queue_is_forgotten_and_one_with_tasks_is_not(it: Office) -> None:
    for queue in ("empty", "full", "held", "new"):
        it.publish(queue=queue)
    for queue in ("empty", "held", "new"):
        it.redis.delete(queue)
    holder = Presence("a", "worker.1", "worker", 0.0, 0.0, held={"held": Held(scheduled=1)})
    it.report(holder)
    age(it, "empty", "full", "held")
    it.scaler.evaluate(it.lease())
    assert set(told(it)) == {"full", "held", "new"}
    it.redis.delete("full")
    it.scaler.evaluate(it.lease())
    assert "full" in told(it), "that it was in use was noted"
    age(it, "full")
    it.scaler.evaluate(it.lease())
    assert "full" not in told(it)
    assert not status_of(it.settings, it.ledger.snapshot())["pools"][0]["queues_left_out"]


def test_queues_in_use_outlast_those_published_to_once(it: Office) -> None:
    it.publish(queue="steady")
    it.report()
    for n in range(3 * MOST_QUEUES):
        it.publish(queue=f"user-{n}")
        if n % 100 == 0:
            # As if all of a minute had passed.
            it.ledger._queues.reported.pop("steady", None)
            it.publish(queue="steady")
            it.report()
    it.report()
    assert "steady" in told(it)


def test_a_queue_is_told_of_again_before_it_is_forgotten(
    it: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 2 * module.TELL_QUEUES < FORGET_QUEUES
    it.publish()
    it.report()
    age(it, "celery")
    it.publish()
    it.report()
    stale = float(told(it)["celery"])
    monkeypatch.setattr(module, "TELL_QUEUES", 0.0)
    it.publish()
    it.report()
    assert float(told(it)["celery"]) > stale


def test_what_is_counted_in_any_case_is_not_told_of(redis_url: str) -> None:
    pools = {"worker": {}, "pdf": {"queues": ["pdf"]}}
    with office(redis_url, pools=pools) as it:
        for queue in ("pdf", "mine"):
            it.publish(queue=queue)
        served = Presence("a", "worker.1", "worker", 0.0, 0.0, queues=("served",))
        it.report(served)
        assert set(told(it)) == {"mine"}
        assert counted(it) == ("celery", "mine", "served")


def test_a_queue_that_no_pool_serves_is_remembered_while_tasks_lie_there(redis_url: str) -> None:
    with office(redis_url, pools={"worker": {"queues": ["celery"]}}, count_interval=1) as it:
        for queue in ("stray", "other"):
            it.redis.lpush(queue, "{}")
            it.tally.add(UNSERVED, queue, 0.0)
        it.report()
        assert set(told(it)) == {"stray", "other"}
        it.redis.delete("other")
        age(it, "stray", "other")
        it.scaler.evaluate(it.lease())
        assert set(told(it)) == {"stray"}
        assert it.platform.quantity == {}


def test_a_queue_that_routes_name_is_counted_before_anything_is_told_of_it(it: Office) -> None:
    it.app.conf.task_routes = {"app.mail": {"queue": "mail"}}
    it.redis.lpush("mail", "{}")
    broker = broker_of(it.app, it.settings, it.redis)
    Scaler(it.app, it.settings, it.ledger, broker, it.platform).evaluate(it.lease())
    assert it.platform.quantity == {"worker": 1}


def test_all_that_an_app_has_published_to_is_not_what_it_declares(it: Office) -> None:
    for n in range(100):
        it.app.amqp.queues[f"user-{n}"]
    assert len(it.app.amqp.queues) > 100
    assert counted(it) == ("celery",)


def test_a_queue_that_cannot_be_read_is_the_trouble_of_its_pool_alone(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    pools = {name: {"queues": [name], "max_workers": 5} for name in ("a", "b")}
    with office(redis_url, pools=pools, max_workers=None) as it:
        it.redis.rpush("a", "{}", "{}")  # no process reports them: only a count can find them
        it.redis.set("b", "not a list")
        it.scaler.evaluate(it.lease())
        assert it.platform.quantity == {"a": 2}
        assert "queue 'b' could not be read" in caplog.text
        counted = it.ledger.snapshot().state
        assert "a/count" in counted
        assert "b/count" not in counted
