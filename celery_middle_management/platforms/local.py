"""Workers that are processes of this machine: for trying things out, and for a single server.

They behave as Heroku's dynos do: ``worker.1``, ``worker.2`` …, each with its name in ``$DYNO``;
scaling down stops the highest numbers; a worker is stopped with SIGTERM, and SIGKILL 30 s later;
one that exits by itself is started again.

The state is in files, not in a process (see :mod:`~.local_files`): any process of the same user may
hire, and any other may fire. A worker exists as long as its :mod:`~.local_dyno` does. If that is
killed, the quantity says that the worker is still wanted, and the next reading of the quantities
starts it again.

A quantity is raised before the first worker is started, and lowered after the last one was asked to
stop. So if a process dies in between, no worker has a number above the quantity, and a repair only
has to start workers, never to stop one.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from celery import Celery

from celery_middle_management.app_import_path import AppPath, app_path, named_path
from celery_middle_management.core.pools import Pool
from celery_middle_management.log_throttle import LogThrottle
from celery_middle_management.platforms import local_dyno
from celery_middle_management.platforms.base import (
    HIRE_VARIABLE,
    POOL_VARIABLE,
    Platform,
    PlatformError,
    Refused,
)
from celery_middle_management.platforms.local_files import (
    POLL_INTERVAL,
    LocalProcess,
    LockTaken,
    WorkerFiles,
    read_pid_file,
)
from celery_middle_management.platforms.local_one_off import LocalOneOffs

logger = logging.getLogger(__name__)


class LocalPlatform(Platform):
    """Runs the workers of *celery_app* as processes of this machine.

    Args:
        celery_app: the app whose ``celery worker`` is run.
        pools: the pools that may be hired.
        directory: where the pid files and the workers' logs are; see
            :func:`~.local_files.default_directory`.
        kill_after: seconds that a fired worker has before it is killed.
        app_name: the argument of ``celery -A``; None: the module that *celery_app* is found in.
    """

    one_offs: LocalOneOffs

    def __init__(
        self,
        celery_app: Celery,
        pools: tuple[Pool, ...],
        directory: Path,
        kill_after: float = 30.0,
        app_name: str | None = None,
    ) -> None:
        self.celery_app = celery_app
        self.app_name = app_name
        self.pools = {pool.name: pool for pool in pools}
        self.files = WorkerFiles(directory)
        self.kill_after = kill_after
        self.one_offs = LocalOneOffs(self.files, self.pools, self.start)
        self._trouble = LogThrottle(logger)

    def quantities(self, pools: Collection[str], deadline: float) -> dict[str, int | Refused]:
        """Return the number of workers that each pool should have; restart those that died."""
        quantities = {pool: self.files.quantity(pool) for pool in pools}
        incomplete = [p for p, quantity in quantities.items() if self._missing(p, quantity)]
        if known := [self.pools[pool] for pool in incomplete if pool in self.pools]:
            self._repair(known, deadline)
        return dict(quantities)

    def running(self, pools: Collection[str], deadline: float) -> dict[str, list[str]]:
        return {pool: [f"{pool}.{number}" for number in self.files.workers(pool)] for pool in pools}

    def scale(
        self, quantities: Mapping[str, int], deadline: float
    ) -> dict[str, int | PlatformError]:
        """Start the missing workers from ``<pool>.1`` up, and stop those with higher numbers.

        It does not wait until the workers that it stops are gone.
        """
        if unknown := quantities.keys() - self.pools.keys():
            raise PlatformError(f"there is no pool {', '.join(sorted(unknown))}", settled=True)
        if any(self._missing(pool, quantity) for pool, quantity in quantities.items()):
            self._find_app()  # If that fails, nothing has been changed.
        with self.files.locked(deadline) as lock:
            for pool, quantity in quantities.items():
                self._scale_pool(self.pools[pool], quantity, lock, deadline)
        return dict(quantities)

    def command(self, pool: Pool, worker: str) -> list[str]:
        """Return the command line of the *worker* of that name."""
        queues = [] if pool.queues is None else ["-Q", ",".join(pool.queues)]
        worker_options = ["worker", "--loglevel", "INFO", "--hostname", f"{worker}@%h"]
        app = ["-A", str(self._find_app())]
        return [sys.executable, "-m", "celery", *app, *worker_options, *queues]

    def start(
        self,
        pool: Pool,
        worker: str,
        pid_file: Path,
        lock: int,
        deadline: float,
        *options: str,
        **env: str,
    ) -> None:
        """Start the dyno of a *worker*; the caller holds the *lock*. Raises PlatformError."""
        time_left = deadline - time.monotonic()
        if time_left <= 0:
            raise PlatformError(f"no time was left to start {worker}")
        # We hold the lock and no live worker has the name, so any old file is a leftover.
        pid_file.unlink(missing_ok=True)
        # Isolated: it needs no packages, and our directory's modules must not hide others.
        python = [sys.executable, "-I", "-S", local_dyno.__file__]
        files = ["--pid-file", str(pid_file), "--log", str(self.files.log(worker))]
        times = ["--kill-after", str(self.kill_after)]
        try:
            trouble = _run(
                [*python, *files, *times, *options, "--", *self.command(pool, worker)],
                {**self._environment(), "DYNO": worker, **env},
                lock,
                time_left,
            )
        except OSError as error:  # such as a working directory that is gone
            trouble = f"could not be started: {error}"
        if trouble:
            raise PlatformError(f"{worker} {trouble}")

    def _scale_pool(self, pool: Pool, quantity: int, lock: int, deadline: float) -> None:
        self.files.set_quantity(pool.name, max(quantity, self.files.quantity(pool.name)))
        workers = self.files.workers(pool.name)
        for number in sorted((n for n in workers if n > quantity), reverse=True):
            self._stop(f"{pool.name}.{number}", workers[number], deadline)
        self.files.set_quantity(pool.name, quantity)
        self._start_missing(pool, quantity, lock, deadline)

    def _repair(self, pools: Collection[Pool], deadline: float) -> None:
        """Start wanted workers that died; if another process scales, leave it to the next call."""
        try:
            with self.files.locked(0.0) as lock:
                for pool in pools:
                    quantity = self.files.quantity(pool.name)
                    self._start_missing(pool, quantity, lock, deadline)
        except LockTaken:
            pass
        except PlatformError as error:
            self._trouble.warn("repair", "a worker that died is not started again: %s", error)

    def _missing(self, pool: str, quantity: int) -> list[int]:
        """Return the numbers up to *quantity* that have no live worker."""
        return sorted(set(range(1, quantity + 1)) - self.files.workers(pool).keys())

    def _start_missing(self, pool: Pool, quantity: int, lock: int, deadline: float) -> None:
        for number in self._missing(pool.name, quantity):
            self._start_number(pool, number, lock, deadline)

    def _start_number(self, pool: Pool, number: int, lock: int, deadline: float) -> None:
        worker = f"{pool.name}.{number}"
        try:
            self.start(pool, worker, self.files.pid_file(worker), lock, deadline)
        except PlatformError:
            # A dyno started earlier, which missed its deadline, may have come up first.
            if number not in self.files.workers(pool.name):
                raise

    def _stop(self, worker: str, process: LocalProcess, deadline: float) -> None:
        """Ask a dyno to stop, and wait until it has given up its name."""
        process.stop()
        while process.alive and read_pid_file(self.files.pid_file(worker)) == process:
            if time.monotonic() >= deadline:
                raise PlatformError(f"{worker} (process {process.pid}) does not react to SIGTERM")
            time.sleep(POLL_INTERVAL)

    def _find_app(self) -> AppPath:
        try:
            return named_path(self.app_name) if self.app_name else app_path(self.celery_app)
        except LookupError as error:
            raise PlatformError(str(error), settled=True) from None

    def _environment(self) -> dict[str, str]:
        """Return our environment without the variables that identify a one-off worker.

        The process that hires may be one itself.
        """
        ours = self._find_app().environment()
        return {n: v for n, v in ours.items() if n not in (POOL_VARIABLE, HIRE_VARIABLE)}


def _run(command: Sequence[str], env: Mapping[str, str], lock: int, timeout: float) -> str:
    """Run a command that starts a dyno; return what went wrong, or an empty string.

    It raises nothing: *env*, with every secret in it, would be in the frames of the traceback.
    """
    try:
        starter = subprocess.run(
            command,
            env=env,
            stdin=lock,  # If we die now, the lock is held until the dyno is up.
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "did not start in time"
    except OSError as error:
        return f"could not be started: {error}"
    return f"could not be started: {starter.stderr.strip()}" if starter.returncode else ""
