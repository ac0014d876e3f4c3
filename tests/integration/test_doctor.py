"""`mm doctor`: each check beside what it is for, broken for real."""

from __future__ import annotations

import ast
import json
import queue
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import redis

from celery_middle_management.demo.redis_server import RedisServer, free_port
from celery_middle_management.doctor import examination
from celery_middle_management.doctor.command import (
    WorkerCommand,
    starts_no_worker,
    worker_command,
)
from celery_middle_management.doctor.platform_checks import changed_by_others
from celery_middle_management.doctor.worker_checks import known_faults
from tests.integration.scenes import PREFIX
from tests.integration.stage import APP, ROOT, WORKER, Stage, stage
from tests.redis_clock import RedisClock
from tests.servers import SlowLine, wait_for

#: As the `celery` command itself, with its exit status.
RUN = """
from celery.bin.celery import celery
celery.params[0].default = app
celery.main(args=["mm", "doctor", "--json"])
"""
Findings = dict[str, list[dict[str, str]]]


def doctor(on: Stage, conf: str = "", **env: str) -> tuple[Findings, int]:
    """What it finds by check, and its exit status; *conf* is carried out on the app before."""
    done = subprocess.run(
        on._command(f"{conf}\n{RUN}"),
        env=on._environment(env),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.stdout, done.stderr
    findings: Findings = {}
    for finding in json.loads(done.stdout):
        findings.setdefault(finding["check"], []).append(finding)
    return findings, done.returncode


def wrong(on: Stage, check: str, level: str, said: str, conf: str = "", **env: str) -> None:
    """It is found, nothing else fails, and how to mend it is told."""
    findings, status = doctor(on, conf, **env)
    [found] = [f for f in findings[check] if f["level"] == level and said in f["what"] + f["mend"]]
    assert found["mend"]
    assert status == (level == "failure")
    failed = {f["check"] for each in findings.values() for f in each if f["level"] == "failure"}
    assert failed <= {check}


@pytest.fixture(name="on")
def _on(redis_url: str) -> Iterator[Stage]:
    with stage(redis_url, command={"worker": WORKER}) as on:
        yield on


def test_nothing_is_wrong(on: Stage) -> None:
    before = len(on.emulator.requests)
    findings, status = doctor(on)
    assert status == 0
    levels = {name: {f["level"] for f in found} for name, found in findings.items()}
    # Celery may be an old one here.
    assert {name for name, found in levels.items() if found != {"ok"}} <= {"versions"}
    assert len(levels) >= 30
    changes = [r for r in on.emulator.requests[before:] if r.method != "GET"]
    # The one that asks whether it may change anything changes nothing.
    assert [change.body for change in changes] == ['{"updates": []}']
    assert on.quantity == 0
    # Nor does it leave anything in the ledger.
    assert on.redis.keys("*") == []


def test_in_a_dry_run_it_asks_for_no_change_at_all(on: Stage) -> None:
    doctor(on, MIDDLE_MANAGEMENT_DRY_RUN="true")
    assert {request.method for request in on.emulator.requests} == {"GET"}


def test_for_people_it_ends_with_what_must_be_mended(on: Stage) -> None:
    on.emulator.remove_type("worker")
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", APP, "mm", "doctor"],
        env=on._environment({"COLUMNS": "80"}),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[-1].startswith("1 failure, ")
    assert "FAILURE" in "\n".join(lines[-8:])
    assert "" not in map(str.strip, lines)
    # What can be pasted has a line of its own.
    assert f"worker: celery -A {APP} worker" in map(str.strip, lines)
    assert "emulated-key" not in done.stdout + done.stderr


# -- Redis


@pytest.mark.slow
def test_redis_is_away(on: Stage) -> None:
    url = f"redis://:hunter2@127.0.0.1:{free_port()}"
    findings, status = doctor(on, MIDDLE_MANAGEMENT_REDIS_URL=url)
    assert (findings["redis"][0]["level"], status) == ("failure", 1)
    assert "hunter2" not in json.dumps(findings)
    # What does not rest on it is looked at all the same.
    assert findings["process-types"][0]["level"] == "ok"


@pytest.mark.slow
def test_redis_speaks_no_tls(on: Stage) -> None:
    url = on.env["MIDDLE_MANAGEMENT_REDIS_URL"].replace("redis:", "rediss:")
    findings, status = doctor(on, MIDDLE_MANAGEMENT_REDIS_URL=url)
    assert ([f["level"] for f in findings["redis"]], status) == (["failure"], 1)


@pytest.mark.slow
def test_something_else_is_where_the_ledger_should_be(on: Stage) -> None:
    on.redis.set(f"{PREFIX}:state", "no hash", ex=60)
    findings, status = doctor(on)
    assert "WRONGTYPE" in findings["redis"][0]["what"]
    assert "ACL" not in findings["redis"][0]["mend"]
    assert status == 1


def test_redis_hangs() -> None:
    with RedisServer() as server, stage(server.url, command=None) as on:
        server.pause()
        try:
            findings, status = doctor(on, MIDDLE_MANAGEMENT_COUNT_INTERVAL="5")
        finally:
            server.resume()
    # Not every check has waited for it.
    assert [
        f["check"] for found in findings.values() for f in found if f["level"] == "failure"
    ] == ["redis"]
    assert status == 1


class AgedLine(SlowLine):
    """Has the server say that it is of a release of long ago."""

    def _read(self, end: socket.socket, on_the_way: queue.SimpleQueue[tuple[float, bytes]]) -> None:
        super()._read(end, Ageing(on_the_way))


class Ageing(queue.SimpleQueue[tuple[float, bytes]]):
    """Ages what is put into another queue."""

    def __init__(self, into: queue.SimpleQueue[tuple[float, bytes]]) -> None:
        self._into = into

    def put(self, item: tuple[float, bytes], *_: Any, **__: Any) -> None:
        self._into.put((item[0], re.sub(rb"redis_version:\d", b"redis_version:4", item[1])))


@pytest.mark.slow
def test_redis_is_old() -> None:
    with (
        RedisServer() as server,
        AgedLine(server.port) as line,
        stage(line.url(server.url), command=None) as on,
    ):
        wrong(on, "redis-version", "failure", "Redis is 4.")


@contextmanager
def own_redis() -> Iterator[tuple[Stage, redis.Redis]]:
    with (
        RedisServer() as server,
        redis.Redis.from_url(server.url) as client,
        stage(server.url, command=None) as on,
    ):
        yield on, client


def test_redis_evicts() -> None:
    with own_redis() as (on, client):
        client.config_set("maxmemory-policy", "allkeys-lru")
        wrong(on, "eviction", "failure", "allkeys-lru")


@pytest.mark.slow
def test_redis_is_full() -> None:
    with own_redis() as (on, client):
        for n in range(200):
            client.set(f"result-{n}", "x" * 100_000)
        used = int(client.info("memory")["used_memory"])
        client.config_set("maxmemory", int(used * 1.07))
        wrong(on, "memory", "warning", "of Redis' memory is in use")
        client.config_set("maxmemory", used // 2)
        findings, status = doctor(on)
        assert (findings["memory"][0]["level"], status) == ("failure", 1)
        assert "it refuses" in findings["memory"][0]["what"]


@pytest.mark.slow
def test_redis_has_few_connections() -> None:
    with own_redis() as (on, client):
        client.config_set("maxclients", 20)
        wrong(on, "connections", "failure", "of 20 connections", MIDDLE_MANAGEMENT_MAX_WORKERS="3")
        few = "app.conf.worker_enable_remote_control = False"
        on.emulator.show_command("worker", "celery worker --without-gossip --without-heartbeat")
        findings, _ = doctor(on, few, MIDDLE_MANAGEMENT_MAX_WORKERS="3")
        assert findings["connections"][0]["level"] == "ok"


def test_redis_keeps_us_out_by_an_acl() -> None:
    with own_redis() as (on, client):
        client.execute_command("ACL", "SETUSER", "app", "on", ">word", "~celery*", "+@all")
        url = on.env["MIDDLE_MANAGEMENT_REDIS_URL"].replace("redis://", "redis://app:word@")
        findings, status = doctor(on, MIDDLE_MANAGEMENT_REDIS_URL=url)
        assert status == 1
        assert "ACL" in findings["redis"][0]["mend"]
        client.execute_command("ACL", "SETUSER", "app", "~{middle-management:*}:*")
        findings, _ = doctor(on, MIDDLE_MANAGEMENT_REDIS_URL=url)
        assert findings["redis"][0]["level"] == "ok", findings["redis"]


@pytest.mark.slow
@pytest.mark.skipif(not RedisClock.available(), reason="no C compiler")
def test_the_clocks_are_apart(tmp_path: Path) -> None:
    clock = RedisClock(tmp_path)
    with clock.server() as server, stage(server.url, command=None) as on:
        clock.step(-60)
        wrong(on, "clocks", "warning", "60 s ahead")


# -- Heroku


def test_the_key_is_refused(on: Stage) -> None:
    on.emulator.api_key = "another"
    wrong(on, "heroku", "failure", "MIDDLE_MANAGEMENT_HEROKU_API_KEY")


@pytest.mark.slow
def test_the_app_is_not_there(on: Stage) -> None:
    wrong(on, "heroku", "failure", "'elsewhere'", MIDDLE_MANAGEMENT_HEROKU_APP="elsewhere")


@pytest.mark.slow
def test_heroku_hangs(on: Stage) -> None:
    on.emulator.fault("hang")
    findings, status = doctor(on)
    # Not every check has waited for it.
    assert findings["heroku"][0]["mend"]
    failed = [n for n, found in findings.items() if any(f["level"] == "failure" for f in found)]
    assert (failed, status) == (["heroku"], 1)


@pytest.mark.slow
def test_the_key_may_not_scale(on: Stage) -> None:
    on.emulator.fault("status", status=403, methods=["PATCH"])
    wrong(on, "permission", "failure", "403")


def test_a_process_type_is_missing(on: Stage) -> None:
    pools = json.dumps({"worker": {}, "pdf": {"queues": ["pdf"]}})
    wrong(on, "process-types", "failure", "'pdf'", MIDDLE_MANAGEMENT_POOLS=pools)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "most", "level"),
    [("Basic", "5", "failure"), ("Eco", "2", "failure"), ("Performance-M", "11", "warning")],
)
def test_the_size_allows_fewer_dynos(on: Stage, size: str, most: str, level: str) -> None:
    on.emulator.size = size
    wrong(on, "dynos", level, size, MIDDLE_MANAGEMENT_MAX_WORKERS=most)


