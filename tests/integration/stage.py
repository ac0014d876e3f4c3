"""A whole app under middle management: Redis, Heroku's emulator, publishers and workers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import redis

from tests.emulator import HerokuEmulator
from tests.servers import ROOT, Worker, start_worker, wait_for

APP = "tests.integration.apps.everyday"
API_KEY = "emulated-key"
#: The argv of a dyno of the emulator.
WORKER = (
    *(sys.executable, "-m", "celery", "-A", APP, "worker"),
    *("--concurrency", "1", "--loglevel", "INFO", "--hostname", "$DYNO@stage"),
    *("--without-gossip", "--without-mingle", "--without-heartbeat"),
)
#: For the test's only worker, which is neither hired nor fired: it ends as soon as it is asked to.
ALONE: dict[str, Any] = {
    "command": None,
    "process_types": {"worker": 1},
    "settings": {"min_workers": 1, "max_workers": 1},
}


class Stage:
    """The environment of the processes of one test, and what there is to see of them."""

    def __init__(self, emulator: HerokuEmulator, env: dict[str, str], ledger_url: str) -> None:
        self.emulator = emulator
        self.env = env
        self.redis = redis.Redis.from_url(ledger_url, decode_responses=True)

    def script(self, code: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the app to its end; ``app`` and its tasks are imported."""
        return subprocess.run(
            [*self._command(code), *arguments],
            env=self._environment(env),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=90,
            check=True,
        )

    def publish(self, code: str, **env: str) -> None:
        """Run a program that publishes, and let it end only when that is reported and hired for.

        At its end a program waits for a few seconds, which are too few where much else runs.
        """
        flushed = self.script(f"{code}\nprint(celery_middle_management.flush(app, 60))", **env)
        assert flushed.stdout == "True\n", flushed.stderr

    @contextmanager
    def program(self, code: str, **env: str) -> Iterator[subprocess.Popen[str]]:
        """A program of the app that lives as long as the block, its standard streams piped."""
        with subprocess.Popen(
            self._command(code),
            env=self._environment(env),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def worker(self, *arguments: str, **env: str) -> AbstractContextManager[Worker]:
        """A worker of this machine, for no process type unless *env* names a ``DYNO``."""
        return start_worker(APP, *arguments, env={**self.env, **env})

    def state(self) -> dict[str, str]:
        """The scalars of the ledger."""
        state: dict[str, str] = self.redis.hgetall(  # type: ignore[assignment]
            "{middle-management:myapp}:state"
        )
        return state

    def number(self, name: str) -> int:
        """A counter of the ledger."""
        return int(self.state().get(name, 0))

    def status(self) -> dict[str, Any]:
        """What `mm status` says of the one pool."""
        [pool] = self.whole_status()["pools"]
        return dict(pool)

    def whole_status(self) -> dict[str, Any]:
        """What `mm status --json` says."""
        told = self.script(
            "import celery_middle_management, json\n"
            "print(json.dumps(celery_middle_management.status(app)))"
        ).stdout
        return dict(json.loads(told))

    def presences(self) -> list[dict[str, Any]]:
        """What the workers last said."""
        values: list[str] = self.redis.hvals(  # type: ignore[assignment]
            "{middle-management:myapp}:workers"
        )
        return [json.loads(value.partition(" ")[2]) for value in values]

    @property
    def quantity(self) -> int:
        """The workers that there are to be."""
        return self.emulator.quantities()["worker"]

    def wait_for_quantity(self, quantity: int, timeout: float = 60.0) -> None:
        """Wait until the formation is so."""
        wait_for(
            lambda: self.quantity == quantity,
            timeout,
            lambda: f"{self.quantity} workers instead of {quantity}; ledger: {self.state()}",
        )

    def wait_until_finished(self, tasks: int, pool: str = "worker", timeout: float = 60.0) -> None:
        """Wait until so many tasks of the pool have been counted as finished."""
        wait_for(
            lambda: self.number(f"{pool}/finished") >= tasks,
            timeout,
            lambda: f"ledger: {self.state()}",
        )

    def _command(self, code: str) -> list[str]:
        return [sys.executable, "-c", f"from {APP} import *\n{textwrap.dedent(code)}"]

    def _environment(self, env: Mapping[str, str]) -> dict[str, str]:
        return {**os.environ, **self.env, **env}


@contextmanager
def stage(
    broker_url: str,
    ledger_url: str | None = None,
    *,
    log_dir: Path | None = None,
    settings: Mapping[str, object] | None = None,
    command: Any = WORKER,
    **emulator: Any,
) -> Iterator[Stage]:
    """Set it up; *settings* are added to those of the app, *emulator* to the emulator's."""
    env = {
        "BROKER_URL": broker_url,
        "MIDDLE_MANAGEMENT_REDIS_URL": ledger_url or broker_url,
        "MIDDLE_MANAGEMENT_HEROKU_APP": "myapp",
        "MIDDLE_MANAGEMENT_OFF_PLATFORM": "true",
        "MIDDLE_MANAGEMENT_HEROKU_API_KEY": API_KEY,
        "MIDDLE_MANAGEMENT_MAX_WORKERS": "5",
        "MIDDLE_MANAGEMENT_JOBS_PER_WORKER": "1",
    }
    for name, value in (settings or {}).items():
        env[f"MIDDLE_MANAGEMENT_{name.upper()}"] = (
            value if isinstance(value, str) else json.dumps(value)
        )
    with HerokuEmulator(
        api_key=API_KEY, command=command, env=env, cwd=ROOT, log_dir=log_dir, **emulator
    ) as heroku:
        # The emulator reads the mapping when it starts a dyno.
        env["MIDDLE_MANAGEMENT_HEROKU_API_URL"] = heroku.url
        yield Stage(heroku, env, ledger_url or broker_url)
