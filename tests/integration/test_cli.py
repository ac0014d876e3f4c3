"""`celery -A proj mm …` as it is typed: real commands, Redis and workers, an emulated Heroku."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import redis

from celery_middle_management.cli.status_screen import ASLEEP
from celery_middle_management.demo.redis_server import RedisServer, free_port
from tests.emulator import HerokuEmulator
from tests.integration.stage import stage
from tests.servers import ROOT, start_worker, wait_for

APP = "tests.integration.apps.everyday"
KEY = "emulated-key"


@pytest.fixture
def heroku() -> Iterator[HerokuEmulator]:
    """An emulated Heroku whose dynos run nothing."""
    with HerokuEmulator(process_types={"worker": 0}, api_key=KEY) as emulator:
        yield emulator


def environment(redis_url: str, heroku: HerokuEmulator | None = None) -> dict[str, str]:
    return {
        "BROKER_URL": redis_url,
        "MIDDLE_MANAGEMENT_HEROKU_APP": "myapp",
        "MIDDLE_MANAGEMENT_OFF_PLATFORM": "true",
        "MIDDLE_MANAGEMENT_HEROKU_API_KEY": KEY,
        "MIDDLE_MANAGEMENT_HEROKU_API_URL": heroku.url if heroku else "http://127.0.0.1:1",
        "MIDDLE_MANAGEMENT_MAX_WORKERS": "5",
        "MIDDLE_MANAGEMENT_JOBS_PER_WORKER": "1",
    }


def command(*arguments: str, app: str | None = APP) -> list[str]:
    return [sys.executable, "-m", "celery", *(["-A", app] if app else []), "mm", *arguments]


def mm(
    env: Mapping[str, str], *arguments: str, app: str | None = APP
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments, app=app),
        env={**os.environ, **env},
        cwd=ROOT,
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )


def publish(env: Mapping[str, str], code: str) -> None:
    """Run *code* in a process that then ends."""
    script = f"from {APP} import work; {code}"
    subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, **env}, cwd=ROOT, check=True, timeout=60
    )


def test_status_before_anything_has_happened(redis_url: str) -> None:
    env = environment(redis_url)
    told = mm(env, "status", "--json")
    assert told.returncode == 0, told.stderr
    (pool,) = json.loads(told.stdout)["pools"]
    assert (pool["name"], pool["platform"], pool["queues"]) == ("worker", "heroku", ["celery"])
    assert pool["workers"]["current"] is None
    table = mm({**env, "COLUMNS": "100"}, "status")
    assert not re.search(r" $", table.stdout, re.M), "a file needs no trailing blanks"
    assert (table.returncode, table.stderr) == (0, "")
    assert "? workers, 0 needed  (limits 0 to 5, heroku)" in table.stdout
    assert "\x1b" not in table.stdout
    with redis.Redis.from_url(redis_url) as client:
        assert client.keys() == []


def test_status_of_a_worker_at_work(redis_url: str, heroku: HerokuEmulator) -> None:
    heroku.scale_by_hand("worker", 1)
    env = environment(redis_url, heroku)
    with start_worker(APP, "--concurrency", "1", env={**env, "DYNO": "worker.1"}) as worker:
        publish(env, "work.delay(600)")

        def pool() -> dict[str, dict[str, object]]:
            (only,) = json.loads(mm(env, "status", "--json").stdout)["pools"]
            return dict(only)

        wait_for(lambda: pool()["tasks"]["running"] == 1, message=lambda: str(pool()))
        told = pool()
        assert told["workers"]["live"] == ["worker.1"]
        assert (told["workers"]["current"], told["workers"]["needed"]) == (1, 1)
        assert told["tasks"]["outstanding"] == 1
        longest = told["workers"]["longest"]
        assert (longest["name"], longest["worker"]) == (f"{APP}.work", "worker.1")
        assert 0 <= float(longest["for"]) < 600
        assert "600" not in json.dumps(longest), "its arguments are private"
        worker.kill()  # it would work for ten minutes


@pytest.mark.slow
def test_watch_follows_until_ctrl_c(redis_url: str, tmp_path: Path) -> None:
    env = environment(redis_url)
    log = tmp_path / "log"
    with log.open("wb") as output:
        watch = subprocess.Popen(
            command("status", "--watch"),
            env={**os.environ, **env},
            cwd=ROOT,
            stdout=output,
        )
    try:
        wait_for(lambda: "0 waiting" in log.read_text())
        publish({**env, "MIDDLE_MANAGEMENT_MIN_WORKERS": "2"}, "work.delay()")
        # Nothing is wrong but the platform's address, once an evaluation has tried it.
        wait_for(lambda: re.search(r"WRONG +Heroku", log.read_text()), 60)
        watch.send_signal(signal.SIGINT)
        assert watch.wait(30) == 1
    finally:
        watch.kill()
        watch.wait()


def test_watch_and_json_exclude_each_other(redis_url: str) -> None:
    told = mm(environment(redis_url), "status", "--watch", "--json")
    assert (told.returncode, told.stdout) == (2, "")
    assert "exclude each other" in told.stderr


@pytest.mark.slow
def test_watch_ends_when_the_app_is_idle(redis_url: str) -> None:
    with stage(redis_url) as on:
        on.publish("for _ in range(3): work.delay(1)")
        told = mm(on.env, "status", "--until-idle")
        assert told.returncode == 0
        last = told.stdout.split("worker  ")[-1]
        assert last.startswith("0 workers, 0 needed")
        assert on.number("worker/finished") == 3


def test_it_says_that_no_process_wakes_the_pool_for_scheduled_tasks(
    redis_url: str, heroku: HerokuEmulator
) -> None:
    env = {**environment(redis_url, heroku), "COLUMNS": "300"}
    publish(env, "work.apply_async(countdown=3600)")
    table = mm(env, "status")
    assert "1 scheduled" in table.stdout
    assert ASLEEP in table.stdout


def test_slack_publishes_and_says_so(redis_url: str, heroku: HerokuEmulator) -> None:
    env = environment(redis_url, heroku)
    told = mm(env, "slack", "3", "0.5")
    assert told.returncode == 0, told.stderr
    assert told.stdout == "Published 3 tasks that take 0.5 s each.\n"
    assert json.loads(mm(env, "slack", "1", "2", "--json").stdout) == {
        "published": 1,
        "seconds": 2.0,
    }
    assert mm(env, "slack", "1", "2").stdout == "Published 1 task that takes 2 s.\n"
    with redis.Redis.from_url(redis_url) as client:
        assert client.llen("celery") == 5
    wait_for(lambda: heroku.quantities()["worker"] > 0)


@pytest.mark.slow
def test_every_worker_knows_what_slack_publishes(redis_url: str, heroku: HerokuEmulator) -> None:
    heroku.scale_by_hand("worker", 1)
    env = environment(redis_url, heroku)
    assert mm(env, "slack", "1", "0").returncode == 0
    with start_worker(APP, "--pool", "solo", env={**env, "DYNO": "worker.1"}) as worker:
        wait_for(lambda: "slack_for" in worker.log and "succeeded" in worker.log)


@pytest.mark.slow
def test_run_wakes_a_pool_for_scheduled_tasks_and_survives_redis(
    tmp_path: Path, heroku: HerokuEmulator
) -> None:
    log = tmp_path / "log"
    with RedisServer(appendonly=True) as server:
        env = environment(server.url, heroku)
        publish(env, "work.apply_async(countdown=26)")
        server.stop()
        with log.open("wb") as output:
            run = subprocess.Popen(
                command("run"), env={**os.environ, **env}, cwd=ROOT, stderr=output
            )
        try:
            wait_for(lambda: "Redis failed" in log.read_text(), message=log.read_text)
            server.restart()
            wait_for(lambda: heroku.quantities()["worker"] == 1, 60, log.read_text)
            wait_for(
                lambda: "hire pool=worker from=0 to=1 reason=" in log.read_text(),
                message=log.read_text,
            )
            run.send_signal(signal.SIGTERM)
            assert run.wait(30) == 0
        finally:
            run.kill()
            run.wait()
    assert "stopped watching worker" in log.read_text()


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_run_ends_on_a_signal_although_redis_hangs(
    tmp_path: Path, heroku: HerokuEmulator, number: signal.Signals
) -> None:
    log = tmp_path / "log"
    with RedisServer() as server:
        env = environment(server.url, heroku)
        with log.open("wb") as output:
            run = subprocess.Popen(
                command("run"), env={**os.environ, **env}, cwd=ROOT, stderr=output
            )
        try:
            wait_for(lambda: "watching worker" in log.read_text(), message=log.read_text)
            server.pause()
            run.send_signal(number)
            assert run.wait(30) == 0
        finally:
            run.kill()
            run.wait()


@pytest.mark.parametrize("arguments", [["status"], ["status", "--json"], ["slack", "1", "1"]])
def test_redis_is_down(arguments: list[str]) -> None:
    env = environment(f"redis://:hunter2@127.0.0.1:{free_port()}/0")
    told = mm(env, *arguments)
    assert (told.returncode, told.stdout) == (1, "")
    assert "could not be" in told.stderr
    assert "Traceback" not in told.stderr
    assert "hunter2" not in told.stderr
    assert KEY not in told.stderr
    if arguments[0] == "status":
        assert len(told.stderr.splitlines()) == 1


def test_redis_has_no_such_database(redis_url: str) -> None:
    done = mm(environment(redis_url.rpartition("/")[0] + "/9999"), "status")
    assert (done.returncode, done.stdout) == (1, "")
    assert "such as /0" in done.stderr


IN_PROCESS = {
    "BROKER_URL": "memory://",
    "MIDDLE_MANAGEMENT_REDIS_URL": "redis://localhost:1",
}


@pytest.mark.parametrize(
    ("arguments", "extra", "expected"),
    [
        (["status"], {"MM_OFF": "1"}, "not enabled for the app 'everyday'"),
        (["status", "--json", "pdf"], {}, "there is no pool 'pdf'; allowed: 'worker'"),
        (["run"], {"MM_OFF": "1"}, "not enabled"),
        (["run"], IN_PROCESS, "no worker can be hired"),
        (["slack", "1", "1"], {"MM_OFF": "1"}, "not enabled"),
        (["status"], {"MIDDLE_MANAGEMENT_MAX_WORKERS": "lots"}, "allowed: a whole number"),
        (["run"], {"MIDDLE_MANAGEMENT_MIN_WORKERS": "6"}, "MIDDLE_MANAGEMENT_MIN_WORKERS is 6"),
        (["slack", "x", "1"], {}, "COUNT"),
        (["slack", "1.5", "1"], {}, "COUNT"),
        (["slack", "--", "-1", "1"], {}, "COUNT"),
        (["slack", "1", "soon"], {}, "SECONDS"),
        (["slack", "--", "1", "-1"], {}, "SECONDS"),
        (["slack", "1", "nan"], {}, "nan"),
        (["slack", "1"], {}, "SECONDS"),
        (["status", "--yaml"], {}, "--yaml"),
        (["promote"], {}, "promote"),
    ],
)
def test_used_wrongly(
    redis_url: str, arguments: list[str], extra: dict[str, str], expected: str
) -> None:
    told = mm({**environment(redis_url), **extra}, *arguments)
    assert (told.returncode, told.stdout) == (2, "")
    assert expected in told.stderr
    assert "Traceback" not in told.stderr
    with redis.Redis.from_url(redis_url) as client:
        assert client.keys() == []


def test_without_an_app(redis_url: str) -> None:
    told = mm({}, "status", app=None)
    assert told.returncode == 2
    assert "name your app with -A" in told.stderr


def test_status_needs_no_platform(redis_url: str) -> None:
    code = (
        f"from {APP} import app; import sys; app.start(['mm', 'status']);"
        "print('heroku3' in sys.modules)"
    )
    told = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment(redis_url)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert told.stdout.splitlines()[-1] == "False"


def test_the_command_is_light_to_load() -> None:
    """Every `celery` command loads it."""
    script = (
        "import sys, celery_middle_management.cli; "
        "print({'celery.worker', 'rich'} & set(sys.modules))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True, timeout=60
    )
    assert shown.stdout == "set()\n"