@pytest.mark.slow
def test_one_off_dynos_may_be_more_of_a_small_size(on: Stage) -> None:
    env = {"MIDDLE_MANAGEMENT_DYNOS": "one-off", "MIDDLE_MANAGEMENT_MAX_WORKERS": "6"}
    on.emulator.size = "Performance-M"
    wrong(on, "dynos", "warning", "Performance-M one-off dynos", **env)


@pytest.mark.slow
def test_more_workers_than_an_app_may_have(on: Stage) -> None:
    wrong(on, "dynos", "warning", "101", MIDDLE_MANAGEMENT_MAX_WORKERS="101")


@pytest.mark.slow
def test_this_is_no_dyno_of_the_app(on: Stage) -> None:
    wrong(on, "place", "warning", "heroku run -a myapp", MIDDLE_MANAGEMENT_OFF_PLATFORM="false")
    assert on.emulator.requests == []


def test_a_process_type_starts_no_worker(on: Stage) -> None:
    on.emulator.show_command("worker", "gunicorn proj.wsgi --log-file -")
    wrong(on, "worker-command", "failure", f"worker: celery -A {APP} worker")


@pytest.mark.slow
def test_another_scaler_is_at_work(redis_url: str) -> None:
    settings = {"call_interval": 1, "jobs_per_worker": 1}
    with (
        stage(redis_url, command=None, settings=settings) as on,
        on.program("import sys\nfor _ in sys.stdin: work.delay()") as web,
    ):
        assert web.stdin is not None
        for times in (1, 2, 3, 4):
            web.stdin.write("\n")
            web.stdin.flush()
            on.wait_for_quantity(times)
            wait_for(lambda n=times: on.number("worker/quantity") == n)  # type: ignore[misc]
            on.emulator.scale_by_hand("worker", 0)
        found = doctor(on, JUDOSCALE_URL="https://")[0]["other-scaler"]
    assert (found[0]["level"], found[0]["mend"] != "") == ("warning", True)
    assert "the number of worker workers was changed 3 times" in found[0]["what"]
    assert "(JUDOSCALE_URL is set)" in found[0]["what"]


