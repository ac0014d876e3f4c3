"""Messages that the broker keeps until they are due, and where they are then."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from celery import Celery
from kombu import Exchange, Queue

from celery_middle_management.core.batch import Batch
from celery_middle_management.core.headers import HEADER
from celery_middle_management.counting.delayed import (
    delayed_natively,
    without_delay,
)
from celery_middle_management.counting.routing import Routes
from celery_middle_management.counting.signals import SignalHandlers
from celery_middle_management.counting.tally import Tally

quorum_queues = pytest.importorskip("celery.utils.quorum_queues", reason="Celery before 5.5")
QUORUM = {"x-queue-type": "quorum"}


def queues() -> dict[str, Queue]:
    media = Exchange("media", "topic")
    declared = (
        Queue("direct", Exchange("direct"), routing_key="direct"),
        Queue("pdf", media, routing_key="media.*.pdf", queue_arguments=QUORUM),
        Queue("rest", media, routing_key="media.#"),
        Queue("two", bindings=[media.binding("one"), media.binding("two")]),
    )
    return {queue.name: queue for queue in declared}


DELAY = "0." * 23 + "1.1.1.1.0."


@pytest.mark.parametrize(
    ("exchange", "routing_key", "expected"),
    [
        (Exchange("celery_delayed_27", "topic"), f"{DELAY}media.big.pdf", ["pdf", "rest"]),
        ("celery_delayed_27", f"{DELAY}media.big.jpg", ["rest"]),
        ("team_celery_delayed_27", f"{DELAY}two", ["two"]),
        ("celery_delayed_27", f"{DELAY}direct", []),
        ("celery_delayed_27", "media.big.pdf", []),
        ("media", f"{DELAY}media.big.pdf", []),
    ],
)
def test_the_queues_of_a_delayed_message(
    exchange: Any, routing_key: str, expected: list[str]
) -> None:
    routes = Routes(queues, fanout_waits=lambda: True)
    assert list(routes.queues_of(exchange, routing_key)) == expected


def test_the_delay_is_no_part_of_the_routing_key() -> None:
    assert without_delay(f"{DELAY}0.1.pdf") == "0.1.pdf"
    assert without_delay("0.1.pdf") == "0.1.pdf"


def an_app(broker: str = "amqp://") -> Celery:
    app = Celery("delayed", broker=broker, set_as_current=False)
    app.conf.update(
        task_queues=list(queues().values()),
        task_create_missing_queue_exchange_type="topic",
        broker_connection_timeout=0.1,
    )
    return app


def test_which_queues_the_broker_delays_for() -> None:
    delayed = delayed_natively(an_app())
    assert [delayed(name) for name in ("direct", "pdf", "rest", "missing")] == [
        False,
        True,
        True,
        True,
    ]
    assert not delayed_natively(an_app("redis://"))("pdf")
    plain = an_app()
    plain.conf.task_queues = [queues()["rest"]]
    assert not delayed_natively(plain)("rest")


def test_a_delayed_task_gets_our_headers_and_its_due_time_is_recorded() -> None:
    """With the message as the Celery that is installed makes it."""
    app, tally = an_app(), Tally()
    handlers = SignalHandlers(app, tally, lambda _: True, lambda: None)
    sent: dict[str, Any] = {}

    class Producer:
        connection = app.connection_for_write()

        def publish(self, body: Any, **message: Any) -> None:
            sent.update(message)

    due = datetime.now(timezone.utc) + timedelta(seconds=90)
    for when in ({"countdown": 90}, {"eta": due}):
        app.send_task("make", queue="pdf", producer=Producer(), **when)
        assert sent["exchange"].name == "celery_delayed_27"
        handlers.published.before_task_publish(
            sent["headers"], None, sent["exchange"], sent["routing_key"]
        )
        handlers.published.after_task_publish(sent["headers"])
        assert sent["headers"][HEADER] == "pdf"
    batch = Batch()
    tally.drain(batch)
    assert not batch.published
    dues = batch.scheduled["pdf"].values()
    assert all(abs(each.first - due.timestamp()) < 3 for each in dues)
    assert sum(each.tasks for each in dues) == 2
