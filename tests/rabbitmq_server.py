"""A real RabbitMQ node of our own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import amqp
import kombu

from celery_middle_management.demo.redis_server import free_port
from celery_middle_management.platforms.local_dyno import kill_group, signal_group, start_on_leash

SCRIPTS = ("/usr/lib/rabbitmq/bin/rabbitmq-server", "/usr/sbin/rabbitmq-server")
START_TIMEOUT = 90.0  # s


def find_rabbitmq_server() -> str | None:
    """The script itself rather than Debian's wrapper, which runs it as another user if it may."""
    found = [script for script in SCRIPTS if os.access(script, os.X_OK)]
    return found[0] if found else shutil.which("rabbitmq-server")


class RabbitServer:
    """On 127.0.0.1, with an epmd of its own, in a temporary directory; stopped with the context.

    Raises:
        RuntimeError: there is no rabbitmq-server on this machine, or it does not start.
    """

    def __init__(self) -> None:
        script = find_rabbitmq_server()
        if script is None:
            raise RuntimeError("there is no rabbitmq-server: apt-get install rabbitmq-server")
        self._script = script
        self._directory = tempfile.TemporaryDirectory(prefix="rabbitmq-server-")
        self._path = Path(self._directory.name)
        self._epmd: subprocess.Popen[bytes] | None = None
        self._node: subprocess.Popen[bytes] | None = None
        self.port, self._epmd_port, self._distribution_port = free_port(), free_port(), free_port()
        (self._path / "plugins").write_text("[].\n")
        (self._path / "rabbitmq.conf").write_text(
            f"listeners.tcp.local = 127.0.0.1:{self.port}\n"
            "log.console.level = info\n"
            "disk_free_limit.absolute = 1MB\n"
        )
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    @property
    def log(self) -> str:
        return (self._path / "log").read_text(errors="replace")

    def stop(self, timeout: float = 30.0) -> None:
        """In good order: durable queues and persistent messages are there after a restart."""
        if self._node is not None:
            signal_group(self._node, signal.SIGTERM)
            self.resume()
            with suppress(subprocess.TimeoutExpired):
                self._node.wait(timeout)
        self._kill()

    def restart(self) -> None:
        """On the same port, with the same data."""
        self.stop()
        self._start()

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing is answered."""
        if self._node is not None:
            signal_group(self._node, signal.SIGSTOP)
            # The signal takes effect a moment later.
            self._await(self.is_silent, 30.0, "is not paused")

    def is_silent(self) -> bool:
        """Whether a client that says the first word gets no answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=0.5) as client:
            client.sendall(b"AMQP\x00\x00\x09\x01")
            try:
                client.recv(1)
            except TimeoutError:
                return True
        return False

    def resume(self) -> None:
        if self._node is not None:
            signal_group(self._node, signal.SIGCONT)

    def close(self) -> None:
        """SIGKILL, and forget the data."""
        self._kill()
        self._directory.cleanup()

    def __enter__(self) -> RabbitServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        env = self._environment()
        with (self._path / "log").open("ab") as log:
            self._epmd = start_on_leash([_epmd(), "-port", str(self._epmd_port)], log, env)
            self._await(lambda: _listening(self._epmd_port), 30.0, "has no epmd that listens")
            self._node = start_on_leash([self._script], log, env, self._path)
        self._await(self._answers, START_TIMEOUT, "does not start")

    def _environment(self) -> dict[str, str]:
        path = str(self._path)
        return {
            **os.environ,
            "HOME": path,  # For the cookie, a secret that the parts of a node share.
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "RABBITMQ_CONFIG_FILE": f"{path}/rabbitmq.conf",
            "RABBITMQ_CONF_ENV_FILE": f"{path}/none",
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{path}/plugins",
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_LOG_BASE": f"{path}/logs",
            "RABBITMQ_MNESIA_BASE": f"{path}/mnesia",
            "RABBITMQ_NODENAME": f"rabbit-{self.port}@localhost",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2"
            ),
        }

    def _answers(self) -> bool:
        if self._node is None or self._node.poll() is not None:
            raise RuntimeError(f"RabbitMQ exited:\n{self.log}")
        try:
            with kombu.Connection(self.url, connect_timeout=5.0) as connection:
                connection.connect()
        except (OSError, amqp.AMQPError):
            return False
        return True

    def _await(self, condition: Callable[[], bool], timeout: float, trouble: str) -> None:
        give_up = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > give_up:
                raise RuntimeError(f"RabbitMQ {trouble} within {timeout} s:\n{self.log}")
            time.sleep(0.02)

    def _kill(self) -> None:
        for process in self._node, self._epmd:
            if process is not None:
                kill_group(process)
        self._node = self._epmd = None


def _epmd() -> str:
    """Erlang's port mapper: a node does not start without."""
    bundled = Path("/usr/lib/erlang").glob("erts-*/bin/epmd")
    return shutil.which("epmd") or str(next(bundled))


def _listening(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
        return True
    return False
