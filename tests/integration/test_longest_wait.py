"""Tasks that may wait, and processes that end before a worker is hired for them. A real Redis."""

from __future__ import annotations

from time import monotonic

import pytest

from tests.integration.stage import stage
from tests.servers import wait_for

PATIENT = {"pools": {"worker": {"max_wait": 60}}}
#: For a process that has been there for longer than tasks may wait.
LESS_PATIENT = {"pools": {"worker": {"max_wait": 30}}}
STAYS = "; import time; time.sleep(600)"


def test_a_script_that_ends_hires_for_a_task_that_could_wait(redis_url: str) -> None:
    with stage(redis_url, command=None, settings=PATIENT) as on:
        on.publish("work.delay()")
        on.wait_for_quantity(1)


def test_a_young_process_hires_at_once_as_it_may_be_killed(redis_url: str) -> None:
    with stage(redis_url, command=None, settings=PATIENT) as on, on.program(f"work.delay(){STAYS}"):
        on.wait_for_quantity(1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "then", ["", "assert celery_middle_management.flush(app, 60)" + STAYS], ids=["exit", "flush"]
)
def test_one_that_has_been_there_for_long_hires_before_it_ends(redis_url: str, then: str) -> None:
    waits = "work.delay(); time.sleep(60); work.delay(); time.sleep(1)"
    with (
        stage(redis_url, settings=LESS_PATIENT) as on,
        on.program(f"import celery_middle_management, time; {waits}; {then}"),
    ):
        on.wait_for_quantity(1)
        on.wait_for_quantity(0, timeout=60)
        on.wait_for_quantity(1, timeout=120)
        assert "1 task to start within 30 s" in on.status()["last_action"]["reason"]


@pytest.mark.slow
def test_a_task_waits_for_its_worker_while_a_process_is_there_to_hire_it(redis_url: str) -> None:
    with (
        stage(redis_url, settings=LESS_PATIENT) as on,
        on.program(f"import time; work.delay(); time.sleep(60); work.delay(){STAYS}"),
    ):
        on.wait_for_quantity(1)
        wait_for(lambda: "1 task can wait" in on.status()["policy"]["why"], timeout=120)
        assert on.quantity == 0
        on.wait_for_quantity(1, timeout=120)
        assert "1 task to start within 30 s" in on.status()["last_action"]["reason"]


@pytest.mark.slow
def test_the_last_worker_of_the_app_hires_for_a_pool_whose_task_could_wait(redis_url: str) -> None:
    pools = {"worker": {"queues": ["celery"]}, "pdf": {"queues": ["pdf"], "max_wait": 40}}
    process_types = {"web": 1, "worker": 0, "pdf": 0}
    with stage(redis_url, settings={"pools": pools}, process_types=process_types) as on:
        on.publish("work.delay(45); publish.delay(1, queue='pdf')")
        on.wait_for_quantity(1)
        wait_for(lambda: on.emulator.quantities() == {"web": 1, "worker": 0, "pdf": 1}, timeout=180)


@pytest.mark.slow
@pytest.mark.parametrize("it", ["has seen it", "has not"])
def test_a_process_that_ends_hires_for_a_task_of_another_that_never_evaluates(
    redis_url: str, it: str
) -> None:
    laptop = {"MIDDLE_MANAGEMENT_OFF_PLATFORM": "false", "DYNO": ""}
    web = "import sys; work.delay(); sys.stdin.read()"
    with stage(redis_url, settings=LESS_PATIENT) as on, on.program(web) as process:
        began = monotonic()
        on.wait_for_quantity(1)
        on.wait_for_quantity(0, timeout=60)
        wait_for(lambda: monotonic() - began > 35, timeout=60)
        on.script("work.delay()", **laptop)
        if it == "has seen it":
            wait_for(lambda: "holds_back" in on.state(), timeout=60)
        assert on.quantity == 0
        process.communicate(timeout=60)
        on.wait_for_quantity(1)
