"""Workers that are hired and never report: no more are hired for a while, and status says so."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from redis import Redis

from celery_middle_management.demo.redis_server import RedisServer
from tests.integration.stage import APP, ROOT, Stage, stage
from tests.servers import wait_for

#: Publishes a task for each line that it reads.
PUBLISHER = "for line in __import__('sys').stdin: work.delay()"
#: Commands of a `worker` process type that start no worker of the app.
WRONG = {
    "crash": (sys.executable, "-c", "raise ImportError('no module named proj')"),
    "beat": (sys.executable, "-c", "import time; time.sleep(600)"),
}


def mm_status(on: Stage) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "celery", "-A", APP, "mm", "status", "--json"],
        env=on._environment({}),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def wrong(on: Stage) -> str:
    """The troubles in `mm status`, which must exit with 1 if there are any."""
    told = mm_status(on)
    trouble = [each["what"] for each in json.loads(told.stdout)["trouble"]]
    assert told.returncode == (1 if trouble else 0)
    return "; ".join(trouble)


@pytest.mark.slow
@pytest.mark.parametrize("dynos", ["formation", "one-off"])
@pytest.mark.parametrize("command", WRONG)
def test_hires_do_not_go_on_while_no_worker_reports(
    redis_url: str, tmp_path: Path, command: str, dynos: str
) -> None:
    if (command, dynos) == ("crash", "one-off"):
        pytest.skip("one-off dynos that crash are gone, and have a pause of their own")
    settings = {"call_interval": 1, "dynos": dynos}
    with (
        stage(redis_url, command=WRONG[command], settings=settings, log_dir=tmp_path) as on,
        on.program(PUBLISHER) as program,
    ):
        assert program.stdin is not None
        program.stdin.write("\n")
        program.stdin.flush()
        wait_for(lambda: hired(on) == 1)
        # As if earlier workers had been up within a moment.
        on.redis.hset("{middle-management:myapp}:state", "worker/boot", "0.5")
        said = "no worker has reported since the quantity was raised to 1"
        wait_for(lambda: said in wrong(on), 60.0, lambda: wrong(on))
        assert "`heroku logs --ps " in wrong(on)
        evaluated = on.number("evaluated_at")
        program.stdin.write(4 * "\n")
        program.stdin.flush()
        wait_for(lambda: on.number("worker/published") == 5)
        wait_for(lambda: on.number("evaluated_at") > evaluated + 2000, 60.0)
        assert hired(on) == 1
        # One that reports ends it.
        with on.worker("-P", "solo", "-Q", "other", DYNO="worker.1"):
            wait_for(lambda: hired(on) >= 4, 60.0, lambda: str(on.state()))
        assert said not in wrong(on)


def hired(on: Stage) -> int:
    return int(on.state().get("worker/quantity", 0))


@pytest.mark.slow
def test_status_does_not_hide_that_the_ledgers_redis_is_full(redis_url: str) -> None:
    with (
        RedisServer() as ledger,
        Redis.from_url(ledger.url) as client,
        stage(redis_url, ledger.url, command=None) as on,
    ):
        on.publish("work.delay()")
        assert wrong(on) == ""
        client.config_set("maxmemory", 1)
        assert "the ledger's Redis has no memory left" in wrong(on)
        client.config_set("maxmemory", 0)
        # The last connection is for the command.
        there = len(client.client_list())
        client.config_set("maxclients", there + 1)
        assert f"no connection left: {there + 1} of {there + 1} are in use" in wrong(on)
