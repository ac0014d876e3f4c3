"""Production's settings on a laptop, in CI, on another app's dyno: nothing is called or changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest
from celery import Celery

from celery_middle_management.core.batch import Batch
from celery_middle_management.core.presence import Presence
from celery_middle_management.demo.redis_server import free_port
from celery_middle_management.ledger.model import Changes
from celery_middle_management.ledger.redis import RedisLedger
from celery_middle_management.settings.reading import read_settings
from tests.integration.stage import APP, Stage, stage
from tests.servers import ROOT, wait_for

#: Publishes 25 tasks, and lives on.
BURST = "for _ in range(25): work.delay()\nimport time; time.sleep(60)"
LAPTOP: dict[str, str] = {}
OTHER_APP = {"DYNO": "worker.1", "HEROKU_APP_NAME": "myapp-review-7"}
CI = {"DYNO": "run.1", "HEROKU_TEST_RUN_ID": "8f1"}
WEB = {"DYNO": "web.1", "HEROKU_APP_NAME": "myapp"}


@pytest.fixture
def on(redis_url: str) -> Iterator[Stage]:
    """Production, all of whose environment a laptop has as well."""
    with stage(redis_url, command=None, settings={"max_workers": 30}) as it:
        del it.env["MIDDLE_MANAGEMENT_OFF_PLATFORM"]
        yield it


def mm(on: Stage, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "celery", "-A", APP, "mm", *arguments],
        env={**os.environ, **on.env, **env},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("env", [LAPTOP, OTHER_APP, CI], ids=["laptop", "other app", "CI"])
def test_what_runs_elsewhere_changes_nothing_in_production(on: Stage, env: dict[str, str]) -> None:
    with on.program(BURST, **env):
        wait_for(lambda: on.number("worker/published") == 25, message=lambda: str(on.state()))
    said = on.script("for _ in range(3): work.delay()", **env).stderr
    assert on.number("worker/published") == 28, "what it published counts"
    assert said.count("no workers are hired or fired from this process") == 1, said
    assert "middle_management_off_platform=True" in said
    assert "evaluated_at" not in on.state()
    assert on.emulator.requests == []
    # A dyno of the app finds what was reported.
    on.publish("work.delay()", **WEB)
    on.wait_for_quantity(29)


@pytest.mark.slow
@pytest.mark.parametrize("env", [LAPTOP, OTHER_APP], ids=["laptop", "other app"])
def test_a_worker_elsewhere_keeps_no_dyno_from_hiring(on: Stage, env: dict[str, str]) -> None:
    with on.worker("-P", "solo", "-Q", "other", **env):
        wait_for(lambda: len(on.presences()) == 1, message=lambda: str(on.state()))
        [told] = on.presences()
        assert told["pool"] is None
        assert "evaluated_at" not in on.state()
        # With a worker of the app at work, one that leaves would rely on it.
        on.publish("work.delay()", **WEB)
        on.wait_for_quantity(1)


def test_no_process_relies_on_a_worker_elsewhere(redis_url: str) -> None:
    app = Celery("myapp", broker=redis_url, set_as_current=False)
    app.conf.update(
        middle_management_enabled=True,
        middle_management_platform="local",
        middle_management_max_workers=1,
    )
    here = read_settings(app)
    assert here is not None
    with (
        closing(RedisLedger(here)) as web,
        closing(RedisLedger(replace(here, inactive="elsewhere"))) as laptop,
        closing(RedisLedger(here)) as dyno,
    ):
        lease = web.report(Batch()).lease
        assert lease is not None
        web.commit(lease, Changes(), next_in=1.0)
        its = Presence("1", "laptop", None, since=1.0, seen=0.0, inactive=True)
        laptop.report(Batch(), "1", its)
        reply = web.report(Batch())
        assert reply.lease or reply.wait <= 1.0, "it leaves what is due to the worker"
        assert not web.report(Batch(), leaving=True).watched
        dyno.report(Batch(), "2", replace(its, id="2", inactive=False))
        assert web.report(Batch(), leaving=True).watched


@pytest.mark.slow
def test_a_setting_allows_it(on: Stage) -> None:
    with on.program(BURST, MIDDLE_MANAGEMENT_OFF_PLATFORM="true"):
        on.wait_for_quantity(25)


@pytest.mark.slow
def test_commands_elsewhere_read_and_write_the_ledger_alone(on: Stage) -> None:
    with on.program("work.delay(); import time; time.sleep(60)", **WEB):
        on.wait_for_quantity(1)
        # Killed before it has written that down, the next hire waits until it is known.
        wait_for(lambda: on.number("worker/quantity") == 1)
    # The commands may take longer than a worker has to be heard of, and there is none here.
    on.redis.hset("{middle-management:myapp}:state", "worker/boot", 60)
    asked = len(on.emulator.requests)
    run = mm(on, "run")
    assert (run.returncode, run.stdout) == (2, "")
    assert "no workers are hired or fired from this process" in run.stderr
    assert json.loads(mm(on, "status", "--json").stdout)["inactive"]
    assert "this process neither hires nor fires" in mm(on, "status").stdout
    hired = mm(on, "hire", "2")
    assert hired.returncode == 0, hired.stderr
    [finding] = [
        finding
        for finding in json.loads(mm(on, "doctor", "--json").stdout)
        if finding["check"] == "place"
    ]
    assert finding["level"] == "warning"
    assert len(on.emulator.requests) == asked
    # What was asked for is done by a dyno of the app.
    with on.program("work.delay(); import time; time.sleep(60)", **WEB):
        on.wait_for_quantity(3)


@pytest.mark.slow
def test_without_key_and_redis_all_is_as_without_us(on: Stage) -> None:
    for name in ("HEROKU_API_KEY", "HEROKU_APP", "REDIS_URL", "MAX_WORKERS"):
        del on.env[f"MIDDLE_MANAGEMENT_{name}"]
    on.env["BROKER_URL"] = f"amqp://localhost:{free_port()}"
    publish = "work.apply_async(retry=False)"
    done = on.script(f"""
        from kombu.exceptions import OperationalError
        try: {publish}
        except OperationalError: print("no broker")
    """)
    assert (done.stdout, done.stderr) == ("no broker\n", "")
    status = mm(on, "status")
    assert status.returncode == 2
    assert "is required" in status.stderr
