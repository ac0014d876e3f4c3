"""`celery mm simulate`, without a shell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from celery_middle_management.cli.simulate import simulate
from celery_middle_management.cli.simulate_source import USUAL, policy_of
from celery_middle_management.core.pools import Pool
from celery_middle_management.sim import policy_named

TASKS = "published_at,runtime,queue\n0,2,a\n1,3,b\n30,1,a\n"


@pytest.fixture
def trace(tmp_path: Path) -> str:
    path = tmp_path / "tasks.csv"
    path.write_text(TASKS)
    return str(path)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(simulate, arguments)


def document(*arguments: str) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.output)
    return found


@pytest.mark.parametrize(
    ("jobs_per_worker", "max_wait", "name"),
    [
        (7, None, "jobs_per_worker:7"),
        (None, None, "jobs_per_worker:auto"),
        (10, 30.0, "max_wait:30"),
        (10, 2.5, "max_wait:2.5"),
        (None, 100.0, "max_wait:100"),
        (10, 1 / 3, "max_wait:0.333"),
        (10, 86_400.0, "max_wait:86400"),
    ],
)
def test_the_policy_of_every_pool_has_a_name(
    jobs_per_worker: int | None, max_wait: float | None, name: str
) -> None:
    assert policy_of(Pool("worker", None, 0, 5, jobs_per_worker, max_wait=max_wait)) == name
    assert policy_named(name).name == name


def test_the_document_has_the_promised_fields(trace: str) -> None:
    found = document(trace, "--policy", "fixed:1", "--policy", "jobs_per_worker:10")
    assert (found["trace"], found["tasks"]) == ("tasks.csv", 3)
    assert found["work_hours"] == pytest.approx(6 / 3600, abs=1e-6)
    fixed, ours = found["policies"]
    assert fixed == {
        "policy": "fixed:1",
        "paid_hours": pytest.approx(31 / 3600, abs=1e-6),
        "tail_hours": 0.0,
        "dollars": pytest.approx(31 / 3600 * 25 / 730, abs=1e-6),
        "wait": {
            "mean": pytest.approx(1 / 3, abs=1e-3),
            "p50": 0.0,
            "p95": 1.0,
            "p99": 1.0,
            "max": 1.0,
        },
        "killed": 0,
        "hires": 1,
        "calls": 0,
        "efficiency": pytest.approx(6 / 31, abs=1e-6),
        "peak_workers": 1,
        "unfinished": 0,
        # One task starts a second late; the next comes so late that another boot is cheaper.
        "floor_hours": pytest.approx(12 / 3600, abs=1e-6),
    }
    assert (ours["policy"], ours["killed"]) == ("jobs_per_worker:10", 0)


def test_a_policy_that_does_not_get_done_has_no_floor_and_is_marked(tmp_path: Path) -> None:
    trace, report = tmp_path / "long.csv", tmp_path / "report.html"
    trace.write_text("published_at,runtime\n0,3000\n10,3000\n20,5\n")
    arguments = (str(trace), "--policy", "aws:1", "--policy", "fixed:1", "--html", str(report))
    aws, fixed = document(*arguments)["policies"]
    assert (aws["unfinished"], aws["floor_hours"]) == (1, None)
    assert (fixed["unfinished"], fixed["floor_hours"] > 0) == (0, True)
    told = run(*arguments).output
    assert "aws:1 does not finish 1 of the tasks" in told
    page = report.read_text()
    assert "aws:1 (1 unfinished)" in page
    assert "(best)" not in page, "nothing is left to compare with"


def test_every_usual_policy_has_a_line(trace: str) -> None:
    result = run(trace)
    assert result.exit_code == 0
    for policy in USUAL:
        assert any(line.split()[:1] == [policy] for line in result.output.splitlines())


def test_options_change_what_is_simulated(trace: str) -> None:
    one = ("--policy", "fixed:1")
    assert document(trace, *one, "--queue", "a")["tasks"] == 2
    assert document(trace, *one, "--runtime", "10")["work_hours"] == 0.008333
    both = document(trace, *one, "--concurrency", "2")["policies"][0]
    assert both["wait"]["max"] == 0.0
    ours = ("--policy", "jobs_per_worker:1")
    kinds = [document(trace, *ours, "--dynos", kind) for kind in ("formation", "one-off")]
    assert kinds[0] != kinds[1]
    assert document(trace, *ours) == document(trace, *ours)


def test_the_report_is_written(trace: str, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    assert run(trace, "--policy", "keda:5", "--html", str(report)).exit_code == 0
    assert "keda:5" in report.read_text()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "either a TRACE or --history"),
        (["{trace}", "--history"], "either a TRACE or --history"),
        (["{trace}", "--policy", "fixed"], "no policy 'fixed'; allowed: jobs_per_worker:N"),
        (["{trace}", "--min", "9", "--max", "3"], "--min 9 is greater than the maximum, 3 (--max)"),
        (["{trace}", "--size", "huge"], "--size 'huge': allowed: basic"),
        (["{trace}", "--queue", "c"], "--queue: "),
        (["{trace}", "--boot", "nan"], "'nan' is not a number from 0 to 1000000"),
        (["{trace}", "--runtime", "-1"], "--runtime: "),
        (["{trace}", "--pool", "worker"], "--pool is for --history"),
        (["{trace}", "--html", "/nowhere/report.html"], "there is no directory /nowhere"),
        (["nothing.csv"], "nothing.csv"),
    ],
)
def test_what_is_wrong_is_told(trace: str, arguments: list[str], told: str) -> None:
    result = run(*(argument.format(trace=trace) for argument in arguments))
    assert result.exit_code == 2
    assert told in result.output
    assert "Traceback" not in result.output


def test_a_report_that_cannot_be_written_is_told(trace: str) -> None:
    result = run(trace, "--policy", "fixed:1", "--html", "/dev/full")
    assert result.exit_code == 1
    assert "/dev/full" in result.output


def test_a_report_does_not_overwrite_the_trace(trace: str) -> None:
    assert run(trace, "--policy", "fixed:1", "--html", trace).exit_code == 2
    assert Path(trace).read_text() == TASKS


@pytest.mark.parametrize("line", ["1e9,1", "1,1e9"])
def test_times_that_cannot_be_seconds_are_told(trace: str, line: str) -> None:
    Path(trace).write_text(f"published_at,runtime\n0,1\n{line}\n")
    result = run(trace)
    assert result.exit_code == 2
    assert "1e+09 s; allowed: a year. Are its times in seconds?" in result.output
