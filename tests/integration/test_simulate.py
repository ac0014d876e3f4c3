"""`celery mm simulate` as it is typed: traces from files, and the history of a real app."""

from __future__ import annotations

import gzip
import json
import os
import pty
import re
import struct
import subprocess
import termios
from fcntl import ioctl
from pathlib import Path
from typing import Any

import pytest
import redis

from celery_middle_management.sim import Model, policy_named, read_trace, simulate
from tests.integration.scenes import PREFIX
from tests.integration.stage import ALONE, Stage, stage
from tests.integration.test_cli import command, environment, mm
from tests.servers import ROOT, wait_for

#: A task every ten seconds for ten minutes, by turns in the queues `mail` and `pdf`.
TASKS = "published_at,runtime,queue\n" + "".join(
    f"{1_700_000_000 + 10 * n},{1 + n % 3},{'pdf' if n % 2 else 'mail'}\n" for n in range(60)
)
TWO = ("--policy", "jobs_per_worker:5", "--policy", "hirefire:5@15")
WAITS = ["mean", "p50", "p95", "p99", "max"]
FIELDS = [
    *("policy", "paid_hours", "tail_hours", "dollars", "wait", "killed", "hires", "calls"),
    *("efficiency", "peak_workers", "unfinished", "floor_hours"),
]
#: Neither Redis nor a broker is there.
NOWHERE = {"BROKER_URL": "redis://127.0.0.1:1", "CELERY_BROKER_URL": "redis://127.0.0.1:1"}


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "tasks.csv"
    path.write_text(TASKS)
    return path


def simulated(*arguments: object) -> dict[str, Any]:
    """What it prints as JSON, without an app."""
    told = mm(NOWHERE, "simulate", *map(str, arguments), "--json", app=None)
    assert (told.returncode, told.stderr) == (0, ""), told.stderr
    document = json.loads(told.stdout, parse_constant=lambda name: pytest.fail(f"it has {name}"))
    return dict(document)


def on_a_terminal(columns: int, *arguments: str) -> str:
    """What it shows on a terminal of so many columns, without control sequences."""
    ours, its = pty.openpty()
    ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    with subprocess.Popen(
        command("simulate", *arguments, app=None),
        env={**env, "TERM": "xterm"},
        cwd=ROOT,
        stdin=its,
        stdout=its,
        stderr=subprocess.DEVNULL,
    ) as process:
        os.close(its)
        shown = b""
        try:
            while part := os.read(ours, 65536):
                shown += part
        except OSError:  # so Linux says that it has ended
            pass
    os.close(ours)
    assert process.returncode == 0
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())


# -- what it tells


def test_json_tells_of_every_policy_and_needs_no_app_and_no_redis(trace: Path) -> None:
    document = simulated(trace, *TWO)
    assert [*document] == ["trace", "tasks", "work_hours", "policies"]
    assert (document["trace"], document["tasks"]) == ("tasks.csv", 60)
    assert document["work_hours"] == pytest.approx(120 / 3600, abs=1e-6)
    ours, theirs = document["policies"]
    assert (ours["policy"], theirs["policy"]) == ("jobs_per_worker:5", "hirefire:5@15")
    for each in (ours, theirs):
        assert ([*each], [*each["wait"]]) == (FIELDS, WAITS)
        assert each["paid_hours"] >= each["floor_hours"] > 0
        assert each["dollars"] == pytest.approx(each["paid_hours"] * 25 / 730, abs=1e-4)
        assert 0 <= each["wait"]["p50"] <= each["wait"]["p95"] <= each["wait"]["max"] < 120
        assert each["efficiency"] == pytest.approx(120 / 3600 / each["paid_hours"], rel=1e-3)
        assert (each["killed"], each["unfinished"]) == (0, 0)
        assert 1 <= each["peak_workers"] <= each["hires"]