def test_what_a_person_changes_now_and_then_is_no_scaler() -> None:
    def by_hand(*ago: float, action: str = "by hand") -> list[dict[str, str]]:
        at = [datetime.fromtimestamp(100_000 - s, timezone.utc).isoformat() for s in ago]
        return [{"pool": "worker", "action": action, "at": when} for when in at]

    assert changed_by_others(by_hand(1, 2), 100_000) == {}
    assert changed_by_others(by_hand(1, 2, 90_000), 100_000) == {}
    assert changed_by_others(by_hand(1, 2, 3, action="hire"), 100_000) == {}
    assert changed_by_others(by_hand(1, 2, 80_000), 100_000) == {"worker": 3}


# -- settings


@pytest.mark.slow
def test_tasks_run_eagerly(on: Stage) -> None:
    wrong(on, "eager", "failure", "task_always_eager", "app.conf.task_always_eager = True")


@pytest.mark.slow
def test_a_drain_timeout(on: Stage) -> None:
    timeout = {"MIDDLE_MANAGEMENT_DRAIN_TIMEOUT": "60"}
    wrong(on, "drain-timeout", "warning", "60 s", **timeout)


@pytest.mark.slow
def test_somebody_has_paused(on: Stage) -> None:
    on.script("app.start(['mm', 'pause', '--fires'])")
    wrong(on, "pause", "warning", "fires are paused by ")


