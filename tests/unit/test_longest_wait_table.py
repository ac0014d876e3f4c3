"""The command that writes docs/max-wait.md, on a trace of a few tasks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from celery_middle_management.sim import Outcome, Waits
from tests.benchmarks.longest_wait import Pair, asked, main, ours_for
from tests.benchmarks.policy_runs import Combination, Load, Row

LOAD = Load(Path("web.csv"), "digest", 0)
RIVAL = Combination(LOAD, 1, "keda:5", "keda:5")


def row(waste: float, p95: float) -> Row:
    outcome = Outcome(
        *("made up", 3600.0 + waste, Waits(p95=p95)),
        killed=0,
        hires=1,
        calls=1,
        efficiency=0.5,
        peak_workers=1,
    )
    return Row(outcome, waste, floor=3600.0, took=1.0, date="2026-11-30")


@pytest.mark.parametrize(
    ("its", "policy"), [(0.3, "max_wait:2"), (31.25, "max_wait:31.25"), (9.00001, "max_wait:9.001")]
)
def test_what_is_asked_for_is_the_rivals_wait_and_at_least_two_seconds(
    its: float, policy: str
) -> None:
    formation, one_off = ours_for(RIVAL, row(1, its))
    assert (formation.policy, formation.one_off) == (policy, False)
    assert (one_off.policy, one_off.one_off) == (policy, True)


@pytest.mark.parametrize(
    ("ours", "one_off", "on_target"),
    [
        (row(69, 30), True, True),
        (row(71, 30), True, False),
        (row(10, 30.1), True, False),
        (row(100, 30), False, True),
        (row(101, 30), False, False),
    ],
)
def test_the_target(ours: Row, one_off: bool, on_target: bool) -> None:
    pair = Pair(RIVAL, row(100, 30), one_off, ours)
    assert asked(pair.its) == 30
    assert pair.on_target is on_target


def test_waste_of_nothing_is_a_ratio_all_the_same() -> None:
    assert Pair(RIVAL, row(0, 30), True, row(-1, 30)).ratio == 1


def test_it_writes_a_row_for_every_pair_and_a_summary(tmp_path: Path) -> None:
    traces, cache = tmp_path / "traces", tmp_path / "cache"
    traces.mkdir()
    traces.joinpath("own.csv").write_text("published_at,runtime\n9,1\n10,2\n11,30\n11,0.5\n")
    only = "--only", "concurrency 1, (keda:5|aws:1)$"
    main([str(traces), *only, "--cache", str(cache), "--jobs", "1", "--into", str(tmp_path)])
    page = tmp_path.joinpath("max-wait.md").read_text()
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| 1 |")]
    assert [(cells[1], cells[4]) for cells in rows] == [
        ("`keda:5`", "formation"),
        ("`keda:5`", "one-off"),
        ("`aws:1`", "formation"),
        ("`aws:1`", "one-off"),
    ]
    assert all(re.fullmatch(r"\d+\.\d\d", cells[7]) for cells in rows)
    assert "Of 2 rivals' results (without `fixed:N`)" in page
    assert "killed 0 runs of tasks" in page
    assert "were left out" not in page
