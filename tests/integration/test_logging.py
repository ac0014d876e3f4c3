"""An app's processes log the decisions that they make, however logging is configured."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from celery_middle_management.ledger.model import Changes
from celery_middle_management.ledger.new_entries import NewEntries
from celery_middle_management.version import __version__
from tests.integration.office import office
from tests.integration.stage import APP, ROOT, Stage, stage
from tests.servers import wait_for

MANAGED = "pools=worker:0-5 platform=heroku app=myapp dry_run=no"
DRAINS = (
    r'drain worker=worker\.1 running=0 reason="0 tasks at 1 .*drained worker=worker\.1 after=\ds'
)
HIRE = 'hire pool=worker from=0 to=1 reason="1 task at 1 per worker needs 1, limits 0 to 5"'


@pytest.fixture
def on(redis_url: str) -> Iterator[Stage]:
    with stage(redis_url, command=None) as made:
        yield made


@pytest.mark.parametrize(
    ("configured", "logged"),
    [
        ("", [f"INFO celery_middle_management: {HIRE}"]),
        # Like Django without a LOGGING setting: no handler takes our records.
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
    lines = done.stderr.splitlines()
    assert [line for line in lines if "hire" in line] == logged
    # It also logs that it is managed, if it logs at that level.
    assert [line.partition("managed ")[2] for line in lines if "managed " in line] == [
        f"pools=worker:0-5 platform=heroku app=myapp dry_run=no version={__version__}"
        for _ in logged
    ]


@pytest.mark.slow
def test_a_process_says_once_that_it_is_managed_and_its_child_does_not(on: Stage) -> None:
    fork = "import os\nif not os.fork():\n    work.delay()\n    os._exit(0)\nos.wait()"
    assert on.script(f"work.delay()\nwork.delay()\n{fork}").stderr.count("managed pools=") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("conf", "env"),
    [
        ("app.conf.task_always_eager = True", {}),
        ("", {"BROKER_URL": "memory://"}),
        ("app.finalize(); work.delay = print", {}),
    ],
    ids=["eager", "in memory", "imported alone"],
)
def test_nothing_is_said_where_nothing_is_managed(
    on: Stage, conf: str, env: dict[str, str]
) -> None:
    assert "managed pools=" not in on.script(f"{conf}\nwork.delay()", **env).stderr


@pytest.mark.slow
def test_a_worker_logs_what_it_decides_and_that_it_drains(on: Stage) -> None:
    on.publish("work.delay()")
    with on.worker("-c", "2", DYNO="worker.1") as worker:
        on.wait_for_quantity(0)
        wait_for(
            lambda: (
                re.search(r"cordon pool=worker workers=worker\.1\b", worker.log)
                and re.search(r"fire pool=worker from=1 to=0 reason=", worker.log)
                and re.search(DRAINS, worker.log, re.DOTALL)
            ),
            message=lambda: worker.log,
        )
        assert worker.log.count("managed pools=worker:0-5") == 1


@pytest.mark.slow
def test_run_logs_what_others_do(on: Stage, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as output:
        run = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", APP, "mm", "run"],
            env=on._environment({}),
            cwd=ROOT,
            stderr=output,
        )
    try:
        wait_for(lambda: "watching worker" in log.read_text(), message=log.read_text)
        on.script("app.start(['mm', 'pause', '--fires'])")
        wait_for(lambda: "pause hires=False fires=True by=" in log.read_text(), 45, log.read_text)
    finally:
        run.kill()
        run.wait()


def test_new_entries_are_those_of_others(redis_url: str) -> None:
    with office(redis_url) as mine, office(redis_url) as others:
        read_by_me, read_by_others = NewEntries(mine.ledger).read, NewEntries(others.ledger).read
        mine.publish()
        mine.ledger.commit(mine.lease(), Changes(history=["before"]), next_in=0.0)
        assert read_by_others() == []
        assert read_by_me() == []
        mine.publish()
        mine.ledger.commit(mine.lease(), Changes(history=["first", "second"]), next_in=0.0)
        assert read_by_me() == []
        assert read_by_others() == ["first", "second"]
        assert read_by_others() == []