@pytest.mark.slow
def test_a_dry_run(on: Stage) -> None:
    wrong(on, "dry-run", "warning", "dry_run", MIDDLE_MANAGEMENT_DRY_RUN="true")


@pytest.mark.slow
def test_trouble_of_the_last_decisions(on: Stage) -> None:
    on.emulator.fault("status", status=503)
    with on.program("work.delay()\nimport time; time.sleep(60)"):
        wait_for(lambda: "trouble" in on.state())
    on.emulator.clear_faults()
    findings, status = doctor(on)
    assert status == 1
    assert "503" in findings["trouble"][0]["what"]


# -- queues


@pytest.mark.slow
def test_a_queue_cannot_be_counted(on: Stage) -> None:
    on.redis.set("celery", "no list")
    wrong(on, "count", "failure", "celery")


def test_a_queue_without_a_pool(on: Stage) -> None:
    pools = json.dumps({"worker": {"queues": ["celery"]}})
    conf = "app.conf.task_routes = {'x': {'queue': 'mail'}}"
    on.script("work.apply_async(queue='pdf')", MIDDLE_MANAGEMENT_POOLS=pools)
    on.script("work.apply_async(queue='mail')", MM_OFF="1")
    said = "no pool serves 'mail', 'pdf': no worker is hired for their tasks (2 wait now)"
    findings, status = doctor(on, conf, MIDDLE_MANAGEMENT_POOLS=pools)
    assert ([f["what"] for f in findings["queues"]], status) == ([said], 1)
    shown = on.script(
        f"{conf}\nimport celery_middle_management as mm; print(mm.status(app)['trouble'])",
        MIDDLE_MANAGEMENT_POOLS=pools,
    ).stdout
    assert "2 tasks wait in 'mail' (1), 'pdf' (1), which no pool serves" in shown


PDF = json.dumps({"worker": {"queues": ["celery"]}, "pdf": {"queues": ["pdf"]}})


