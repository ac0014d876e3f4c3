"""From a published task to workers and back, through the real heroku3."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import pytest

from tests.integration.stage import Stage, stage
from tests.servers import wait_for

#: Publishes three tasks in a row.
THREE = "for _ in range(3): work.delay(2)\n"


def changes(on: Stage) -> list[tuple[int, int]]:
    return [(c.before, c.after) for c in on.emulator.changes]


def assert_spaced(on: Stage, interval: float) -> None:
    """No two changes but hires from zero are less than the call interval apart."""
    for earlier, later in pairwise(on.emulator.changes):
        assert later.before == 0 or later.at - earlier.at >= interval


@pytest.mark.parametrize(
    "ending",
    [
        pytest.param("", id="script"),
        pytest.param("import time; time.sleep(45)", id="lives on", marks=pytest.mark.slow),
    ],
)
def test_three_tasks_are_hired_for_run_and_fired_after(
    redis_url: str, tmp_path: Path, ending: str
) -> None:
    with stage(redis_url, log_dir=tmp_path) as on, on.program(THREE + ending):
        on.wait_for_quantity(3)
        assert changes(on) == [(0, 3)]
        on.wait_for_quantity(0)
        assert on.number("worker/published") == on.number("worker/finished") == 3
        assert_spaced(on, 10.0)


def test_a_script_ends_although_heroku_hangs(redis_url: str) -> None:
    with stage(redis_url) as on:
        on.emulator.fault("hang")
        began = time.monotonic()
        on.script(THREE + "import sys; sys.stdout.flush()")
        # Five seconds for us at most, the rest for a slow machine to start and end a Python.
        assert time.monotonic() - began < 30
        assert on.number("worker/published") == 3
        assert changes(on) == []


@pytest.mark.slow
def test_what_one_process_could_not_hire_another_one_does(redis_url: str) -> None:
    with stage(redis_url, command=None) as on:
        on.emulator.fault("status", status=503)
        on.script(THREE)
        on.emulator.clear_faults()
        with on.program("work.delay(2); import time; time.sleep(60)"):
            on.wait_for_quantity(4)


def test_a_burst_of_many_processes_is_one_hire(redis_url: str) -> None:
    publish = """
        import time
        for _ in range(50):
            noop.delay()
            time.sleep(0.01)
    """
    with stage(redis_url, command=None, settings={"jobs_per_worker": 1000}) as on:
        programs = [on.program(publish) for _ in range(4)]
        processes = [program.__enter__() for program in programs]
        for process in processes:
            process.wait(60)
        assert on.number("worker/published") == 200
        assert changes(on) == [(0, 1)]


def test_a_hire_that_was_suppressed_follows_after_the_call_interval(
    redis_url: str, tmp_path: Path
) -> None:
    hired = tmp_path / "hired"
    with stage(redis_url, command=None, settings={"call_interval": 3}) as on:
        with on.program(f"""
            import os, time
            work.delay()
            while not os.path.exists({str(hired)!r}): time.sleep(0.05)
            work.delay(); work.delay(); time.sleep(60)
        """):
            on.wait_for_quantity(1)
            hired.touch()
            on.wait_for_quantity(3)
        assert changes(on) == [(0, 1), (1, 3)]
        assert_spaced(on, 3.0)


def test_forked_children_publish_for_themselves(redis_url: str) -> None:
    with stage(redis_url, command=None) as on:
        on.script("""
            import multiprocessing
            work.delay()
            def child():
                work.delay()
                work.delay()
            context = multiprocessing.get_context("fork")
            children = [context.Process(target=child) for _ in range(3)]
            for c in children: c.start()
            for c in children: c.join()
        """)
        assert on.number("worker/published") == 7


def test_publishing_under_gevent(redis_url: str) -> None:
    pytest.importorskip("gevent")
    code = """
        import gevent
        for job in [gevent.spawn(work.delay) for _ in range(4)]: job.join()
        gevent.sleep(30)
    """
    with stage(redis_url, command=None) as on, on.program(code, PATCH="gevent"):
        on.wait_for_quantity(4)


@pytest.mark.slow
def test_the_minimum_is_kept(redis_url: str, tmp_path: Path) -> None:
    with (
        stage(redis_url, log_dir=tmp_path, settings={"min_workers": 1, "call_interval": 1}) as on,
        on.program(THREE + "import time; time.sleep(60)"),
    ):
        on.wait_for_quantity(3)
        on.wait_for_quantity(1)
        on.wait_until_finished(3)
        wait_for(lambda: on.status()["workers"]["needed"] == 1)
        assert min(after for _, after in changes(on)) == 1


def test_pools_are_changed_in_one_call(redis_url: str) -> None:
    pools = {
        "worker": {"jobs_per_worker": 1},
        "pdf": {"queues": ["pdf"], "max_workers": 2, "jobs_per_worker": 1},
    }
    with stage(
        redis_url,
        command=None,
        process_types={"web": 1, "worker": 0, "pdf": 0},
        settings={"pools": pools},
    ) as on:
        on.script("""
            for _ in range(3): work.delay()
            for _ in range(3): work.apply_async(queue="pdf")
            for _ in range(3): work.apply_async(queue="pdf", priority=9)
        """)
        assert on.emulator.quantities() == {"web": 1, "worker": 3, "pdf": 2}
        assert sum(r.method == "PATCH" for r in on.emulator.requests) == 1


def test_a_pool_that_the_platform_refuses_stops_no_other(redis_url: str) -> None:
    pools = {
        "worker": {"jobs_per_worker": 1},
        "pdf": {"queues": ["pdf"], "max_workers": 2, "jobs_per_worker": 1},
    }
    code = """
        for _ in range(3): work.delay()
        work.apply_async(queue="pdf")
        import time; time.sleep(60)
    """
    with (
        stage(redis_url, command=None, settings={"pools": pools, "call_interval": 1}) as on,
        on.program(code),
    ):
        on.wait_for_quantity(3)
        wait_for(lambda: "pdf/refusal" in on.state())
        assert "no process type 'pdf'" in on.state()["pdf/refusal"]
        [trouble] = on.whole_status()["trouble"]
        assert trouble["pool"] == "pdf"


@pytest.mark.slow
def test_who_is_up_and_never_heard_of_is_not_fired(redis_url: str) -> None:
    """The dyno is there, and what it does is unknown; the queue is empty."""
    code = """
        work.delay()
        input(); app.control.purge(); import time; time.sleep(90)
    """
    settings = {"call_interval": 1, "count_interval": 2}
    with stage(redis_url, command=None, settings=settings) as on, on.program(code) as program:
        on.wait_for_quantity(1)
        assert program.stdin is not None
        print(file=program.stdin, flush=True)
        wait_for(
            lambda: on.status()["workers"]["unheard"] and not on.status()["workers"]["needed"], 60
        )
        [unheard] = on.status()["workers"]["unheard"]
        assert unheard["name"] == "worker.1"

        def troubles() -> list[str]:
            return [trouble["what"] for trouble in on.whole_status()["trouble"]]

        wait_for(troubles, 90)
        [told] = troubles()
        assert "no worker has reported since the quantity was raised to 1" in told, (
            "once, of the pool"
        )
        assert on.quantity == 1


@pytest.mark.slow
def test_scaling_by_hand_is_respected_and_drained_back(redis_url: str, tmp_path: Path) -> None:
    with (
        stage(redis_url, log_dir=tmp_path, settings={"max_workers": 2, "call_interval": 1}) as on,
        on.program("work.delay(15)\nimport time; time.sleep(90)"),
    ):
        on.wait_for_quantity(1)
        on.emulator.scale_by_hand("worker", 4)
        on.wait_for_quantity(0, timeout=100)
        ours = [c for c in on.emulator.changes if c.by == "api"]
        assert all(c.after <= 2 for c in ours)
        assert on.number("worker/finished") == 1
        assert not any(stop.sigkilled for stop in on.emulator.stops)
