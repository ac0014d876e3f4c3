"""The command that writes docs/policies.md, on traces of a few tasks."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from celery_middle_management.sim import Outcome, Waits
from tests.benchmarks.policies import main
from tests.benchmarks.policy_page import dominated, summary, telling, verdict
from tests.benchmarks.policy_runs import (
    AUTO,
    CONCURRENCIES,
    MEANS,
    OURS,
    RIVALS,
    Combination,
    Load,
    Row,
)

ALL = (2 * len(OURS) + len(RIVALS)) * len(CONCURRENCIES)
#: Both traces, with one of ours and two rivals each.
ONLY = r"(own run times|of 20 s), concurrency 1, (jobs_per_worker:2|hirefire:5|fixed:\d+)$"
#: What of it is simulated last.
LAST = r"web, .*jobs_per_worker:2"
LOAD = Load(Path("web.csv"), "digest", 0, 2.0)
NUMBER = re.compile(r"[\d.,]+")


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    """Make a directory with a trace of each kind, and a file that is none."""
    directory = tmp_path / "traces"
    directory.mkdir()
    directory.joinpath("own.csv").write_text("published_at,runtime\n9,1\n10,2\n11,30\n11,0.5\n")
    arrivals = b"second,arrivals\n5,3\n65,1\n90000,7\n"
    directory.joinpath("web.csv.gz").write_bytes(gzip.compress(arrivals))
    directory.joinpath("README.md").write_text("not a trace")
    return directory


def write(traces: Path, into: Path, *more: str) -> tuple[str, str]:
    """Run the command; return the page and the plot."""
    into.mkdir(exist_ok=True)
    main([str(traces), "--days", "1", "--jobs", "1", "--into", str(into), *more])
    return into.joinpath("policies.md").read_text(), into.joinpath("policies.svg").read_text()


def rows_of(page: str) -> list[list[str]]:
    """Return the cells of the tables of figures."""
    lines = re.findall(r"^\| (\d+ \| .*) \|$", page, re.M)
    return [line.split(" | ") for line in lines]


def test_it_writes_a_row_for_every_combination_and_a_plot(traces: Path, tmp_path: Path) -> None:
    page, plot = write(traces, tmp_path / "docs", "--only", ONLY)
    rows = rows_of(page)
    assert len(rows) == ALL * (1 + len(MEANS))
    assert {len(row) for row in rows} == {11}
    simulated = [row for row in rows if row[2] != "not simulated"]
    # The work of 33.5 s would take 16.75 workers, had it come evenly.
    assert simulated[1][1] == "`fixed:21`"
    kinds = [re.sub(r"^`fixed:\d+`$", "fixed", row[1]) for row in simulated]
    assert kinds == 2 * ["`jobs_per_worker:2`", "fixed", "`hirefire:5`"]
    assert all(NUMBER.fullmatch(cell) for row in simulated for cell in row[2:5] + row[8:])
    assert f"Of {len(rows)} combinations {len(rows) - 6} were left out." in page
    assert "the first 24 hours: 4 tasks in 1 min" in page
    assert "`own.csv`: 4 tasks in 2 s" in page
    assert "--only '(own run times|of 20 s)" in page
    assert str(tmp_path) not in page
    assert ElementTree.fromstring(plot).tag.endswith("svg")
    assert "web, run times of 20 s" in plot


@pytest.mark.slow
def test_an_interrupted_run_goes_on(
    traces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = "--cache", str(tmp_path / "cache")
    write(traces, tmp_path / "first", *kept, "--only", f"^(?!{LAST}).*{ONLY}")
    whole = write(traces, tmp_path / "whole", "--only", ONLY)
    capsys.readouterr()
    assert write(traces, tmp_path / "docs", *kept, "--only", ONLY) == whole
    told = capsys.readouterr().err.splitlines()
    assert told[0] == f"{5 * ALL} combinations; the cache has 5"
    assert re.fullmatch(rf"\[1/1, \S+ s\] {LAST}: \S+ s", told[1])
    assert not told[2:]
    assert write(traces, tmp_path / "docs", *kept, "--only", ONLY, "--minutes", "0") == whole


@pytest.mark.slow
def test_other_assumptions_are_simulated_anew(
    traces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = "--cache", str(tmp_path / "cache"), "--only", "own, .*1, (jobs_per_worker:2|hirefire:5)$"
    write(traces, tmp_path / "docs", *kept)
    capsys.readouterr()
    write(traces, tmp_path / "docs", *kept, "--seed", "1")
    assert "the cache has 0" in capsys.readouterr().err


def test_when_time_is_up_it_tells_what_is_left_out(
    traces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="there is nothing to compare"):
        write(traces, tmp_path / "docs", "--only", ONLY, "--minutes", "1e-9")
    assert "time is up: 6 combinations are left out" in capsys.readouterr().err


def test_a_file_that_is_no_trace_is_told(traces: Path, tmp_path: Path) -> None:
    traces.joinpath("worse.csv").write_text("time\n1\n")
    with pytest.raises(SystemExit, match=r"worse\.csv, line 1: the header 'time'"):
        write(traces, tmp_path / "docs")
    with pytest.raises(SystemExit, match="no trace"):
        write(tmp_path / "docs", tmp_path / "docs")


# -- the summary


def row(waste: float, p95: float, unfinished: int = 0, killed: int = 0) -> Row:
    outcome = Outcome(
        *("made up", 3600.0 + waste, Waits(p95=p95)),
        killed=killed,
        hires=1,
        calls=1,
        efficiency=0.5,
        peak_workers=1,
        unfinished=unfinished,
    )
    return Row(outcome, waste, floor=3600.0, took=1.0, date="2026-11-30")


@pytest.mark.parametrize(
    ("ours", "rivals", "expected"),
    [
        (row(10, 5), row(20, 6), "better"),
        (row(10, 5), row(20, 5), "better"),
        (row(20, 6), row(10, 5), "worse"),
        (row(20, 5), row(10, 5), "worse"),
        (row(10, 6), row(20, 5), "mixed"),
        (row(20, 5), row(10, 6), "mixed"),
        (row(10, 5), row(10, 5), "mixed"),
        (row(10, 5), row(10, 6), "better"),
        (row(10, 6), row(10, 5), "worse"),
        (row(10.01, 5.01), row(10, 5), "mixed"),
        (row(20, 6), row(10, 5, unfinished=1), "mixed"),
        (row(10, 5, unfinished=1), row(20, 6), "mixed"),
        (row(10, 1e-9), row(20, 0), "better"),
    ],
)
def test_who_is_better(ours: Row, rivals: Row, expected: str) -> None:
    assert verdict(ours, rivals) == expected


def made_up() -> dict[Combination, Row]:
    """Make up figures of one of our variants and two rivals, on three loads."""
    longer, four = LOAD._replace(mean=20.0), 4
    us = "jobs_per_worker:2"
    return {
        Combination(LOAD, 1, us, us, one_off=True): row(10, 5),
        Combination(LOAD, 1, "fixed:3", "fixed:N"): row(20, 5, killed=7),
        Combination(LOAD, 1, "keda:5", "keda:5"): row(5, 4, killed=7),
        Combination(LOAD, four, us, us, one_off=True): row(10, 5),
        Combination(LOAD, four, "fixed:1", "fixed:N"): row(20, 4, killed=14),
        Combination(longer, 1, us, us, one_off=True): row(10, 5),
        Combination(longer, 1, "fixed:9", "fixed:N"): row(30, 9),
    }


def test_the_summary_counts() -> None:
    lines = [*summary(made_up())]
    assert lines[0] == (
        "Rivals' results that one of Middle Management's variants beats, in waste and in p95 wait: "
        "2 of 4. Its own results that a rival beats: 1 of 3. By load:"
    )
    assert lines[4:7] == [
        "| web, run times of 2 s | 1 | 1 of 2 | 1 of 1 | `keda:5` |",
        "| web, run times of 2 s | 4 | 0 of 1 | 0 of 1 |  |",
        "| web, run times of 20 s | 1 | 1 of 1 | 0 of 1 |  |",
    ]
    assert lines[-5:-2] == [
        "| `fixed:N` | 2 of 3 | 0 of 3 | 21 |",
        "| `keda:5` | 0 of 1 | 1 of 1 | 7 |",
        "| Middle Management |  |  | 0 |",
    ]


@pytest.mark.parametrize(
    ("number", "lost"),
    [(row(9, 4), 1), (row(10, 4), 0), (row(9, 5), 0), (row(9, 6), 0), (row(11, 6), 0)],
)
def test_the_summary_tells_where_a_number_is_cheaper_and_faster(number: Row, lost: int) -> None:
    auto = Combination(LOAD, 1, AUTO, AUTO)
    better = row(1, 1)
    rows = {
        auto: row(10, 5),
        auto._replace(policy="jobs_per_worker:5", kind="jobs_per_worker:5"): number,
        auto._replace(policy="jobs_per_worker:1", kind="jobs_per_worker:1", one_off=True): better,
        auto._replace(policy="keda:5", kind="keda:5"): better,
    }
    assert dominated(rows) == [auto] * lost
    told = f"than one of the numbers in {lost} of its 1 results{f': {auto.name}' * lost}."
    assert [*summary(rows)][-1].endswith(told)


def test_the_plot_is_of_the_most_complete_load() -> None:
    assert {(one.load.mean, one.concurrency) for one in telling(made_up())} == {(2.0, 1)}
