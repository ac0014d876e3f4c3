"""A cordoned worker takes nothing; once the cordon is lifted, it consumes as before."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.scenes import A_WHILE, CONSUMES_QUORUM_QUEUES, Scene, scene
from tests.integration.stage import WORKER
from tests.rabbitmq_server import RabbitServer

pytestmark = pytest.mark.slow

#: One worker, the test's own, and no evaluation but the test.
ALONE: dict[str, Any] = {
    "command": None,
    "process_types": {"worker": 1},
    "settings": {"min_workers": 0, "max_workers": 1},
}
BROKERS = ["redis", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)]
POOLS = ["prefork", "threads", "gevent"]
#: Celery's default. With 1, its gevent takes up to 2 s for each task.
PREFETCH = ("--prefetch-multiplier", "4")


@pytest.fixture(params=BROKERS)
def broker_url(request: pytest.FixtureRequest) -> str | None:
    """None stands for the scene's own Redis."""
    if request.param == "redis":
        return None
    rabbitmq: RabbitServer = request.getfixturevalue("rabbitmq")
    return rabbitmq.url


def cordon(it: Scene) -> None:
    it.draw_cordon(above=0)
    it.wait(lambda: it.has_stopped("worker.1"))


def lift(it: Scene) -> None:
    it.draw_cordon(above=None)
    it.wait(lambda: not it.presence("worker.1")["stopped"])


def ended(it: Scene) -> list[str]:
    return [run.task for run in it.journal.runs() if run.end is not None]


@pytest.mark.parametrize("pool", POOLS)
def test_a_worker_consumes_what_it_did_before(
    pool: str, broker_url: str | None, tmp_path: Path
) -> None:
    """Not every queue that the app has met meanwhile."""
    queue, other = f"first-{pool}", f"other-{pool}"
    with scene(tmp_path, broker_url=broker_url, env={"TASK_QUEUE": queue}, **ALONE) as it:
        it.forbid_evaluations()
        publisher = it.program()
        with it.on.worker("-P", pool, "-c", "1", *PREFETCH, "-Q", queue, DYNO="worker.1") as worker:
            publisher.say(f"publish.delay(1, 0, {other!r})")
            publisher.say(f"app.control.broadcast('add_consumer', {{'queue': 'added-{pool}'}})")
            cordon(it)
            it.wait(lambda: "drained worker=worker.1 after=" in worker.log)
            publisher.say("note.delay()")
            publisher.say(f"note.apply_async(queue='added-{pool}')")
            publisher.say(f"note.apply_async(queue={other!r})")
            time.sleep(A_WHILE)
            assert not ended(it)
            lift(it)
            it.wait(lambda: "undrain worker=worker.1" in worker.log)
            it.wait(lambda: len(ended(it)) == 2)
            time.sleep(A_WHILE)
            assert len(ended(it)) == 2


@pytest.mark.parametrize("pool", POOLS)
def test_a_stopped_worker_takes_nothing_and_order_is_kept(
    pool: str, broker_url: str | None, tmp_path: Path
) -> None:
    """Tasks are published all the time, so that some are on their way when it is cordoned."""
    queue = f"in-order-{pool}"
    with scene(tmp_path, broker_url=broker_url, env={"TASK_QUEUE": queue}, **ALONE) as it:
        it.forbid_evaluations()
        publisher = it.program()
        with it.on.worker("-P", pool, "-c", "1", *PREFETCH, "-Q", queue, DYNO="worker.1"):
            publisher.say("import threading; stop = threading.Event(); sent = []")
            publisher.say(
                "threading.Thread(target=lambda: [sent.append(note.delay().id)"
                " for _ in iter(lambda: stop.wait(0.2), True)], daemon=True).start()"
            )
            for _ in range(6):
                cordon(it)
                begun = len(it.journal.runs())
                time.sleep(1.5)
                assert len(it.journal.runs()) == begun
                lift(it)
                it.wait(lambda n=begun: len(ended(it)) > n)  # type: ignore[misc]
            sent = publisher.say("stop.set(); import time; time.sleep(0.5); result = sent")
            it.wait(lambda: len(ended(it)) == len(sent))
        assert [run.task for run in it.journal.runs()] == sent
        assert not [run for run in it.journal.runs() if run.redelivered]


