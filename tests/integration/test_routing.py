"""Tasks that are routed by exchange and routing key are hired for, and counted to their end."""

from __future__ import annotations

import kombu
import pytest

from tests.integration.stage import Stage, stage
from tests.rabbitmq_server import RabbitServer
from tests.servers import start_worker, wait_for

ROUTED = "tests.integration.apps.routed"
FROM_ROUTED = f"from {ROUTED} import *\n"
#: As a worker does: what is published to an exchange before is lost.
DECLARE = """
with app.connection_for_write() as connection:
    for queue in app.amqp.queues.values(): queue.bind(connection.default_channel).declare()
"""


def test_tasks_of_a_direct_and_a_topic_exchange_are_hired_for(redis_url: str) -> None:
    pools = {"video": {"queues": ["video"]}, "sport": {"queues": ["sport"]}}
    publish = """
import sys
app.send_task("to-video")
sys.stdin.readline()
for _ in "12": work.apply_async(queue="sport", routing_key="news.sport.x")
sys.stdin.readline()
    """
    with (
        stage(
            redis_url,
            command=None,
            process_types={"video": 0, "sport": 0},
            settings={"pools": pools},
        ) as on,
        on.program(f"{FROM_ROUTED}{DECLARE}{publish}") as publisher,
    ):
        assert publisher.stdin is not None
        wait_for(lambda: hired(on) == {"video": 1}, message=lambda: str(on.state()))
        print(file=publisher.stdin, flush=True)
        wait_for(lambda: hired(on) == {"video": 1, "sport": 2}, message=lambda: str(on.state()))


def test_a_queue_that_only_the_broker_knows_is_counted(redis_url: str) -> None:
    pools = {"worker": {}, "hidden": {"queues": ["hidden"]}}
    with kombu.Connection(redis_url) as connection:
        kombu.Queue("hidden", kombu.Exchange("secret"), routing_key="x").bind(
            connection.channel()
        ).declare()
    with (
        stage(
            redis_url,
            command=None,
            process_types={"worker": 0, "hidden": 0},
            settings={"pools": pools},
        ) as on,
        on.program("""
            import sys
            work.delay()
            sys.stdin.readline()
            work.apply_async(exchange="secret", routing_key="x")
            sys.stdin.readline()
        """) as publisher,
    ):
        assert publisher.stdin is not None
        on.wait_for_quantity(1)
        wait_for(lambda: "worker/count" in on.state())
        print(file=publisher.stdin, flush=True)
        wait_for(lambda: hired(on) == {"worker": 1, "hidden": 1}, message=lambda: str(on.state()))
        assert on.number("hidden/published") == 0, "it cannot be known how many"


@pytest.mark.rabbitmq
def test_copies_of_a_task_in_two_pools_are_counted_in_each(
    rabbitmq: RabbitServer, redis_url: str
) -> None:
    pools = {"first": {"queues": ["one"]}, "second": {"queues": ["two"]}}
    publish = "work.apply_async(exchange='all', routing_key='any'); import time; time.sleep(60)"
    with (
        stage(
            rabbitmq.url,
            redis_url,
            command=None,
            process_types={"first": 0, "second": 0},
            settings={"pools": pools},
        ) as on,
        on.program(f"{FROM_ROUTED}{DECLARE}{publish}"),
    ):
        wait_for(lambda: hired(on) == {"first": 1, "second": 1}, message=lambda: str(on.state()))
        with (
            start_worker(ROUTED, "-P", "solo", "-Q", "one", env=on.env, ready=False),
            start_worker(ROUTED, "-P", "solo", "-Q", "two", env=on.env, ready=False),
        ):
            for pool in pools:
                on.wait_until_finished(1, pool=pool)
        assert counters(on) == {
            f"{pool}/{what}": 1 for pool in pools for what in ("published", "finished")
        }


def hired(on: Stage) -> dict[str, int]:
    return {name: quantity for name, quantity in on.emulator.quantities().items() if quantity}


def counters(on: Stage) -> dict[str, int]:
    return {
        name: int(value)
        for name, value in on.state().items()
        if name.endswith(("/published", "/finished")) and "/base_" not in name
    }