@pytest.mark.slow
def test_workers_are_started_for_another_queue(redis_url: str) -> None:
    commands = {"worker": WORKER, "pdf": (*WORKER, "-Q", "celery")}
    types = {"worker": 0, "pdf": 0}
    with stage(redis_url, command=commands, process_types=types) as on:
        findings, status = doctor(on, MIDDLE_MANAGEMENT_POOLS=PDF)
        levels = {f["level"]: f["what"] for f in findings["consumers"]}
    assert status == 1
    assert "do not consume 'pdf'" in levels["failure"]
    assert "consume 'celery'" in levels["warning"]


def test_workers_take_from_another_queue(on: Stage) -> None:
    pools = json.dumps({"worker": {"queues": ["pdf"]}})
    env = {"MIDDLE_MANAGEMENT_POOLS": pools}
    on.script("work.apply_async(queue='pdf')", **env)
    with on.worker("-Q", "celery", DYNO="worker.1", **env):
        wait_for(on.presences)
        findings, _ = doctor(on, **env)
        status = "import celery_middle_management as mm; print(mm.status(app)['trouble'])"
        shown = on.script(status, **env).stdout
    assert "1 task waits in 'pdf', and no worker takes from there" in shown
    assert f"`celery -A {APP} worker -Q pdf`" in shown
    assert any("do not consume 'pdf'" in f["what"] for f in findings["consumers"])


@pytest.mark.slow
def test_a_publisher_without_the_package(on: Stage) -> None:
    on.script("work.delay()", MM_OFF="1")
    findings, _ = doctor(on)
    assert "'celery'" in findings["publishers"][0]["what"]
    assert findings["publishers"][0]["level"] == "failure"
    assert (
        "nothing finds them: nothing that evaluates is alive" in findings["publishers"][0]["what"]
    )
    none = {"MIDDLE_MANAGEMENT_MAX_WORKERS": "0"}
    with on.program("work.delay(); __import__('sys').stdin.read()", **none):
        wait_for(lambda: on.state().get("worker/count"), 60.0)
        findings, _ = doctor(on, **none)
    assert findings["publishers"][0]["level"] == "warning"


@pytest.mark.slow
def test_a_countdown_beyond_the_visibility_timeout(on: Stage) -> None:
    on.script("work.apply_async(countdown=7200)")
    findings, _ = doctor(on)
    assert findings["visibility-timeout"][0]["level"] == "warning"
    assert findings["wake"][0]["level"] == "warning"  # and nobody wakes the pool for it


# -- workers


@pytest.mark.slow
def test_nobody_has_hired_the_minimum(on: Stage) -> None:
    wrong(on, "minimum", "warning", "worker has 0 workers", MIDDLE_MANAGEMENT_MIN_WORKERS="1")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("argument", "check", "level"),
    [
        ("-B", "beat", "failure"),
        ("--autoscale=4,1", "autoscale", "warning"),
        ("--purge", "purge", "warning"),
    ],
)
def test_how_workers_are_started(redis_url: str, argument: str, check: str, level: str) -> None:
    with stage(redis_url, command={"worker": (*WORKER, argument)}) as on:
        wrong(on, check, level, "worker")


@pytest.mark.slow
def test_a_worker_with_other_settings(on: Stage) -> None:
    with on.worker(DYNO="worker.1", MIDDLE_MANAGEMENT_MAX_WORKERS="2"):
        wait_for(on.presences)
        on.emulator.scale_by_hand("worker", 0)
        findings, status = doctor(on)
    assert "worker.1 has other settings" in findings["settings"][0]["what"]
    assert status == 1


@pytest.mark.slow
def test_a_worker_of_another_release(on: Stage) -> None:
    with on.worker(DYNO="worker.1"):
        wait_for(on.presences)
        findings, _ = doctor(
            on,
            "from celery_middle_management.doctor import worker_checks\n"
            "worker_checks.__version__ = '99.0'",
        )
    assert "99.0" in findings["releases"][0]["what"]


@pytest.mark.slow
def test_a_worker_of_no_pool(on: Stage) -> None:
    with on.worker(DYNO="mail.1"):
        wait_for(on.presences)
        findings, _ = doctor(on)
    assert "mail.1" in findings["strangers"][0]["what"]


