"""What a real worker tells for policies that measure: its slots, its running tasks, late starts."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.apps.journal import Journal
from tests.integration.stage import ALONE, Stage, stage
from tests.servers import wait_for

#: The arguments of a worker, and how many tasks it can run at the same time.
SLOTS = {
    "prefork": (("-c", "3"), 3),
    "autoscale": (("--autoscale", "4,1"), 4),
    "threads": (("-P", "threads", "-c", "3"), 3),
    "solo": (("-P", "solo", "-c", "3"), 1),
    "gevent": (("-P", "gevent", "-c", "3"), 3),
    "eventlet": (("-P", "eventlet", "-c", "3"), 3),
}
#: A time (s) within which tasks start, however slow the machine is.
LONG = 600


def told(on: Stage) -> dict[str, Any]:
    """What the only worker last said of itself; empty if it has said nothing yet."""
    return next(iter(on.presences()), {})


@pytest.mark.parametrize(
    "kind",
    [
        *("prefork", "threads"),
        *(
            pytest.param(k, marks=pytest.mark.slow)
            for k in sorted(SLOTS.keys() - {"prefork", "threads"})
        ),
    ],
)
def test_a_worker_tells_its_slots_and_how_long_its_tasks_have_run(
    kind: str, redis_url: str, tmp_path: Path
) -> None:
    if kind in ("gevent", "eventlet"):
        pytest.importorskip(kind)
    (arguments, slots), journal = SLOTS[kind], Journal(tmp_path)
    with (
        stage(redis_url, **ALONE) as on,
        on.worker(*arguments, DYNO="worker.1", JOURNAL=str(tmp_path)) as worker,
    ):
        wait_for(lambda: told(on).get("slots"), message=lambda: worker.log)
        assert told(on)["slots"] == slots
        assert "elapsed" not in told(on), "it runs nothing"
        began = time.monotonic()
        on.script("work.apply_async(countdown=300); hold.delay(); hold.delay()")
        running = min(slots, 2)
        wait_for(lambda: told(on).get("elapsed", 0.0) > running * 2.0, message=lambda: worker.log)
        presence = told(on)
        # The scheduled task does not run.
        assert presence["elapsed"] < running * (time.monotonic() - began)
        assert presence["held"]["celery"][1:3] == [running, 1]
        wait_for(
            lambda: journal.let_go("worker.1") or "elapsed" not in told(on),
            message=lambda: worker.log,
        )
        assert told(on)["slots"] == slots


def test_a_task_that_starts_after_its_pools_max_wait_is_late(redis_url: str) -> None:
    pools = {
        "worker": {"max_wait": 1},
        "patient": {"queues": ["patient"], "max_wait": LONG},
        "any": {"queues": ["any"]},
    }
    queues = ("celery", "patient", "any")
    with stage(
        redis_url,
        command=None,
        process_types=dict.fromkeys(pools, 0),
        settings={"pools": pools},
    ) as on:
        on.script(f"for queue in {queues!r}: work.apply_async(queue=queue)")
        wait_for(lambda: all(on.redis.llen(queue) == 1 for queue in queues))
        time.sleep(1.5)
        with on.worker("-c", "1", "-Q", ",".join(queues)) as worker:
            for pool in pools:
                wait_for(
                    lambda pool=pool: on.number(f"{pool}/started") == 1,  # type: ignore[misc]
                    message=lambda: worker.log,
                )
            late = {pool: on.state().get(f"{pool}/late") for pool in pools}
    assert late == {"worker": "1", "patient": None, "any": None}
