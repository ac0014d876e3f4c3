"""Real servers and workers for the tests, and a helper to wait for what they do."""

from __future__ import annotations

import os
import queue
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import cycle
from pathlib import Path

import pytest
import redis

from celery_middle_management.demo.redis_server import RedisServer
from celery_middle_management.platforms.local_dyno import kill_group, start_on_leash
from tests.rabbitmq_server import RabbitServer, find_rabbitmq_server

ROOT = Path(__file__).parent.parent


def wait_for(
    condition: Callable[[], object],
    timeout: float = 60.0,
    message: str | Callable[[], str] = "it did not come true",
) -> None:
    """Poll *condition* until it is true; after *timeout* seconds the test fails with *message*."""
    give_up = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > give_up:
            pytest.fail(f"after {timeout} s: {message if isinstance(message, str) else message()}")
        time.sleep(0.02)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


#: The numbers of a Redis server's databases, in turn.
_DATABASES = cycle(range(16))


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """An empty database of the session's server.

    It is not the one of the last tests: their threads may evaluate for a while still.
    """
    url = f"{redis_server.url.rpartition('/')[0]}/{next(_DATABASES)}"
    with redis.Redis.from_url(url) as client:
        client.flushall()
    return url


@pytest.fixture
def lonely_redis_url() -> Iterator[str]:
    """A server that no other test uses, for tests that count what it is asked."""
    with RedisServer() as server:
        yield server.url


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitServer]:
    """A RabbitMQ for the whole session: name your queues so that no other test has them."""
    if find_rabbitmq_server() is None:
        pytest.skip("no rabbitmq-server: apt-get install rabbitmq-server")
    with RabbitServer() as server:
        yield server


class SlowLine:
    """Carries connections to a port of this machine, everything *delay* seconds later."""

    def __init__(self, port: int, delay: float = 0.0) -> None:
        self._from = port
        self._delay = delay
        #: Where new connections lead; those that are open stay as they are.
        self.to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._ends: list[socket.socket] = [self._listener]
        self._dead: set[socket.socket] = set()
        _in_background(self._accept)

    def url(self, of: str) -> str:
        """The address *of* the server, by this line."""
        return of.replace(f":{self._from}", f":{self.port}")

    def die(self) -> None:
        """Carry nothing any more over the connections that there are, and do not end them."""
        self._dead.update(self._ends)

    def __enter__(self) -> SlowLine:
        return self

    def __exit__(self, *_: object) -> None:
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        while True:
            near, _ = self._listener.accept()
            far = socket.create_connection(("127.0.0.1", self.to))
            self._ends += near, far
            for one, other in ((near, far), (far, near)):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                on_the_way: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
                _in_background(self._read, one, on_the_way)
                _in_background(self._deliver, other, on_the_way)

    def _read(self, end: socket.socket, on_the_way: queue.SimpleQueue[tuple[float, bytes]]) -> None:
        data = b"-"
        while data:
            try:
                data = end.recv(65536)
            except OSError:
                data = b""
            on_the_way.put((time.monotonic() + self._delay, data))

    def _deliver(
        self, end: socket.socket, on_the_way: queue.SimpleQueue[tuple[float, bytes]]
    ) -> None:
        while True:
            at, data = on_the_way.get()
            if end in self._dead:
                continue
            time.sleep(max(at - time.monotonic(), 0.0))
            if not data:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_WR)
                return
            end.sendall(data)


def _in_background(work: Callable[..., None], *arguments: object) -> None:
    def run() -> None:
        with suppress(OSError):  # an end was closed
            work(*arguments)

    threading.Thread(target=run, daemon=True).start()


class Worker:
    """A ``celery worker`` process, in a session of its own."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.process = process
        self._log = log

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        """What it has printed so far."""
        return self._log.read_text(errors="replace")

    def wait_until_ready(self, timeout: float = 60.0) -> None:
        def ready() -> bool:
            if self.process.poll() is not None:
                pytest.fail(f"{self.name} exited with {self.process.returncode}:\n{self.log}")
            return " ready." in self.log

        wait_for(ready, timeout, lambda: f"{self.name} is not ready:\n{self.log}")

    def stop(self, timeout: float = 30.0) -> None:
        """A warm shutdown; SIGKILL to all of it if it takes longer than *timeout* seconds."""
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout)
        self.kill()

    def kill(self) -> None:
        """SIGKILL to it and its pool's children."""
        kill_group(self.process)


def processor_time(worker: Worker) -> float:
    """What the worker and its pool have used (s)."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(fields[3]) == worker.pid:  # its session
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def start_worker(
    app_path: str,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    name: str | None = None,
    cwd: Path = ROOT,
    ready: bool = True,
) -> Iterator[Worker]:
    """Run ``celery -A app_path worker *arguments*``; *env* is added to the environment.

    Its node name is ``<name>@<host>``; by default, one that no other worker has.
    """
    name = name or f"test-{uuid.uuid4().hex[:8]}"
    options = ["worker", "--loglevel", "INFO", "--hostname", f"{name}@%h", *arguments]
    command = [sys.executable, "-m", "celery", "-A", app_path, *options]
    with tempfile.TemporaryDirectory(prefix="celery-worker-") as directory:
        log = Path(directory, "log")
        with log.open("wb") as output:
            process = start_on_leash(command, output, {**os.environ, **(env or {})}, cwd)
        worker = Worker(name, process, log)
        try:
            if ready:
                worker.wait_until_ready()
            yield worker
        finally:
            worker.stop()
