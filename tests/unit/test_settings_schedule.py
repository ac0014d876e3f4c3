"""The settings of a schedule of limits, and the messages about wrong ones."""

from __future__ import annotations

import json
import sys
from datetime import timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from celery_middle_management.core.policies.schedule import Entry, Schedule
from tests.unit.settings_given import LOCAL, refusal, settings

pytestmark = pytest.mark.usefixtures("environment")

MORNING = {"cron": "0 8 * * mon-fri", "min_workers": 3, "max_workers": 20}
EVENING = {"cron": "0 18 * * *", "min_workers": 0}
ALLOWED = "a list with a dict for each time"
FIELDS = "five fields as in '0 8 * * mon-fri'"
ZONE = "the IANA name of a time zone, such as 'Europe/Berlin' or 'UTC'"


def schedule(celery: dict[str, Any] | None = None, /, **ours: Any) -> Schedule | None:
    """The schedule of the only pool."""
    (pool,) = settings(celery, **ours).pools
    return pool.schedule


def test_an_entry_takes_the_pools_own_limit_for_one_that_it_leaves_out() -> None:
    found = schedule(min_workers=1, schedule=[MORNING, EVENING, {"cron": "0 0 1 * *", **MOST}])
    assert found is not None
    assert found.entries == (
        Entry("0 8 * * mon-fri", 3, 20),
        Entry("0 18 * * *", 0, 5),
        Entry("0 0 1 * *", 1, 7),
    )


MOST = {"max_workers": 7}


def test_a_pools_own_schedule_takes_the_place_of_the_common_one() -> None:
    pools = {
        "own": {"queues": ["a"], "max_workers": 2, "schedule": [EVENING]},
        "common": {"max_workers": 4, "schedule": None},
        "without": {"queues": ["b"]},
    }
    own, common, without = settings(schedule=({"cron": "0 9 * * *", **MOST},), pools=pools).pools
    assert own.schedule == Schedule((Entry("0 18 * * *", 0, 2),), "UTC")
    assert common.schedule == Schedule((Entry("0 9 * * *", 0, 4),), "UTC")
    assert without.schedule == Schedule((Entry("0 9 * * *", 0, 7),), "UTC")


def test_a_maximum_of_0_overrides_any_minimum() -> None:
    none = {"cron": "0 20 * * *", "max_workers": 0}
    assert schedule(min_workers=2, schedule=[none]) == Schedule((Entry("0 20 * * *", 0, 0),), "UTC")
    assert schedule(max_workers=0, min_workers=1, schedule=[{**none, **MOST}, EVENING]) is None


class TestTimezone:
    @pytest.mark.parametrize(
        ("celery", "given", "zone"),
        [
            ({}, None, "UTC"),
            ({"timezone": "America/New_York"}, None, "America/New_York"),
            ({"timezone": ZoneInfo("Asia/Tokyo")}, None, "Asia/Tokyo"),
            ({"timezone": timezone.utc}, None, "UTC"),
            ({"timezone": "America/New_York"}, "Europe/Berlin", "Europe/Berlin"),
            ({"timezone": "nowhere"}, "Etc/GMT+8", "Etc/GMT+8"),
        ],
    )
    def test_it_is_the_apps_unless_it_is_given(
        self, celery: dict[str, Any], given: str | None, zone: str
    ) -> None:
        found = schedule(celery, schedule=[MORNING], timezone=given)
        assert found is not None
        assert found.zone == zone

    def test_one_without_a_name_has_to_be_given_if_there_is_a_schedule(self) -> None:
        for name in ("<LocalTimezone: UTC+01>", "Mars/Olympus"):
            assert refusal({"timezone": name}, **LOCAL, schedule=[MORNING]) == (
                f"middle_management_timezone, by default the app's timezone, is '{name}'; "
                f"allowed: {ZONE}"
            )
            assert schedule({"timezone": name}) is None


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"cron": "0 8 * *"}, f".cron is '0 8 * *', which has 4 fields; allowed: {FIELDS}"),
        (
            {"cron": "0 0 8 * * mon"},
            f".cron is '0 0 8 * * mon', which has 6 fields; allowed: {FIELDS}",
        ),
        ({"cron": "0 25 * * *"}, f".cron is '0 25 * * *', which has a bad hour; allowed: {FIELDS}"),
        ({"cron": "@daily"}, f".cron is '@daily', which has 1 field; allowed: {FIELDS}"),
        ({"cron": ""}, f".cron is ''; allowed: {FIELDS}"),
        ({"cron": 8}, f".cron is 8, which is not a string; allowed: {FIELDS}"),
        ({"cron": None}, f".cron is required; allowed: {FIELDS}"),
        ({"when": "0 8 * * *"}, ".when is unknown; allowed: cron, min_workers, max_workers"),
        (
            {"max_worker": 3},
            ".max_worker is unknown; did you mean middle_management_schedule[1].max_workers?",
        ),
        ({"min_workers": "3"}, ".min_workers is '3', a string; allowed: a whole number, 0 or more"),
        ({"max_workers": -1}, ".max_workers is -1; allowed: a whole number, 0 or more"),
        ({"min_workers": None}, " has no limits; allowed: min_workers, max_workers, or both"),
        (
            {"min_workers": 6},
            ".min_workers is 6 for the pool 'worker'; allowed: at most "
            "middle_management_max_workers, 5",
        ),
        (
            {"min_workers": 6, "max_workers": 4},
            ".min_workers is 6 for the pool 'worker'; allowed: at most "
            "middle_management_schedule[1].max_workers, 4",
        ),
    ],
)
def test_what_is_wrong_with_an_entry(entry: dict[str, object], message: str) -> None:
    said = refusal(**LOCAL, schedule=[MORNING, {"cron": "0 18 * * *", "min_workers": 1, **entry}])
    assert said.startswith(f"middle_management_schedule[1]{message}")


