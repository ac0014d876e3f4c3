"""The demo's surroundings: a Redis server, workers, and an environment without user settings.

None of them outlives the demo, even if it is interrupted.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from celery_middle_management.app_setup import managed_app_of
from celery_middle_management.demo.given_redis import available_redis
from celery_middle_management.managed_app import ManagedApp
from celery_middle_management.platforms.base import PlatformError
from celery_middle_management.platforms.local import LocalPlatform
from celery_middle_management.platforms.local_files import default_directory

#: Environment variables that configure a user's own apps and `celery` commands.
_USERS_PREFIXES = ("CELERY_", "MIDDLE_MANAGEMENT_")
_USERS = {"APP", "BROKER_URL", "CONFIG_MODULE", "DJANGO_SETTINGS_MODULE", "DYNO", "LOADER"}
_USERS |= {"RESULT_BACKEND"}

#: Features of `celery worker` that make ten workers start too slowly on a small machine.
_FEATURES = ("GOSSIP", "HEARTBEAT", "MINGLE")
#: Shorter than the default of 10 s, so that the demo is short (s).
CALL_INTERVAL = 3.0
#: How long after the last kill another process may still appear (s).
_QUIET = 0.5
_STOP_TIMEOUT = 20.0  # s


class Stage:
    """The demo's Redis server and workers.

    Args:
        one_off: hire workers singly; each leaves by itself.
        speed: how much faster than normal the demo is played.

    Raises:
        RuntimeError: there is no Redis to use.
    """

    def __init__(self, *, one_off: bool = False, speed: float = 1.0) -> None:
        self.speed = speed
        self._redis = available_redis()
        try:
            set_environment(self._redis.url)
            os.environ["MIDDLE_MANAGEMENT_CALL_INTERVAL"] = str(CALL_INTERVAL / speed)
            if one_off:
                os.environ["MIDDLE_MANAGEMENT_DYNOS"] = "one-off"
            from celery_middle_management.demo.app import app

            managed = managed_app_of(app)
            if managed is None:
                raise AssertionError("the demo's app is not enabled")
            self.managed: ManagedApp = managed
            self._directory = default_directory(managed.settings.redis_url)
            self._workers = Processes(app, managed.settings.pools, self._directory)
        except BaseException:
            self._redis.kill()
            raise

    def hired(self) -> frozenset[str]:
        """The names of the workers that cost money now."""
        pools = [pool.name for pool in self.managed.settings.pools]
        running = self._workers.running(pools, time.monotonic())
        listed = self._workers.one_offs.listed(pools, time.monotonic())
        one_offs = (one.name for listing in listed.values() for one in listing.workers)
        return frozenset([*(name for names in running.values() for name in names), *one_offs])

    def empty(self) -> bool:
        """Return True if every worker's process has ended."""
        return not self._workers.alive()

    def logs(self, lines: int) -> str:
        """The last *lines* of each worker's log."""
        return "\n".join(
            f"{path.stem}: {line}"
            for path in sorted(self._directory.glob("*.log"))
            for line in path.read_text(errors="replace").splitlines()[-lines:]
        )

    def __enter__(self) -> Stage:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Without the ledger, no process can decide to hire.
        with self._redis as redis:
            redis.kill()
            _join_evaluations()
            self._workers.kill()
        # A worker whose pid file is gone ends by itself.
        shutil.rmtree(self._directory, ignore_errors=True)


class Processes(LocalPlatform):
    """The local platform, whose workers can also be killed at once."""

    def alive(self) -> Collection[Path]:
        """The pid files of the workers whose process has not ended."""
        return [path for path, process in self.files.processes() if process.alive]

    def kill(self) -> None:
        """Kill all workers, and those that start meanwhile."""
        give_up = time.monotonic() + _STOP_TIMEOUT
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < _QUIET and time.monotonic() < give_up:
            with suppress(PlatformError):
                for _, process in self.files.processes():
                    if process.alive:
                        quiet_since = time.monotonic()
                        with suppress(ProcessLookupError):
                            os.kill(process.pid, signal.SIGKILL)
            time.sleep(0.05)


def set_environment(redis_url: str) -> None:
    """Make this process and its workers use *redis_url*, and none of the user's settings."""
    for name in list(os.environ):
        if name.startswith(_USERS_PREFIXES) or name in _USERS:
            del os.environ[name]
    os.environ.update(CELERY_BROKER_URL=redis_url, CELERY_RESULT_BACKEND=redis_url)
    os.environ.update({f"CELERY_WORKER_WITHOUT_{feature}": "1" for feature in _FEATURES})


def _join_evaluations() -> None:
    """Wait for an evaluation of this process, which may be hiring, to end."""
    for thread in threading.enumerate():
        if thread.name == "mm-evaluation":
            thread.join(_STOP_TIMEOUT)
