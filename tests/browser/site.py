"""The page as ``celery mm web`` serves it, in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from celery import Celery

from celery_middle_management.demo.redis_server import free_port
from celery_middle_management.platforms.local_dyno import kill_group, start_on_leash
from tests.integration.local_workers import LocalWorkers
from tests.servers import ROOT, wait_for

APP = "tests.browser.app"


@dataclass
class Site:
    """A page, its Redis, and the processes of its app."""

    #: The address that the command has printed, with the token.
    entrance: str
    redis: redis.Redis[str]
    env: dict[str, str]
    app: str
    #: What the command has printed so far.
    log: Callable[[], str]

    @property
    def url(self) -> str:
        """The address without the token."""
        return self.entrance.partition("?")[0]

    @property
    def port(self) -> int:
        return int(re.findall(r":(\d+)/", self.entrance)[0])

    def publish(self, tasks: int, seconds: float) -> None:
        """Publish from a process of its own, which ends as programs do."""
        self.script(f"for _ in range({tasks}): nap.delay({seconds})")

    def script(self, code: str) -> str:
        """Run a program of the app to its end; return what it prints."""
        return subprocess.run(
            [sys.executable, "-c", f"from {self.app} import *\n{code}"],
            **self._process,
            check=True,
        ).stdout

    def mm(self, *arguments: str) -> str:
        """Run ``celery mm`` and return what it prints, whatever its exit status is."""
        command = [sys.executable, "-m", "celery", "-A", self.app, "mm", *arguments]
        return subprocess.run(command, **self._process, check=False).stdout

    def actions(self) -> list[str]:
        """The entries of the history, the latest first."""
        entries: Any = self.redis.xrevrange("{middle-management:local}:actions")
        return [next(iter(fields.values())) for _, fields in entries]

    def state(self, name: str) -> str | None:
        """A scalar of the ledger."""
        value: Any = self.redis.hget("{middle-management:local}:state", name)
        return None if value is None else str(value)

    @property
    def _process(self) -> dict[str, Any]:
        where = {"cwd": ROOT, "env": {**os.environ, **self.env}}
        return {**where, "capture_output": True, "text": True, "timeout": 60}


@contextmanager
def serve(redis_url: str, directory: Path, app: str = APP, **settings: str) -> Iterator[Site]:
    """Serve the page of *app*; *settings* are environment variables without their prefix."""
    given = {f"MIDDLE_MANAGEMENT_{name.upper()}": value for name, value in settings.items()}
    env = {"REDIS_URL": redis_url, "TMPDIR": str(directory), **given}
    log = directory / "web.log"
    command = [sys.executable, "-m", "celery", "-A", app, "mm", "web", "--port", str(free_port())]
    with log.open("wb") as output:
        process = start_on_leash(command, output, {**os.environ, **env}, ROOT)

    def entrance() -> str:
        printed = re.search(r"http://127\.0\.0\.1:\d+/\?token=\S+", log.read_text())
        return printed[0] if printed else ""

    try:
        wait_for(entrance, 60.0, log.read_text)
        client = redis.Redis.from_url(redis_url, decode_responses=True)
        yield Site(entrance(), client, env, app, log.read_text)
    finally:
        kill_group(process)
        for left in directory.glob("celery-middle-management-*/*"):
            LocalWorkers(Celery(), (), left).stop_all(time.monotonic() + 60.0)