def test_a_table_and_a_report(trace: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    told = mm(NOWHERE, "simulate", str(trace), "--html", str(report), app=None)
    assert (told.returncode, told.stderr) == (0, "")
    first, *table = told.stdout.splitlines()
    assert first == "tasks.csv: 60 tasks, 0.033 hours of work"
    rows = [line.split() for line in table if re.match(r" [a-z_]+(:| )", line)]
    names = [row[0] for row in rows if row[0] != "policy"]
    assert len(names) == len({*names}) > 5
    assert not re.search(r"\x1b|…| $", told.stdout, re.M)
    page = report.read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert [name for name in (*names, "tasks.csv") if name not in page] == []
    assert not re.search(r'(src|href)="?(https?:)?//', page), "it is to be seen without a network"


def test_it_can_be_read_on_a_terminal_of_eighty_columns(trace: Path) -> None:
    shown = on_a_terminal(80, str(trace), *TWO)
    assert max(map(len, shown.splitlines())) <= 80
    for word in ("jobs_per_worker:5", "hirefire:5@15", "paid", "$", "p95"):
        assert word in shown, shown
    assert "…" not in shown, shown


# -- what it reads


def test_a_packed_trace_gives_what_python_gives_for_the_same_seed(
    trace: Path, tmp_path: Path
) -> None:
    packed = tmp_path / "tasks.csv.gz"
    packed.write_bytes(gzip.compress(TASKS.encode()))
    document = simulated(packed, *TWO, "--seed", 7, "--max", 9)
    assert document["trace"] == "tasks.csv.gz"
    for told in document["policies"]:
        del told["floor_hours"]
        policy = policy_named(told["policy"])
        assert told == simulate(read_trace(trace), policy, Model(maximum=9, seed=7)).as_json(25)


def test_a_queue_is_chosen_and_run_times_are_replaced(trace: Path) -> None:
    options = ("--queue", "pdf", "--runtime", "9", "--concurrency", "2", "--size", "standard-2x")
    document = simulated(trace, "--policy", "fixed:1", *options)
    assert document["tasks"] == 30
    assert document["work_hours"] == pytest.approx(30 * 9 / 3600, abs=1e-6)
    [fixed] = document["policies"]
    # From the first task until the last one, 580 s later, has ended.
    assert fixed["paid_hours"] == pytest.approx(589 / 3600, abs=1e-3)
    assert fixed["dollars"] == pytest.approx(fixed["paid_hours"] * 50 / 730, abs=1e-4)
    assert (fixed["hires"], fixed["wait"]["max"]) == (1, 0)


def test_arrivals_of_seconds(tmp_path: Path) -> None:
    path = tmp_path / "arrivals.csv"
    path.write_text("second,arrivals\n100,300\n103,0\n105,200\n")
    document = simulated(path, "--policy", "fixed:500", "--runtime", "3:0.5", "--seed", 3)
    assert document["tasks"] == 500
    assert document["work_hours"] == pytest.approx(500 * 3 / 3600, rel=0.1)
    assert document["policies"][0]["wait"]["max"] == 0


@pytest.mark.parametrize(
    ("arguments", "status", "expected"),
    [
        (["TRACE", "--policy", "latency:5"], 2, r"no policy 'latency:5'; allowed: jobs_per_worker"),
        (["TRACE", "--queue", "main"], 2, r"no queue 'main'; allowed: 'mail', 'pdf'"),
        (["TRACE", "--html", "none/x"], 2, r"--html none/x: there is no directory /.*none"),
        (["TRACE", "--html", "/dev/full", *TWO], 1, r"--html /dev/full: No space left"),
        (["pyproject.toml"], 2, r"pyproject.toml, line 1: the header .*; allowed: published_at,"),
        (["--history"], 2, r"name your app with -A"),
    ],
)
def test_an_error_is_one_line(
    trace: Path, arguments: list[str], status: int, expected: str
) -> None:
    given = [str(trace) if argument == "TRACE" else argument for argument in arguments]
    told = mm(NOWHERE, "simulate", *given, app=None)
    assert told.returncode == status, told.stderr
    assert re.fullmatch(rf"Error: .*{expected}.*\n", told.stderr), told.stderr
    assert status == 1 or not told.stdout


# -- the history of an app


SAMPLES = f"{PREFIX}:samples"


def told_of(on: Stage) -> list[Any]:
    """Have the worker's next report take a sample, as if a minute had begun, and return it."""
    on.redis.hset(f"{PREFIX}:state", "minute", "0")
    wait_for(lambda: on.redis.hget(f"{PREFIX}:state", "minute") != "0", message=str(on.state()))
    entries: Any = on.redis.xrevrange(SAMPLES, count=1)
    return list(json.loads(entries[0][1]["entry"]))


def make_history(on: Stage, *samples: list[Any]) -> None:
    """Have these be all samples, each a minute after the one before and the last of this minute."""
    on.redis.delete(SAMPLES)
    for age, (_, pools) in reversed([*enumerate(reversed(samples))]):
        on.redis.xadd(SAMPLES, {"entry": json.dumps([samples[-1][0] - age, pools])})
    on.redis.expire(SAMPLES, 600)


@pytest.mark.slow
def test_it_replays_the_tasks_of_an_apps_history(redis_url: str, tmp_path: Path) -> None:
    of_app = ALONE | {"settings": {**ALONE["settings"], "jobs_per_worker": 3}}
    with stage(redis_url, **of_app) as on, on.worker("--concurrency", "1", DYNO="worker.1"):
        wait_for(on.presences)
        before = told_of(on)
        on.publish("for _ in range(7): work.delay(0.5)")
        on.wait_until_finished(7)
        make_history(on, before, told_of(on))
        replay = ("simulate", "--history", "--policy", "jobs_per_worker:5", "--json")
        told = mm(on.env, *replay)
        assert told.returncode == 0, told.stderr
        document = json.loads(told.stdout)
        assert (document["trace"], document["tasks"]) == ("history of worker", 7)
        assert document["work_hours"] == pytest.approx(3.5 / 3600, rel=0.5)
        other = mm(on.env, *replay, "--pool", "pdf")
        assert (other.returncode, other.stdout) == (2, "")
        assert other.stderr == "Error: --pool: there is no pool 'pdf'; allowed: 'worker'\n"
        # Its evaluations are not those of the app, and must not be logged as if they were.
        assert told.stderr == ""
        usual = mm(on.env, "simulate", "--history", "--json")
        policies = [policy["policy"] for policy in json.loads(usual.stdout)["policies"]]
        # The pool's own setting comes first.
        assert policies == [f"jobs_per_worker:{n}" for n in (3, 1, 2, 5, 10, 20, 50)]
        for options, limits in (((), "1 to 1"), (("--min", "0", "--max", "3"), "0 to 3")):
            report = tmp_path / "report.html"
            told = mm(on.env, *replay, *options, "--html", str(report))
            assert told.returncode == 0, told.stderr
            assert f"{limits} standard-1x" in report.read_text()


@pytest.mark.slow
def test_the_tasks_since_the_last_sample_are_history_too(redis_url: str) -> None:
    """Else an app whose workers have gone leaves out its last tasks until it has new ones."""
    with stage(redis_url, **ALONE) as on, on.worker("--concurrency", "1", DYNO="worker.1"):
        wait_for(on.presences)
        before = told_of(on)
        on.publish("for _ in range(7): work.delay()")
        on.wait_until_finished(7)
        make_history(on, before)
        told = mm(on.env, "simulate", "--history", "--policy", "fixed:1", "--json")
        assert (told.returncode, told.stderr) == (0, "")
        assert json.loads(told.stdout)["tasks"] == 7


def test_an_app_without_history_is_told_so_and_left_alone(redis_url: str) -> None:
    told = mm(environment(redis_url), "simulate", "--history")
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr == "Error: the history of pool 'worker' has no tasks yet\n"
    with redis.Redis.from_url(redis_url) as client:
        assert client.keys() == []


def test_the_ledger_of_a_history_may_be_down() -> None:
    told = mm(environment("redis://:hunter2@127.0.0.1:1"), "simulate", "--history")
    assert (told.returncode, told.stdout) == (1, "")
    assert re.fullmatch(r"Error: .*could not be read.*\n", told.stderr), told.stderr
    assert "hunter2" not in told.stderr
