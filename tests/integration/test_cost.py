"""What workers cost, from Heroku's own prices, by the commands."""

from __future__ import annotations

import json
import subprocess
import sys
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


@pytest.mark.slow
def test_the_cost_of_a_worker_in_the_status_and_in_the_log(redis_url: str) -> None:
    with stage(redis_url, command=None) as on:
        on.emulator.size = "Performance-M"
        on.emulator.costs["Performance-M"] = {"cents": 250_000_000, "unit": "month"}
        on.script("work.delay()")
        on.wait_for_quantity(1)
        wait_for(lambda: money(on)["today"]["hours"] >= 0.001, message=lambda: str(money(on)))
        told = money(on)
        rate = told["today"]["dollars"] / told["today"]["hours"]
        assert rate == pytest.approx(2_500_000 / 720, rel=0.6), "hours are rounded"
        assert told["prices_at"] is not None
        assert 0 < told["saved"] < 1
        screen = " ".join(mm(on, "status").split())
        assert "dyno-hours); " in screen
        assert "less than with max_workers always on, $" in screen
        *_, day = map(json.loads, mm(on, "log", "--cost", "--json").splitlines())
        assert day["pool"] == "worker"
        assert day["dollars"] >= told["today"]["dollars"]
        assert f"{day['day']}  worker  0.0 dyno-hours  $" in mm(
            on, "log", "--cost", "--since", "1h"
        )
