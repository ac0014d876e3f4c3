"""A dry run counts, decides, records and shows everything, and changes nothing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.scenes import A_WHILE, PREFIX
from tests.integration.stage import APP, ROOT, Stage, stage
from tests.servers import wait_for

PUBLISH = "for _ in range(3): work.delay()"
WRITES = {"PATCH", "POST", "PUT", "DELETE"}


def decisions(on: Stage) -> list[dict[str, Any]]:
    """The recorded decisions, the oldest first."""
    told: Any = on.redis.xrange(f"{PREFIX}:actions")
    return [json.loads(fields["entry"]) for _, fields in told]


def written(on: Stage) -> set[str]:
    return {request.method for request in on.emulator.requests} & WRITES


def without_times(decision: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in decision.items() if name not in ("at", "dry_run")}


def decided_at_once(on: Stage, count: int) -> list[dict[str, Any]]:
    """The decisions for *count* tasks that are reported together."""
    lock = f"{PREFIX}:lock"
    on.redis.set(lock, "another process's")
    with on.program(f"for _ in range({count}): work.delay()\nimport time; time.sleep(90)"):
        wait_for(lambda: on.number("worker/published") == count)
        on.redis.delete(lock)
        wait_for(lambda: decisions(on))
    return decisions(on)


@pytest.mark.parametrize("count", [3, 40])
def test_what_is_decided_is_what_a_real_run_would_do(redis_url: str, count: int) -> None:
    with stage(redis_url, command=None) as on:
        [real] = decided_at_once(on, count)
        on.redis.flushall()
    with stage(redis_url, command=None, settings={"dry_run": True}) as on:
        [dry] = decided_at_once(on, count)
        assert not written(on)
        assert on.quantity == 0
    assert dry["dry_run"] is True
    assert "dry_run" not in real
    assert without_times(dry) == without_times(real)


@pytest.mark.slow
def test_no_one_off_worker_is_hired(redis_url: str) -> None:
    settings = {"dry_run": True, "dynos": "one-off"}
    with stage(redis_url, command=None, settings=settings) as on:
        [dry] = decided_at_once(on, 3)
        assert (dry["action"], dry["to"]) == ("hire", 3)
        assert not written(on)
        # It leaves nothing that a process without dry run would read, either.
        assert not {"worker/roster", "worker/dynos"} & on.state().keys()


@pytest.mark.slow
def test_no_worker_is_cordoned_or_fired(redis_url: str, tmp_path: Path) -> None:
    settings = {"dry_run": True, "call_interval": 1, "count_interval": 2}
    with (
        stage(redis_url, log_dir=tmp_path, settings=settings, process_types={"worker": 3}) as on,
        on.program(f"{PUBLISH}\nimport time; time.sleep(90)"),
    ):
        wait_for(lambda: on.number("worker/finished") == 3)
        # The first decisions may be of a moment when some tasks still ran.
        wait_for(lambda: any(decision["to"] == 0 for decision in decisions(on)))
        assert without_times(decisions(on)[-1]) == {
            "pool": "worker",
            "action": "fire",
            "from": 3,
            "to": 0,
            "reason": "0 tasks at 1 per worker need 0, limits 0 to 5",
        }
        recorded = len(decisions(on))
        end = time.monotonic() + A_WHILE
        while time.monotonic() < end:
            assert "worker/cordon" not in on.state()
            assert not any(told["stopped"] for told in on.presences())
            time.sleep(0.1)
        assert len(decisions(on)) == recorded  # once
        assert not written(on)
        assert on.quantity == 3
        shown = on.whole_status()
        assert shown["dry_run"] is True
        assert shown["pools"][0]["workers"]["draining"] == []
        table = on.script("app.start(['mm', 'status'])", COLUMNS="200").stdout
        assert table.startswith("DRY RUN")
        assert "would fire 3 -> 0" in table


@pytest.mark.slow
def test_a_worker_takes_as_much_as_without_us(redis_url: str, tmp_path: Path) -> None:
    with (
        stage(
            redis_url, log_dir=tmp_path, settings={"dry_run": True}, process_types={"worker": 1}
        ) as on,
        on.program("for _ in range(8): work.delay(30)\nimport time; time.sleep(90)"),
    ):
        # One for each slot, besides those that run: the app has a prefetch multiplier of 1.
        wait_for(lambda: any(sum(told["held"]["celery"][:2]) == 2 for told in held(on)))
        assert not any(told["full"] for told in on.presences())


def held(on: Stage) -> list[dict[str, Any]]:
    return [told for told in on.presences() if told["held"].get("celery")]


@pytest.mark.slow
def test_run_dry_beside_an_app_leaves_no_trace(redis_url: str, tmp_path: Path) -> None:
    with stage(redis_url, command=None, settings={"call_interval": 1}) as on:
        # No other process evaluates: the publisher reports its tasks and is killed.
        on.script(f"{PUBLISH}\nimport time, os; time.sleep(3); os._exit(0)")
        on.emulator.scale_by_hand("worker", 0)
        on.redis.hset(f"{PREFIX}:state", "worker/quantity", 0)
        # An evaluation may have died with it.
        wait_for(lambda: not on.redis.exists(f"{PREFIX}:lock"))
        requests, keys = len(on.emulator.requests), contents(on)
        on.emulator.fault("status", status=503)
        log = tmp_path / "log"
        with log.open("wb") as output:
            run = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", APP, "mm", "run", "--dry-run"],
                env=on._environment({}),
                cwd=ROOT,
                stderr=output,
            )
        try:
            # Its troubles are only in its own log.
            wait_for(lambda: "503" in log.read_text(), message=log.read_text)
            on.emulator.clear_faults()
            said = 'would hire pool=worker from=0 to=3 reason="3 tasks at 1 per worker need 3'
            wait_for(lambda: said in log.read_text(), message=log.read_text)
            time.sleep(12)  # it looks again
            run.send_signal(signal.SIGTERM)
            assert run.wait(30) == 0
        finally:
            run.kill()
            run.wait()
        assert log.read_text().count("would hire") == 1
        assert contents(on) == keys
        made = on.emulator.requests[requests:]
        assert made
        assert all(request.method == "GET" for request in made)


def contents(on: Stage) -> dict[str, object]:
    state = on.state()
    keys = sorted(on.redis.keys("*middle*"))  # type: ignore[arg-type]
    return {"keys": keys, "state": state, "history": decisions(on)}


def test_every_process_that_decides_says_so(redis_url: str) -> None:
    with stage(redis_url, command=None, settings={"dry_run": True}) as on:
        told = on.script(f"{PUBLISH}\nimport time; time.sleep(3)").stderr
    assert 'would hire pool=worker from=0 to=3 reason="3 tasks' in told
