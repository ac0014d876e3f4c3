"""With RabbitMQ for a broker and the ledger in Redis."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import kombu
import pytest

from tests.integration.scenes import A_WHILE, scene
from tests.integration.stage import WORKER
from tests.rabbitmq_server import RabbitServer

pytestmark = pytest.mark.rabbitmq


@pytest.mark.slow
def test_workers_are_hired_and_drained(rabbitmq: RabbitServer, tmp_path: Path) -> None:
    queue = "hired-and-drained"
    with scene(
        tmp_path, broker_url=rabbitmq.url, env={"TASK_QUEUE": queue, "PRIORITIES": "1"}
    ) as it:
        publisher = it.program()
        assert length(publisher.say, queue) == 0, "there is no such queue"
        publisher.say("note.apply_async(countdown=300)")
        publisher.say("for priority in (0, 5): hold.apply_async(priority=priority)")
        it.wait_at_work("worker.1", "worker.2")
        assert it.changes[0] == (0, 2)
        publisher.say("for priority in (0, 5, 9): note.apply_async(priority=priority)")

        it.wait(lambda: sum(p["held"].get(queue, [0] * 3)[2] for p in it.on.presences()) == 1)
        it.let_go("worker.1", "worker.2")
        it.wait_for_quantity(0)
        it.wait(lambda: not [d for d in it.emulator.dynos() if d.type == "worker"])
        # What a worker held for later is back.
        assert length(publisher.say, queue) == 1
        make_due(rabbitmq, queue)
        publisher.say("note.delay()")
        it.wait(lambda: len([run for run in it.journal.runs() if run.end]) == 7)
        it.wait_for_quantity(0)
        it.assert_no_worker_was_killed()


@pytest.mark.slow
def test_nothing_is_fired_while_the_broker_cannot_be_counted(
    rabbitmq: RabbitServer, tmp_path: Path
) -> None:
    with scene(
        tmp_path,
        broker_url=rabbitmq.url,
        env={"TASK_QUEUE": "paused"},
        command=(*WORKER, "--queues", "paused"),
    ) as it:
        publisher = it.program()
        publisher.say("for _ in range(2): hold.delay()")
        it.wait_at_work("worker.1", "worker.2")
        counted = it.count["at"]
        rabbitmq.pause()
        try:
            it.let_go("worker.1", "worker.2")
            it.wait(lambda: it.on.number("worker/finished") == 2)
            time.sleep(A_WHILE)
            assert it.on.quantity == 2
            assert it.count["at"] == counted
        finally:
            rabbitmq.resume()
        began = time.monotonic()
        it.wait_for_quantity(0)
        print(f"fired {time.monotonic() - began:.1f} s after the broker returned")
        it.assert_no_worker_was_killed()


@pytest.mark.slow
def test_a_pool_at_zero_is_woken_for_what_the_broker_keeps_until_it_is_due(
    rabbitmq: RabbitServer, tmp_path: Path
) -> None:
    native = pytest.importorskip("kombu.transport.native_delayed_delivery")
    queue, countdown = "kept", 14
    exchange = kombu.Exchange(queue, "topic")
    with kombu.Connection(rabbitmq.url) as connection:
        # As every worker does when it comes up.
        native.declare_native_delayed_delivery_exchanges_and_queues(connection, "classic")
        declared = kombu.Queue(
            queue, exchange, queue, queue_arguments={"x-queue-type": "quorum"}
        ).bind(connection.default_channel)
        declared.declare()
        native.bind_queue_to_native_delayed_delivery_exchange(connection, declared)
    # Counted all the time, so that a count comes upon an empty queue.
    with scene(
        tmp_path,
        broker_url=rabbitmq.url,
        env={"TASK_QUEUE": queue, "QUORUM": "1"},
        settings={"count_interval": 1},
    ) as it:
        publisher = it.program()
        publisher.say(f"for _ in range(2): note.apply_async(countdown={countdown})")
        it.wait(lambda: len([run for run in it.journal.runs() if run.end]) == 2)
        it.wait_for_quantity(0)
        # Once for each, and no worker is fired before both have run. They may fall due
        # apart, where a bucket ends between the two.
        quantities = [0, *(after for _, after in it.changes)]
        up = quantities.index(2)
        assert quantities[: up + 1] in ([0, 2], [0, 1, 2]), it.told()
        assert quantities[up:] in ([2, 0], [2, 1, 0]), it.told()
        it.assert_no_worker_was_killed()


def length(say: Any, queue: str) -> int:
    """Messages in the queue, as a scaler counts them."""
    code = "from celery_middle_management.brokers import KombuBroker; "
    return int(say(f"{code}result = KombuBroker(app).backlogs([{queue!r}], {{}})[{queue!r}].ready"))


def make_due(rabbitmq: RabbitServer, queue: str) -> None:
    """As if the time of the one message had come."""
    with kombu.Connection(rabbitmq.url) as connection, connection.channel() as channel:
        message = channel.basic_get(queue, no_ack=True)
        properties = {**message.properties, "headers": {**message.headers, "eta": None}}
        again = channel.prepare_message(
            message.body,
            content_type=message.content_type,
            content_encoding=message.content_encoding,
            headers=properties.pop("application_headers", {}) | {"eta": None},
            properties={k: properties[k] for k in ("correlation_id", "reply_to") if properties[k]},
        )
        channel.basic_publish(again, exchange="", routing_key=queue)
