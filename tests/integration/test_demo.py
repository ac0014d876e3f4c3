"""The demo, as a person starts it."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import pytest
import redis

from celery_middle_management.demo.given_redis import GivenRedis
from celery_middle_management.platforms.local_dyno import started_at
from tests.servers import wait_for

USERS_OWN = {
    "BROKER_URL": "redis://nowhere.invalid/0",
    "CELERY_BROKER_URL": "redis://nowhere.invalid/0",
    "CELERY_WORKER_CONCURRENCY": "nonsense",
    "DJANGO_SETTINGS_MODULE": "nowhere.settings",
    "DYNO": "web.1",
    "MIDDLE_MANAGEMENT_MAX_WORKERS": "1",
    "MIDDLE_MANAGEMENT_NONSENSE": "1",
}


class Demo:
    """A running demo, all of whose processes have *directory* in their environment."""

    def __init__(self, directory: Path, *options: str, stdin: TextIO | None = None) -> None:
        self._directory = directory
        self._log = directory / "log"
        with self._log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "celery_middle_management.demo", *options],
                env={**os.environ, **USERS_OWN, "TMPDIR": str(directory)},
                stdin=stdin,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def output(self) -> str:
        return self._log.read_text()

    def processes(self) -> set[int]:
        """The ids of all processes with this demo's directory in their environment."""
        mark = f"TMPDIR={self._directory}\0".encode()
        found = set()
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                ours = mark in path.read_bytes()
            except OSError:
                continue
            if ours and started_at(int(path.parent.name)) is not None:
                found.add(int(path.parent.name))
        return found

    def wait_for(self, pattern: str, timeout: float = 100.0) -> None:
        wait_for(lambda: re.search(pattern, self.output()), timeout, self.output)


@contextmanager
def demo(*options: str, stdin: TextIO | None = None) -> Iterator[Demo]:
    with tempfile.TemporaryDirectory(prefix="demo-") as directory:
        running = Demo(Path(directory), *options, stdin=stdin)
        try:
            yield running
        finally:
            for pid in running.processes():
                os.kill(pid, signal.SIGKILL)
            running.process.wait(30)


def skip_if_too_busy(output: str) -> None:
    """Skip the rest of a test if the machine could not start ten workers in time."""
    if re.search("did not start in time|no time was left to start", output):
        pytest.skip("this machine is too busy to start ten workers in time")


@pytest.mark.timeout(240)
@pytest.mark.slow
def test_the_demo_does_all_its_tasks_and_fires_every_worker() -> None:
    with demo() as running:
        assert running.process.wait(200) == 0, running.output()
        output = running.output()
        assert not running.processes()
    assert "110 of 110 tasks done" in output
    skip_if_too_busy(output)
    # From zero in one step, unless the machine is too busy to publish them all in a moment.
    assert {"3", "10"} <= set(re.findall(r"hire \d+ -> (\d+)", output))
    paid, always_on = re.findall(r"Paid: (\d+) .* always on: (\d+)", output)[0]
    assert 0 < int(paid) < int(always_on)
    # Unless the two workers that stay got both videos, a worker that is fired has to finish one.
    # Or they are over when there is nothing else to do.
    left = re.findall(r"fire 10 -> (\d)", output)
    assert left in (["2"], ["0"]) or re.search(
        r"worker\.\d+ will be fired, and finishes its task first", output
    )
    assert re.search(r"always on, cost \$250 a month", output)
    assert "\x1b" not in output
    assert not re.search(r"\b(no|some|any|every)body|who(ever|m)?\b", output, re.I)


@pytest.mark.timeout(240)
@pytest.mark.slow
def test_the_demo_with_workers_that_leave_by_themselves() -> None:
    with demo("--one-off") as running:
        assert running.process.wait(200) == 0, running.output()
        output = running.output()
        assert not running.processes()
    assert "110 of 110 tasks done" in output
    skip_if_too_busy(output)
    assert {"3", "10"} <= set(re.findall(r"hire \d+ -> (\d+)", output))


@pytest.mark.timeout(240)
@pytest.mark.slow
def test_the_demo_goes_on_when_enter_is_pressed_and_is_repeated() -> None:
    ours, keyboard = pty.openpty()
    with (
        os.fdopen(ours, "wb"),
        os.fdopen(keyboard) as stdin,
        demo("--step", "--repeat", "2", "--speed", "5", stdin=stdin) as running,
    ):
        for steps in range(1, 7):
            running.wait_for("(?s)" + "Press Enter.*" * steps)
            os.write(ours, b"\n")
        assert running.process.wait(100) == 0, running.output()
        output = running.output()
    assert output.count("110 of 110 tasks done") == 2
    skip_if_too_busy(output)
    # From zero, or from workers of the first tasks that are not fired yet.
    assert len(re.findall(r"hire \d+ -> 10\b", output)) == 2
    # A worker that was just hired is not draining, even if an earlier one of its name was.
    waiting = re.findall(r"tasks: [1-9]\d* waiting, 0 running, 0 done.*", output)
    assert waiting
    assert not [told for told in waiting if re.search("stopping|drained|finishing", told)]
    # Each play starts from zero.
    assert all("3 waiting, 0 running, 0 done" in play for play in output.split("3 images")[1:])
    assert "at most every 0.6 s" in output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("images", signal.SIGINT),
        (r"hire \d -> 3", signal.SIGTERM),
        (r" [1-3] working", signal.SIGINT),
    ],
)
def test_an_interrupted_demo_leaves_no_process_behind(moment: str, number: signal.Signals) -> None:
    with demo() as running:
        running.wait_for(moment)
        running.process.send_signal(number)
        assert running.process.wait(60) == 128 + number, running.output()
        assert "Traceback" not in running.output()
        # A killed process is not reaped at once.
        wait_for(lambda: not running.processes(), message=lambda: str(running.processes()))


#: As on a machine without a redis-server.
ELSEWHERE = """
import sys
import celery_middle_management.demo.redis_server as server
server._falkordbs = lambda: None
from celery_middle_management.demo.__main__ import main
sys.exit(main())
"""


def demo_elsewhere(tmp_path: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", ELSEWHERE],
        env={**os.environ, "PATH": str(tmp_path), **env},
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )


def test_a_demo_without_redis_says_what_is_missing(tmp_path: Path) -> None:
    told = demo_elsewhere(tmp_path, REDIS_URL="")
    assert told.returncode == 1
    assert "no redis-server" in told.stderr.splitlines()[0]
    assert "Traceback" not in told.stderr


def test_no_demo_takes_a_redis_that_is_in_use(tmp_path: Path, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.lpush("celery", "another app's")
        told = demo_elsewhere(tmp_path, REDIS_URL=redis_url)
        assert told.returncode == 1
        assert "is not empty" in told.stderr.splitlines()[0]
        assert client.keys() == [b"celery"]


def test_no_demo_shows_the_password_of_a_redis_that_fails(tmp_path: Path) -> None:
    told = demo_elsewhere(tmp_path, REDIS_URL="redis://:hidden@127.0.0.1:1/0")
    assert told.returncode == 1
    assert "REDIS_URL cannot be used" in told.stderr.splitlines()[0]
    assert "hidden" not in told.stderr


def test_a_redis_that_is_given_is_left_as_it_was(redis_url: str) -> None:
    with GivenRedis(redis_url) as given, redis.Redis.from_url(redis_url) as client:
        client.lpush("celery", "a task")
        client.sadd("_kombu.binding.celery", "")
        given.kill()
        assert client.exists("{middle-management:local}:lock")
    with redis.Redis.from_url(redis_url) as client:
        assert client.keys() == []
