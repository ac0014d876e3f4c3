"""`mm pause`, `resume`, `hire`, `fire` and `log`, as people type them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from celery_middle_management.demo.redis_server import free_port
from tests.integration.scenes import A_WHILE
from tests.integration.stage import APP, ROOT, Stage, stage
from tests.servers import wait_for


def mm(on: Stage, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "celery", "-A", APP, "mm", *arguments],
        env=on._environment({"USER": "ann", "LOGNAME": "ann", **env}),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def log(on: Stage) -> list[dict[str, Any]]:
    return [json.loads(line) for line in mm(on, "log", "--json").stdout.splitlines()]


def decided(on: Stage) -> list[dict[str, Any]]:
    """The entries of the log without troubles: where no worker is started, none reports."""
    return [entry for entry in log(on) if entry["action"] != "trouble"]


def did(on: Stage) -> list[tuple[str, int | None]]:
    return [(entry["action"], entry.get("to")) for entry in decided(on)]


@pytest.mark.slow
def test_a_pause_hires_no_worker_until_it_ends(redis_url: str) -> None:
    with stage(redis_url, command=None, settings={"call_interval": 1}) as on:
        assert mm(on, "pause").returncode == 0
        on.script("for _ in range(3): work.delay()\nimport time; time.sleep(3)")
        assert on.quantity == 0
        told = on.whole_status()
        assert (told["paused"], told["pause"]["by"][:4]) == (True, "ann@")
        assert "PAUSED  no hires and no fires" in mm(on, "status", COLUMNS="200").stdout
        assert mm(on, "resume").returncode == 0
        on.wait_for_quantity(3)
        assert did(on) == [("pause", None), ("resume", None), ("hire", 3)]


@pytest.mark.slow
def test_tasks_that_wait_in_a_pause_or_for_a_maximum_of_0_are_trouble(redis_url: str) -> None:
    with stage(redis_url, command=None) as on:
        mm(on, "pause")
        on.publish("work.delay()")
        status = mm(on, "status", COLUMNS="200")
        assert status.returncode == 1
        assert "1 task waits, and no worker is hired: hires are paused" in status.stdout
        assert re.search(
            r"PAUSED  no hires and no fires, by ann@\S+ \d+ s ago, until", status.stdout
        )
        mm(on, "resume")
        on.wait_for_quantity(1)
        assert mm(on, "status").returncode == 0
    with stage(redis_url, command=None, settings={"max_workers": 0}) as on:
        on.redis.flushall()
        on.publish("work.delay()")
        status = mm(on, "status", COLUMNS="200")
        assert status.returncode == 1
        assert "1 task waits, and no worker is hired: max_workers is 0" in status.stdout
        assert on.emulator.changes == []


@pytest.mark.slow
def test_no_worker_stays_where_max_workers_is_0(redis_url: str, tmp_path: Path) -> None:
    with stage(redis_url, log_dir=tmp_path, settings={"max_workers": 0, "call_interval": 1}) as on:
        on.emulator.scale_by_hand("worker", 2)
        with on.program("work.delay(3)\nimport time; time.sleep(90)"):
            on.wait_for_quantity(0)
            assert not any(stop.sigkilled for stop in on.emulator.stops)
            logs = "".join(path.read_text() for path in tmp_path.glob("worker*.log"))
            assert "Traceback" not in logs


@pytest.mark.slow
def test_a_change_by_hand_is_recorded_as_one(redis_url: str) -> None:
    settings = {"call_interval": 1, "jobs_per_worker": 1}
    with (
        stage(redis_url, command=None, settings=settings) as on,
        on.program(
            "work.delay(); work.delay()\nimport sys\nfor _ in sys.stdin: work.delay()"
        ) as web,
    ):
        on.wait_for_quantity(2)
        wait_for(lambda: on.number("worker/quantity") == 2)
        on.emulator.scale_by_hand("worker", 0)
        assert web.stdin is not None
        web.stdin.write("\n")
        web.stdin.flush()
        wait_for(lambda: on.quantity >= 3, 60.0)
        wait_for(lambda: did(on)[-1][1] == on.quantity, message=lambda: str(did(on)))
        before, by, after = did(on)[-3:]
        assert (before, by) == (("hire", 2), ("by hand", 0))
        # A count may come upon the task before its publisher reports it.
        assert after in (("hire", 3), ("hire", 4))
        by_hand = on.status()["by_hand"]
        assert (by_hand["from"], by_hand["to"]) == (2, 0)
        assert "by hand  2 -> 0, " in " ".join(mm(on, "status", COLUMNS="200").stdout.split("  "))


@pytest.mark.slow
def test_a_pause_ends_by_itself(redis_url: str) -> None:
    with stage(redis_url, command=None, settings={"call_interval": 1}) as on:
        mm(on, "pause", "--for", "8s")
        with on.program("for _ in range(3): work.delay()\nimport time; time.sleep(60)"):
            on.wait_for_quantity(3)
            assert not on.whole_status()["paused"]
        paused, hired, *_ = decided(on)
        assert (paused["action"], hired["action"]) == ("pause", "hire")
        assert datetime.fromisoformat(hired["at"]) >= datetime.fromisoformat(paused["until"])


@pytest.mark.slow
def test_while_fires_are_paused_no_worker_goes(redis_url: str, tmp_path: Path) -> None:
    settings = {"call_interval": 1, "count_interval": 2}
    with (
        stage(redis_url, log_dir=tmp_path, settings=settings) as on,
        on.program("work.delay(20); work.delay(20)\nimport time; time.sleep(90)"),
    ):
        on.wait_for_quantity(2)
        mm(on, "pause", "--fires")
        wait_for(lambda: on.number("worker/finished") == 2, 60)
        time.sleep(A_WHILE)
        assert on.quantity == 2
        assert not on.status()["workers"]["draining"]
        mm(on, "resume")
        on.wait_for_quantity(0)
        assert not any(stop.sigkilled for stop in on.emulator.stops)


@pytest.mark.slow
def test_hired_and_fired_by_hand_within_the_limits(redis_url: str, tmp_path: Path) -> None:
    with stage(redis_url, log_dir=tmp_path, settings={"call_interval": 1}) as on:
        assert "0 -> 1" in mm(on, "hire", "1").stdout, "it finds out how many there are"
        on.wait_for_quantity(1)
        done = mm(on, "hire", "9", "--for", "1h")
        assert (done.returncode, "1 -> 5" in done.stdout) == (0, True)
        assert "not 9 more: max_workers is 5" in done.stdout
        on.wait_for_quantity(5)
        refused = mm(on, "hire", "1")
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "worker has 5 workers, and its max_workers is 5" in refused.stderr
        assert mm(on, "fire", "4", "worker").returncode == 0
        on.wait_for_quantity(0)  # there is nothing to do, and the fire replaces the hire of five
        assert "min_workers is 0" in mm(on, "fire", "1").stderr
        assert not any(stop.sigkilled for stop in on.emulator.stops)
        told = log(on)
        by = [entry["by"].partition("@")[0] for entry in told if "by" in entry]
        assert by == ["ann", "ann", "ann"]
        [five] = [entry for entry in told if (entry["action"], entry["to"]) == ("hire", 5)]
        assert "wants at least 5" in five["reason"]


@pytest.mark.slow
def test_two_people_at_once_are_both_recorded(redis_url: str) -> None:
    with stage(redis_url, command=None, settings={"call_interval": 1}) as on:
        on.publish("work.delay()")
        on.wait_for_quantity(1)
        people = [
            threading.Thread(target=mm, args=(on, *what))
            for what in (("pause", "--hires"), ("hire", "2"), ("pause", "--fires"), ("hire", "3"))
        ]
        for person in people:
            person.start()
        for person in people:
            person.join()
        asked = sorted(action for action, _ in did(on) if action not in ("hire", "fire"))
        assert asked == ["ask to hire", "ask to hire", "pause", "pause"]
        told = on.whole_status()
        assert (told["pause"]["hires"], told["pause"]["fires"]) == (True, True)
        assert told["pools"][0]["wish"]["least"] == 5, "1, 2 and 3 more, but never more than 5"
        assert 1 <= on.quantity <= 5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["pause", "--for", "soon"], "'soon' is not a duration such as 90s"),
        (["pause", "--for", "0s"], "is not a duration"),
        (["hire", "0"], "0 is not in the range x>=1"),
        (["hire", "1", "pdf"], "there is no pool 'pdf'; allowed: 'worker'"),
    ],
)
def test_used_wrongly(redis_url: str, arguments: list[str], said: str) -> None:
    with stage(redis_url, command=None) as on:
        done = mm(on, *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr
        assert on.redis.keys("*") == []


@pytest.mark.parametrize("arguments", [["pause"], ["resume"], ["hire", "1"], ["log"]])
def test_redis_is_down(redis_url: str, arguments: list[str]) -> None:
    with stage(redis_url, command=None) as on:
        url = f"redis://:hunter2@127.0.0.1:{free_port()}"
        done = mm(on, *arguments, BROKER_URL=url, MIDDLE_MANAGEMENT_REDIS_URL=url)
        assert (done.returncode, done.stdout) == (1, "")
        assert "Redis could not be" in done.stderr
        assert url.replace(":hunter2@", "") in done.stderr
        assert "middle_management_redis_url" in done.stderr
        assert "hunter2" not in done.stderr


@pytest.mark.slow
def test_a_laptop_records_a_request_and_a_dyno_of_the_app_acts_on_it(redis_url: str) -> None:
    with stage(redis_url, command=None, settings={"call_interval": 1}) as on:
        laptop = {"MIDDLE_MANAGEMENT_OFF_PLATFORM": "false", "DYNO": ""}
        assert "it is not known yet" in mm(on, "hire", "1", **laptop).stderr
        with on.program("work.delay()\nimport time; time.sleep(90)"):
            on.wait_for_quantity(1)
            asked = mm(on, "hire", "2", **laptop)
            assert asked.returncode == 0
            assert "no workers are hired or fired from this process" in asked.stderr
            assert "They act on the request once they next report" in asked.stderr
            # The history has the hire a moment after the platform.
            wait_for(lambda: did(on)[-2:] == [("ask to hire", 3), ("hire", 3)], 45)
        assert decided(on)[-2]["by"].startswith("ann@")


@pytest.mark.slow
def test_what_the_platform_refuses_to_a_request_is_said(redis_url: str) -> None:
    with stage(redis_url, command=None, settings={"call_interval": 1}) as on:
        on.emulator.limit("worker", 2)
        assert "0 -> 4" in mm(on, "hire", "4").stdout
        on.wait_for_quantity(2)
        status = mm(on, "status", COLUMNS="200")
        assert "at least 4 workers, by ann@" in status.stdout
        assert status.returncode == 1
        assert "refused" in status.stdout
        wait_for(lambda: did(on) == [("ask to hire", 4), ("hire", 2)])


def test_in_a_dry_run_a_request_changes_nothing_and_says_so(redis_url: str) -> None:
    with stage(redis_url, command=None, settings={"dry_run": True}) as on:
        asked = mm(on, "hire", "2")
        assert "Note: middle_management_dry_run is on: the request is recorded" in asked.stderr
        wait_for(lambda: ("hire", 2) in did(on))
        assert on.emulator.changes == []


@pytest.mark.slow
def test_the_log_for_people(redis_url: str) -> None:
    with stage(redis_url, command=None) as on:
        on.publish("work.delay()")
        on.wait_for_quantity(1)
        mm(on, "pause", "--fires", "--for", "1h")
        lines = mm(on, "log").stdout.splitlines()
        assert "worker  hire  0 -> 1  1 task at 1 per worker needs 1" in lines[0]
        assert re.match(r"\d{4}(-\d\d){2} \d\d(:\d\d){2}Z  ", lines[0]), "UTC, and it says so"
        assert "all pools  pause  fires  until " in lines[1]
        assert "by ann@" in lines[1]
        assert mm(on, "log", "--since", "1h").stdout.splitlines() == lines
