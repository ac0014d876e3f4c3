"""A web process that has just started has waiting tasks evaluated: their publisher may be dead."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from celery_middle_management.demo.redis_server import RedisServer
from celery_middle_management.reporting.messenger import MOST_ENTRIES
from tests.integration.hook import Hook
from tests.integration.stage import Stage, stage
from tests.integration.test_connections import told
from tests.servers import wait_for

#: What its thread does, without the time that it lets pass before.
LOOK = "from celery_middle_management.app_setup import _look_in\n_look_in(0.0)\n"
STAYS = "print('there', flush=True)\nimport sys; sys.stdin.read()"


@pytest.fixture(name="on")
def _on() -> Iterator[Stage]:
    """A task of a pool at rest waits that no process has reported."""
    with (
        RedisServer() as broker,
        RedisServer() as ledger,
        stage(broker.url, ledger.url, command=None) as on,
    ):
        on.script("app.send_task('elsewhere')")
        on.wait_for_quantity(1)
        on.script("app.control.purge()")
        on.emulator.scale_by_hand("worker", 0)
        on.redis.hset("{middle-management:myapp}:state", "worker/quantity", 0)
        on.script("work.delay()", MM_OFF="1")
        yield on


def connected(on: Stage) -> int:
    """To the ledger, but for the test's own."""
    return len(on.redis.client_list()) - 1


def test_what_a_dead_process_published_is_not_left_to_chance(on: Stage) -> None:
    with on.program(LOOK + STAYS) as program:
        told(program)
        on.wait_for_quantity(1)
        wait_for(lambda: connected(on) == 0)


def test_what_it_did_is_told_before_it_leaves_its_connection(on: Stage) -> None:
    # More than one message has room for: a second claim comes a second after the first.
    entry = {"pool": "worker", "at": "2026-11-29T10:00:00+00:00", "action": "resume", "by": "ann"}
    for _ in range(MOST_ENTRIES):
        on.redis.xadd("{middle-management:myapp}:actions", {"entry": json.dumps(entry)})
    with (
        Hook() as hook,
        on.program(LOOK + STAYS, MIDDLE_MANAGEMENT_WEBHOOK=hook.url) as program,
    ):
        told(program)
        wait_for(lambda: "hire" in [entry["action"] for entry in hook.entries()[MOST_ENTRIES:]])
        assert connected(on) == 0


def test_a_process_that_publishes_meanwhile_keeps_its_connection(on: Stage) -> None:
    with on.program("work.delay()\n" + LOOK + STAYS) as program:
        told(program)
        on.wait_for_quantity(2)
        wait_for(lambda: connected(on) == 1)


@pytest.mark.slow
def test_nothing_is_evaluated_where_it_cannot_be(on: Stage) -> None:
    on.script(LOOK, MM_OFF="1")
    on.script(LOOK, MIDDLE_MANAGEMENT_MAX_WORKERS="many")
    on.script(LOOK, BROKER_URL="memory://")
    assert on.quantity == 0


@pytest.mark.parametrize("dyno", ["", "run.1234", "release.1234", "scheduler.1", "worker.1"])
def test_no_other_process_looks(dyno: str, redis_url: str) -> None:
    assert "mm-look" not in threads_of(redis_url, dyno)


@pytest.mark.parametrize("dyno", ["web.1", "web-5df4b68c9b-w78k9"])
def test_a_web_process_will_look(dyno: str, redis_url: str) -> None:
    assert "mm-look" in threads_of(redis_url, dyno)


def threads_of(redis_url: str, dyno: str) -> str:
    """Those of a process that has imported the app."""
    code = "import threading; print(*(thread.name for thread in threading.enumerate()))"
    with stage(redis_url, command=None) as on:
        return on.script(code, **({"DYNO": dyno} if dyno else {})).stdout