def test_a_worker_that_starts_cordoned_takes_nothing(
    broker_url: str | None, tmp_path: Path
) -> None:
    with scene(tmp_path, broker_url=broker_url, env={"TASK_QUEUE": "unbegun"}, **ALONE) as it:
        it.forbid_evaluations()
        it.draw_cordon(above=0)
        it.program().say("note.delay()")
        with it.on.worker("-c", "1", "-Q", "unbegun", DYNO="worker.1"):
            it.wait(lambda: it.has_stopped("worker.1"))
            time.sleep(A_WHILE)
            assert not it.journal.runs()
            lift(it)
            it.wait(lambda: len(ended(it)) == 1)


#: The arguments of a queue that drops a message which comes back too often.
LIMITED: Callable[[int], dict[str, str]] = lambda limit: {  # noqa: E731
    "TASK_QUEUE": f"limited-{limit}",
    "QUEUE_ARGUMENTS": json.dumps({"x-queue-type": "quorum", "x-delivery-limit": limit}),
}
needs_quorum_queues = pytest.mark.skipif(
    not CONSUMES_QUORUM_QUEUES, reason="Celery cannot consume quorum queues"
)


@needs_quorum_queues
@pytest.mark.rabbitmq
@pytest.mark.parametrize(
    ("limit", "pool"),
    [
        (0, "prefork"),
        (1, "prefork"),
        *(pytest.param(1, p, marks=pytest.mark.slow) for p in ("threads", "solo", "gevent")),
    ],
)
def test_a_worker_stays_for_a_scheduled_task_that_must_not_go_back(
    limit: int, pool: str, tmp_path: Path, rabbitmq: RabbitServer
) -> None:
    env = {**LIMITED(limit), "TASK_QUEUE": f"limited-{limit}-{pool}"}
    with scene(tmp_path, broker_url=rabbitmq.url, env=env, **ALONE) as it:
        permit = it.forbid_evaluations()
        publisher = it.program()
        with it.on.worker("-c", "1", "-P", pool, DYNO="worker.1"):
            publisher.say("note.apply_async(countdown=60)")
            it.wait(lambda: it.presence("worker.1").get("held"))
            it.draw_cordon(above=0)
            it.wait(lambda: it.presence("worker.1")["stopped"] == it.cordon["at"])
            time.sleep(A_WHILE)
            assert not it.has_stopped("worker.1")
            permit()


@needs_quorum_queues
@pytest.mark.rabbitmq
def test_a_scheduled_task_survives_the_fires_of_those_that_hold_it(
    tmp_path: Path, rabbitmq: RabbitServer
) -> None:
    """It goes back while that leaves half of its returns, and then keeps its worker."""
    # A scheduled task counts towards the prefetch count of a quorum queue.
    command = (*WORKER, "--prefetch-multiplier", "4")
    settings = {"max_workers": 1}
    with scene(
        tmp_path, broker_url=rabbitmq.url, env=LIMITED(4), command=command, settings=settings
    ) as it:
        publisher = it.program()
        publisher.say("note.apply_async(countdown=100)")
        for fires in range(1, 3):
            publisher.say("note.delay()")
            it.wait(lambda n=fires: len(ended(it)) == n)  # type: ignore[misc]
            it.wait_for_quantity(0)
            it.wait(lambda n=fires: len(it.emulator.stops) == n)  # type: ignore[misc]
        publisher.say("note.delay()")
        it.wait(lambda: len(ended(it)) == 4, 150.0)
        it.wait_for_quantity(0)
        assert [run.redelivered for run in it.journal.runs()] == [False, False, False, True]
        assert len(it.emulator.stops) <= 3
