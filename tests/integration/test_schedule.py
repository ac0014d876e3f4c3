"""An app with a schedule of limits, and a real Redis."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from tests.integration.stage import stage

#: It fired at the beginning of the year, and its maximum is above the app's own, 5.
SINCE_JANUARY = {"cron": "0 0 1 1 *", "min_workers": 1, "max_workers": 7}
KEEPS_WATCH = "app.start(['mm', 'run'])"


def test_the_limits_in_force_are_kept_and_shown(redis_url: str) -> None:
    given: dict[str, Any] = {"schedule": [SINCE_JANUARY], "timezone": "Europe/Berlin"}
    with stage(redis_url, command=None, settings=given) as on:
        on.publish("for _ in range(9): work.delay()")
        on.wait_for_quantity(7)
        told = json.loads(on.script("app.start(['mm', 'status', '--json'])").stdout)
        screen = on.script("app.start(['mm', 'status'])").stdout
    workers = told["pools"][0]["workers"]
    assert (workers["min"], workers["max"], workers["needed"]) == (1, 7, 7)
    assert workers["schedule"]["cron"] == "0 0 1 1 *"
    assert workers["schedule"]["timezone"] == "Europe/Berlin"
    assert workers["schedule"]["since"] < told["at"] < workers["schedule"]["until"]
    assert told["pools"][0]["policy"]["why"].endswith("limits 1 to 7")
    assert "'0 0 1 1 *' since" in screen


@pytest.mark.slow
def test_when_the_limits_change_workers_are_hired_though_nothing_is_published(
    redis_url: str,
) -> None:
    change = datetime.now(timezone.utc) + timedelta(seconds=90)
    cron = f"{change.minute} {change.hour} {change.day} {change.month} *"
    schedule = [{**SINCE_JANUARY, "cron": "0 0 1 * *"}, {"cron": cron, "min_workers": 3}]
    with (
        stage(redis_url, command=None, settings={"schedule": schedule, "call_interval": 1}) as on,
        on.program(KEEPS_WATCH),
    ):
        on.wait_for_quantity(1)
        until = on.status()["workers"]["schedule"]["until"]
        assert datetime.fromisoformat(until) == change.replace(second=0, microsecond=0)
        on.wait_for_quantity(3, timeout=180)
