"""What an app's processes log of the decisions that they make, however logging is configured."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.integration.stage import Stage, stage
from tests.servers import wait_for

HIRE = 'hire pool=worker from=0 to=1 reason="1 task at 1 per worker needs 1, limits 0 to 5"'


@pytest.fixture
def on(redis_url: str) -> Iterator[Stage]:
    with stage(redis_url, command=None) as made:
        yield made


@pytest.mark.parametrize(
    ("configured", "logged"),
    [
        ("", [f"INFO celery_middle_management: {HIRE}"]),
        # As Django does, where the user configures nothing: no handler for us.
        (
            "import logging.config\n"
            "logging.config.dictConfig({'version': 1, 'disable_existing_loggers': False})",
            [f"INFO celery_middle_management: {HIRE}"],
        ),
        ("import logging\nlogging.basicConfig(format='users %(message)s')", [f"users {HIRE}"]),
        ("import logging\nlogging.getLogger('celery_middle_management').setLevel('ERROR')", []),
    ],
    ids=["not at all", "without a handler", "with a handler", "with a level"],
)
def test_a_process_that_only_publishes_logs_its_hire(
    on: Stage, configured: str, logged: list[str]
) -> None:
    done = on.script(f"{configured}\nwork.delay()")
    assert on.quantity == 1
    assert [line for line in done.stderr.splitlines() if "hire" in line] == logged


@pytest.mark.slow
def test_a_worker_logs_what_it_decides(on: Stage) -> None:
    on.script("work.delay()")
    with on.worker("-c", "1", DYNO="worker.1") as worker:
        on.wait_for_quantity(0)
        wait_for(
            lambda: (
                re.search(r"cordon pool=worker workers=worker\.1\b", worker.log)
                and re.search(r"fire pool=worker from=1 to=0 reason=", worker.log)
            ),
            message=lambda: worker.log,
        )
