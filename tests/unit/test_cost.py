"""Money in words."""

from __future__ import annotations

from typing import Any

import pytest

from celery_middle_management.cli.cost import cost_line, day_line


def money(**fields: Any) -> dict[str, Any]:
    return {
        "priced": True,
        "today": {"hours": 35.42, "dollars": 1.2299},
        "month": {"hours": 529.92, "dollars": 18.4},
        "always_on": {"hours": 7200.0, "dollars": 250.0},
        "saved": 0.9264,
        **fields,
    }


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
            "< $0.01 today (0.0 dyno-hours); $18.40 this month (529.9 dyno-hours)",
        ),
        (
            {"today": UNKNOWN, "month": UNKNOWN, "always_on": UNKNOWN, "saved": -0.5},
            "price unknown today (1.0 dyno-hours); price unknown this month (1.0 dyno-hours); "
            "50% more than with max_workers always on, price unknown (1.0 dyno-hours)",
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
    assert cost_line(money(**fields)) == line


def test_the_lines_of_the_log() -> None:
    day = {"day": "2026-11-29", "pool": "worker", "hours": 35.42, "dollars": 1.2299}
    line = "2026-11-29  worker  35.4 dyno-hours  $1.23"
    assert day_line(day, priced=True) == line
    assert day_line({**day, "dollars": None}, priced=True) == line.replace("$1.23", "price unknown")
    assert day_line(day, priced=False) == "2026-11-29  worker  35.4 worker-hours"