def test_a_maximum_below_the_pools_own_minimum() -> None:
    pools = {"pdf": {"min_workers": 3, "schedule": [{"cron": "0 8 * * *", "max_workers": 2}]}}
    assert refusal(**LOCAL, pools=pools) == (
        "middle_management_pools['pdf'].min_workers is 3 for the pool 'pdf'; allowed: at most "
        "middle_management_pools['pdf'].schedule[0].max_workers, 2"
    )


def test_an_entry_without_cron() -> None:
    assert refusal(**LOCAL, schedule=[MOST]).startswith(
        "middle_management_schedule[0].cron is required; allowed: five fields"
    )


def test_in_the_environment_it_is_json(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("MIDDLE_MANAGEMENT_SCHEDULE", json.dumps([MORNING, EVENING]))
    environment.setenv("MIDDLE_MANAGEMENT_TIMEZONE", "Europe/Berlin")
    entries = (Entry("0 8 * * mon-fri", 3, 20), Entry("0 18 * * *", 0, 5))
    assert schedule() == Schedule(entries, "Europe/Berlin")
    environment.setenv("MIDDLE_MANAGEMENT_SCHEDULE", '[{"cron": "0 8 * * *"}]')
    assert refusal(**LOCAL).startswith("MIDDLE_MANAGEMENT_SCHEDULE[0] has no limits")
    environment.setenv("MIDDLE_MANAGEMENT_SCHEDULE", "0 8 * * *")
    assert refusal(**LOCAL).startswith("MIDDLE_MANAGEMENT_SCHEDULE is '0 8 * * *'; allowed: a list")


def test_without_cronsim_one_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cronsim", None)
    assert settings().pools, "it is not needed without a schedule"
    for ours, label in [
        ({"schedule": [MORNING]}, "middle_management_schedule"),
        (
            {"pools": {"pdf": {"schedule": [{"cron": "wrong"}]}}},
            "middle_management_pools['pdf'].schedule",
        ),
    ]:
        assert refusal(**LOCAL, **ours) == (
            f"{label} needs a package that is not installed: "
            "pip install 'celery-middle-management[schedule]'"
        )


def test_processes_with_another_schedule_or_time_zone_do_not_agree() -> None:
    prints = {
        settings(**ours).fingerprint
        for ours in (
            {},
            {"schedule": [MORNING]},
            {"schedule": [MORNING, EVENING]},
            {"schedule": [MORNING], "timezone": "Europe/Berlin"},
        )
    }
    assert len(prints) == 4


def test_the_apps_schedule_does_not_lead_a_pool_beyond_its_own_maximum() -> None:
    pools = {"worker": {}, "pdf": {"queues": ["pdf"], "max_workers": 2}}
    worker, pdf = settings(schedule=[MORNING], pools=pools).pools
    assert worker.schedule is not None
    assert pdf.schedule is not None
    assert worker.schedule.entries[0][1:] == (3, 20)
    assert pdf.schedule.entries[0][1:] == (2, 2)


def test_a_pool_that_is_switched_off_has_no_schedule() -> None:
    (pool,) = settings(schedule=[MORNING], max_workers=0).pools
    assert (pool.min_workers, pool.max_workers, pool.schedule) == (0, 0, None)