def test_sigterm_is_remapped(on: Stage) -> None:
    wrong(on, "sigterm", "warning", "SIGQUIT", REMAP_SIGTERM="SIGQUIT")


@pytest.mark.slow
def test_tasks_that_a_deploy_kills(on: Stage) -> None:
    # Such as two tasks of 40 s have left behind.
    on.redis.hset(f"{PREFIX}:state", mapping={"worker/finished": 2, "worker/runtime": "80"})
    on.redis.expire(f"{PREFIX}:state", 600)
    findings, _ = doctor(on)
    assert "40 s in the mean" in findings["long-tasks"][0]["what"]
    findings, _ = doctor(on, "app.conf.task_acks_late = True")
    assert findings["long-tasks"][0]["level"] == "ok"


@pytest.mark.slow
def test_unbounded_prefetch(on: Stage) -> None:
    conf = "app.conf.worker_prefetch_multiplier = 0"
    wrong(on, "prefetch", "warning", "worker_prefetch_multiplier", conf)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("celery -A proj worker", WorkerCommand()),
        ("celery --app=proj worker -Q a,b -c 2", WorkerCommand(("a", "b"))),
        ("bin/env celery -A proj worker --queues=a -E -B", WorkerCommand(("a",), beat=True)),
        ("celery -A proj worker -Qa --beat --autoscale 4,1", WorkerCommand(("a",), True, True)),
        ("newrelic-admin run-program celery -A p worker", WorkerCommand()),
        ("celery -A proj beat", None),
        ("bin/start", None),
        ("celery 'worker", None),
    ],
)
def test_commands_are_read(command: str, expected: WorkerCommand | None) -> None:
    assert worker_command(command) == expected


@pytest.mark.parametrize(
    "command",
    [
        "gunicorn proj.wsgi",
        "PORT=1 exec newrelic-admin run-program bin/gunicorn proj.wsgi",
        "poetry run uvicorn proj.asgi:app",
        "celery -A proj beat",
        "python -m celery --app proj.worker beat -l INFO",
        "celery -A proj mm run",
        "celery -A worker flower",
    ],
)
def test_what_starts_no_worker_is_told(command: str) -> None:
    assert starts_no_worker(command)
    assert worker_command(command) is None


@pytest.mark.parametrize(
    "command",
    [
        "celery -A proj worker",
        "celery -A beat worker -B",
        "python -m celery -A proj worker",
        "poetry run celery -A proj worker",
        "newrelic-admin run-program celery -A proj worker",
        'sh -c "celery -A proj worker"',
        "sh -c 'celery -A proj beat'",
        "celery multi start 2 -A proj",
        "bin/worker.sh",
        "honcho start",
        "bin/start celery beat.sh",
        "python manage.py run_worker",
        "gunicorn proj.wsgi & celery -A proj worker",
        "celery -A proj beat & exec bin/worker",
        "celery 'worker",
        "",
    ],
)
def test_what_may_start_a_worker_is_left_alone(command: str) -> None:
    assert not starts_no_worker(command)


# -- versions


@pytest.mark.slow
def test_celery_has_a_known_fault(on: Stage) -> None:
    aged = (
        "from celery_middle_management.doctor.installation import Installation\n"
        "Installation.versions = {'celery': (5, 6, 2), 'kombu': (5, 7, 0)}"
    )
    wrong(on, "versions", "warning", "Celery 5.6.2", aged)


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


# -- of all checks


def test_every_check_is_broken_here_and_says_how_to_mend_it() -> None:
    """Each that can find something wrong stands in this file, and is told what to do about it."""
    here, missing = Path(__file__).read_text(), set()
    for path in Path(examination.__file__).parent.glob("*_checks.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or getattr(node.func, "id", "") != "Finding":
                continue
            name, level, *told = node.args
            if getattr(level, "id", "") != "OK":
                assert len(told) == 2, ast.unparse(node)
                if isinstance(name, ast.Constant) and f'"{name.value}"' not in here:
                    missing.add(name.value)
    assert missing == set()
