"""What workers cost, from Heroku's own prices, by the commands."""

from __future__ import annotations

import json
import subprocess
import sys
from calendar import monthrange
from contextlib import ExitStack
from datetime import datetime, timezone
from typing import Any

import pytest

from tests.integration.stage import APP, Stage, stage
from tests.servers import ROOT, wait_for


def mm(on: Stage, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", APP, "mm", *arguments],
        env=on.env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.stderr, done.stderr
    return done.stdout


def money(on: Stage) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(mm(on, "status", "--json"))["money"]
    return found


def hours_of_this_month() -> int:
    today = datetime.now(timezone.utc)
    return 24 * monthrange(today.year, today.month)[1]


def is_known(told: dict[str, Any]) -> bool:
    """Whether there is a price, and enough time: hours are rounded to 0.001."""
    return told["prices_at"] is not None and told["month"]["hours"] >= 0.005


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_cost_of_a_worker_in_the_status_and_in_the_log(redis_url: str) -> None:
    settings = {"call_interval": 1}
    with stage(redis_url, command=None, settings=settings) as on, ExitStack() as stack:
        on.emulator.size = "Performance-M"
        on.emulator.costs["Performance-M"] = {"cents": 250_000_000, "unit": "month"}
        # The prices are read by a later evaluation.
        stack.enter_context(on.program("work.delay()\nimport time; time.sleep(240)"))
        on.wait_for_quantity(1)
        wait_for(lambda: is_known(money(on)), 120.0, lambda: str(money(on)))
        told = money(on)
        rate = told["month"]["dollars"] / told["month"]["hours"]
        assert rate == pytest.approx(2_500_000 / hours_of_this_month(), rel=0.11)
        assert told["prices_at"] is not None
        assert 0 < told["saved"] < 1
        screen = " ".join(mm(on, "status").split())
        assert "dyno-hours); " in screen
        assert "less than with max_workers always on, $" in screen
        *_, day = map(json.loads, mm(on, "log", "--cost", "--json").splitlines())
        assert day["pool"] == "worker"
        assert day["dollars"] >= told["today"]["dollars"]
        assert f"{day['day']}  worker  0.0" in mm(on, "log", "--cost", "--since", "1h")
