"""What decides how many workers a pool needs: jobs_per_worker or max_wait, its own or the app's."""

from __future__ import annotations

from typing import Any

import pytest

from celery_middle_management.core.pools import Pool
from tests.unit.settings_given import LOCAL, refusal, settings

pytestmark = pytest.mark.usefixtures("environment")

#: The names of the settings of the app, and of those of the pool `pdf`.
APPS, PDFS = "middle_management_", "middle_management_pools['pdf']."


def decides(own: dict[str, Any] | None = None, **apps: Any) -> tuple[int | None, float | None]:
    """Jobs per worker and the longest wait of a pool that has its *own* settings, or the app's."""
    (pool,) = settings(pools={"pdf": own or {}}, **apps).pools
    return pool.jobs_per_worker, pool.max_wait


@pytest.mark.parametrize(
    ("apps", "own", "expected"),
    [
        ({}, {}, (10, None)),
        ({"jobs_per_worker": 3}, {}, (3, None)),
        ({"jobs_per_worker": "auto"}, {}, (None, None)),
        ({}, {"jobs_per_worker": "auto"}, (None, None)),
        ({"jobs_per_worker": "auto"}, {"jobs_per_worker": 3}, (3, None)),
        ({"max_wait": 30}, {}, (10, 30.0)),
        ({"max_wait": 2.5}, {"max_wait": 7}, (10, 7.0)),
        ({"max_wait": None}, {"max_wait": None}, (10, None)),
        # The more specific one wins, whichever it is.
        ({"max_wait": 30}, {"jobs_per_worker": 3}, (3, None)),
        ({"max_wait": 30}, {"jobs_per_worker": "auto"}, (None, None)),
        ({"max_wait": 30}, {"jobs_per_worker": 10}, (10, None)),
        ({"jobs_per_worker": 3}, {"max_wait": 7}, (3, 7.0)),
        ({"jobs_per_worker": 3}, {"max_wait": 7, "jobs_per_worker": None}, (3, 7.0)),
        # None is as if it were not given.
        ({"max_wait": 30, "jobs_per_worker": None}, {"jobs_per_worker": None}, (10, 30.0)),
    ],
)
def test_the_more_specific_setting_decides(
    apps: dict[str, Any], own: dict[str, Any], expected: tuple[int | None, float | None]
) -> None:
    assert decides(own, **apps) == expected


def test_both_of_the_app() -> None:
    assert refusal(**LOCAL, jobs_per_worker=10, max_wait=30) == (
        f"{APPS}jobs_per_worker is 10 and {APPS}max_wait is 30.0; allowed: only one of the two"
    )


@pytest.mark.parametrize("apps", [{}, {"max_wait": 5}, {"jobs_per_worker": "auto"}])
def test_both_of_a_pool(apps: dict[str, Any]) -> None:
    own = {"jobs_per_worker": "auto", "max_wait": 30}
    assert refusal(**LOCAL, **apps, pools={"pdf": own}) == (
        f"{PDFS}jobs_per_worker is 'auto' and {PDFS}max_wait is 30.0; allowed: only one of the two"
    )


def test_both_of_the_app_though_its_only_pool_has_its_own() -> None:
    message = refusal(**LOCAL, max_wait=3, jobs_per_worker=2, pools={"pdf": {"max_wait": 9}})
    assert message.startswith(f"{APPS}jobs_per_worker is 2 and {APPS}max_wait is 3.0; ")


def test_by_the_environment(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("MIDDLE_MANAGEMENT_JOBS_PER_WORKER", "auto")
    assert decides() == (None, None)
    environment.setenv("MIDDLE_MANAGEMENT_MAX_WAIT", "2.5")
    assert refusal(**LOCAL) == (
        "MIDDLE_MANAGEMENT_JOBS_PER_WORKER is 'auto' and MIDDLE_MANAGEMENT_MAX_WAIT is 2.5; "
        "allowed: only one of the two"
    )
    environment.delenv("MIDDLE_MANAGEMENT_JOBS_PER_WORKER")
    assert decides() == (10, 2.5)
    assert decides({"jobs_per_worker": 4}) == (4, None)
    pools = '{"pdf": {"max_wait": 7}, "png": {"queues": ["png"], "jobs_per_worker": "auto"}}'
    environment.setenv("MIDDLE_MANAGEMENT_POOLS", pools)
    assert settings().pools == (
        Pool("pdf", None, 0, 5, 10, max_wait=7.0),
        Pool("png", ("png",), 0, 5, None),
    )


def test_one_in_the_code_and_the_other_in_the_environment(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("MIDDLE_MANAGEMENT_MAX_WAIT", "30")
    assert refusal(**LOCAL, jobs_per_worker=3) == (
        f"{APPS}jobs_per_worker is 3 and MIDDLE_MANAGEMENT_MAX_WAIT is 30.0; "
        "allowed: only one of the two"
    )


@pytest.mark.parametrize("text", ["AUTO", "automatic", "0", "2.5", "auto "])
def test_bad_numbers_of_jobs_in_the_environment(environment: pytest.MonkeyPatch, text: str) -> None:
    environment.setenv("MIDDLE_MANAGEMENT_JOBS_PER_WORKER", text)
    assert refusal(**LOCAL).endswith("; allowed: a positive whole number, or 'auto'")


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "30 s", "None"])
def test_bad_waits_in_the_environment(environment: pytest.MonkeyPatch, text: str) -> None:
    environment.setenv("MIDDLE_MANAGEMENT_MAX_WAIT", text)
    assert refusal(**LOCAL).endswith("; allowed: a number of seconds above 0")


def test_processes_that_decide_otherwise_do_not_agree() -> None:
    given: list[dict[str, Any]] = [
        *({}, {"jobs_per_worker": 3}, {"jobs_per_worker": "auto"}),
        *({"max_wait": 30}, {"max_wait": 31}),
    ]
    assert len({settings(**each).fingerprint for each in given}) == len(given)


def test_the_pools_that_have_a_longest_wait() -> None:
    pools = {"pdf": {"max_wait": 7}, "png": {"queues": ["png"]}, "gif": {"queues": ["gif"]}}
    assert settings(pools=pools).max_waits == {"pdf": 7.0}
