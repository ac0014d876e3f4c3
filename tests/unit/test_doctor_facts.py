"""The conclusions of `mm doctor` from the history and from versions."""

from __future__ import annotations

from datetime import datetime, timezone
from types import SimpleNamespace
from typing import Any

import pytest

from celery_middle_management.core.policies.schedule import Entry, Schedule
from celery_middle_management.core.pools import Pool
from celery_middle_management.demo.redis_server import free_port
from celery_middle_management.doctor.platform_checks import changed_by_others, dynos_can_be_many
from celery_middle_management.doctor.settings_checks import webhook_answers
from celery_middle_management.doctor.worker_checks import beat_stays, known_faults
from celery_middle_management.settings.secret import Secret


def test_what_a_person_changes_now_and_then_is_no_scaler() -> None:
    def by_hand(*ago: float, action: str = "by hand") -> list[dict[str, str]]:
        at = [datetime.fromtimestamp(100_000 - s, timezone.utc).isoformat() for s in ago]
        return [{"pool": "worker", "action": action, "at": when} for when in at]

    assert changed_by_others(by_hand(1, 2), 100_000) == {}
    assert changed_by_others(by_hand(1, 2, 90_000), 100_000) == {}
    assert changed_by_others(by_hand(1, 2, 3, action="hire"), 100_000) == {}
    assert changed_by_others(by_hand(1, 2, 80_000), 100_000) == {"worker": 3}


@pytest.mark.parametrize(
    ("celery", "kombu", "on_redis", "said"),
    [
        ((5, 6, 2), (5, 7, 0), True, ["Celery 5.6.2"]),
        ((5, 6, 3), (5, 7, 0), True, []),
        ((5, 4, 0), (5, 6, 2), True, ["Celery 5.4.0", "kombu 5.6.2"]),
        ((5, 6, 3), (5, 6, 2), False, []),
    ],
)
def test_which_versions_have_known_faults(
    celery: tuple[int, ...], kombu: tuple[int, ...], on_redis: bool, said: list[str]
) -> None:
    found = known_faults({"celery": celery, "kombu": kombu}, on_redis=on_redis)
    assert [what.partition(":")[0] for what, _ in found] == said


def test_a_webhook_that_cannot_be_reached_from_here_may_be_reached_from_elsewhere() -> None:
    address = Secret(f"http://127.0.0.1:{free_port()}/its-secret-path")
    installation: Any = SimpleNamespace(settings=SimpleNamespace(webhook=address))
    [finding] = webhook_answers(installation)
    assert finding.level == "warning"
    assert finding.what.startswith("it cannot be reached from here, so messages of processes here")
    assert "its-secret-path" not in finding.what


@pytest.mark.parametrize(
    ("least", "most", "said"), [(1, 100, ["ok", "ok"]), (0, 101, ["failure", "warning"])]
)
def test_of_a_schedule_the_lowest_minimum_and_the_highest_maximum_matter(
    least: int, most: int, said: list[str]
) -> None:
    entries = (Entry("0 8 * * *", 3, most), Entry("0 18 * * *", least, 5))
    pool = Pool("worker", None, 0, 200, 10, schedule=Schedule(entries, "UTC"))
    platform = SimpleNamespace(
        heroku=object(),
        process_types={"worker": SimpleNamespace(size="standard-1x")},
        worker_commands={"worker": SimpleNamespace(beat=True)},
    )
    installation: Any = SimpleNamespace(
        settings=SimpleNamespace(pools=(pool,)),
        platform=platform,
        shell=SimpleNamespace(celery="celery -A proj", heroku_app=" -a shop"),
    )
    found = [*beat_stays(installation), *dynos_can_be_many(installation)]
    assert [finding.level for finding in found] == said
