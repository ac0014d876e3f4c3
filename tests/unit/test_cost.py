"""Money in words."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from celery_middle_management.cli.cost import cost_line, day_line


def money(**fields: Any) -> dict[str, Any]:
    return {
        "priced": True,
        "since": "2026-11-01T00:00:00.000+00:00",
        "today": {"hours": 35.42, "dollars": 1.2299},
        "month": {"hours": 529.92, "dollars": 18.4},
        "always_on": {"hours": 7200.0, "dollars": 250.0},
        "saved": 0.9264,
        **fields,
    }


NOW = datetime(2026, 11, 29, 18, 15, tzinfo=timezone.utc)
UNKNOWN = {"hours": 1.0, "dollars": None}


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        (
            {},
            "$1.23 today (35.4 dyno-hours); $18.40 this month (529.9 dyno-hours); 93% less than "
            "with max_workers always on, $250.00 (7,200.0 dyno-hours)",
        ),
        (
            {"today": {"hours": 0.02, "dollars": 0.0007}, "saved": None},
            "< $0.01 today (0.02 dyno-hours); $18.40 this month (529.9 dyno-hours)",
        ),
        (
            {"today": UNKNOWN, "month": UNKNOWN, "always_on": UNKNOWN, "saved": -0.5},
            "price unknown today (1.0 dyno-hours); price unknown this month (1.0 dyno-hours); "
            "50% more worker time than with max_workers always on, price unknown (1.0 dyno-hours)",
        ),
        (
            {
                "priced": False,
                "today": UNKNOWN,
                "month": UNKNOWN,
                "always_on": UNKNOWN,
                "saved": 0.0,
            },
            "1.0 worker-hours today; 1.0 worker-hours this month; 0% less than with max_workers "
            "always on, 1.0 worker-hours",
        ),
    ],
)
def test_the_line_of_status(fields: dict[str, Any], line: str) -> None:
    assert cost_line(money(**fields), NOW) == line


@pytest.mark.parametrize(
    ("since", "line"),
    [
        ("2026-11-01T00:00:00.000+00:00", "$1.23 today (35.4 dyno-hours); $18.40 this month"),
        (
            "2026-11-12T09:30:00.000+00:00",
            "$1.23 today (35.4 dyno-hours); $18.40 since 12 November",
        ),
        ("2026-11-29T17:53:20.000+00:00", "$18.40 since 17:53 UTC"),
    ],
)
def test_a_part_of_a_day_or_a_month_is_not_called_one(since: str, line: str) -> None:
    assert cost_line(money(since=since, saved=None), NOW) == f"{line} (529.9 dyno-hours)"


def test_the_lines_of_the_log() -> None:
    day = {"day": "2026-11-29", "pool": "worker", "hours": 35.42, "dollars": 1.2299}
    line = "2026-11-29  worker  35.4 dyno-hours  $1.23"
    assert day_line(day, priced=True) == line
    assert day_line({**day, "dollars": None}, priced=True) == line.replace("$1.23", "price unknown")
    assert day_line(day, priced=False) == "2026-11-29  worker  35.4 worker-hours"
