"""Workers that are processes of this machine: for trying things out, and for a single server.

They behave as Heroku's dynos do: ``worker.1``, ``worker.2`` …, each with its name in ``$DYNO``;
scaling down takes the highest numbers; a worker is stopped with SIGTERM, and SIGKILL 30 s later;
one that exits by itself is started again.

The state is in a directory, not in a process: any process of the same user may hire, and any other
may fire. A worker is there as long as its :mod:`~celery_middle_management.platforms.dyno` is.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from celery import Celery

from celery_middle_management.platforms import dyno
from celery_middle_management.platforms.app_path import app_path
from celery_middle_management.platforms.base import Platform, PlatformError, Refused
from celery_middle_management.settings import Pool

_POLL_INTERVAL = 0.02  # s


class _Process(NamedTuple):
    """The process that plays a worker's dyno."""

    pid: int
    started_at: str

    @property
    def alive(self) -> bool:
        return dyno.started_at(self.pid) == self.started_at

    def stop(self) -> None:
        # Never a process that merely got the pid of one that is gone.
        if self.alive:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)


class LocalPlatform(Platform):
    """Runs the workers of *celery_app* as processes of this machine.

    Args:
        celery_app: the app whose ``celery worker`` is run.
        pools: the pools that may be hired.
        directory: where the pid files and the workers' logs are; see :func:`default_directory`.
        kill_after: seconds that a fired worker has before it is killed.
    """

    name = "local"

    def __init__(
        self,
        celery_app: Celery,
        pools: tuple[Pool, ...],
        directory: Path,
        kill_after: float = 30.0,
    ) -> None:
        self.celery_app = celery_app
        self.pools = {pool.name: pool for pool in pools}
        self.directory = directory
        self.kill_after = kill_after

    def quantities(self, pools: Collection[str], deadline: float) -> dict[str, int | Refused]:
        """The number of workers of each pool that are alive and were not told to stop."""
        return {pool: len(self._workers(pool)) for pool in pools}

    def running(self, pools: Collection[str], deadline: float) -> dict[str, list[str]]:
        return {pool: [f"{pool}.{number}" for number in self._workers(pool)] for pool in pools}

    def scale(
        self, quantities: Mapping[str, int], deadline: float
    ) -> dict[str, int | PlatformError]:
        """Start the missing workers from ``<pool>.1`` up, and stop those with higher numbers.

        It does not wait until the workers that it stops are gone.
        """
        if unknown := quantities.keys() - self.pools.keys():
            raise PlatformError(f"there is no pool {', '.join(sorted(unknown))}", settled=True)
        with self._locked(deadline) as lock:
            for pool, quantity in quantities.items():
                self._scale_pool(self.pools[pool], quantity, lock, deadline)
        return dict(self.quantities(quantities, deadline))

    def stop_all(self, deadline: float) -> None:
        """Stop every worker of the directory, of whatever pool, and wait until they are gone."""
        with self._locked(deadline):
            remaining = [process for _, process in self._pid_files()]
        for process in remaining:
            process.stop()
        while any(process.alive for process in remaining):
            _sleep(deadline, "workers are still stopping")

    def command(self, pool: Pool, number: int) -> list[str]:
        """The command line of a worker."""
        queues = [] if pool.queues is None else ["-Q", ",".join(pool.queues)]
        worker = ["worker", "--loglevel", "INFO", "--hostname", f"{pool.name}.{number}@%h"]
        app = ["-A", str(app_path(self.celery_app))]
        return [sys.executable, "-m", "celery", *app, *worker, *queues]

    def log(self, worker: str) -> Path:
        """What the *worker* of that name, ``worker.1``, prints."""
        return self.directory / f"{worker}.log"

    def _scale_pool(self, pool: Pool, quantity: int, lock: int, deadline: float) -> None:
        workers = self._workers(pool.name)
        for number in sorted(workers.keys() - set(range(1, quantity + 1)), reverse=True):
            self._stop(f"{pool.name}.{number}", workers[number], deadline)
        for number in range(1, quantity + 1):
            if number not in workers:
                self._start(pool, number, lock, deadline)

    def _start(self, pool: Pool, number: int, lock: int, deadline: float) -> None:
        worker = f"{pool.name}.{number}"
        time_left = deadline - time.monotonic()
        if time_left <= 0:
            raise PlatformError(f"no time was left to start {worker}")
        # The lock is ours and nobody alive has the name: what is there is left over.
        self._pid_file(worker).unlink(missing_ok=True)
        # Isolated: it needs no packages, and our directory's modules must not hide others.
        python = [sys.executable, "-I", "-S", dyno.__file__]
        files = ["--pid-file", str(self._pid_file(worker)), "--log", str(self.log(worker))]
        times = ["--kill-after", str(self.kill_after)]
        try:
            starter = subprocess.run(
                [*python, *files, *times, "--", *self.command(pool, number)],
                env={**app_path(self.celery_app).environment(), "DYNO": worker},
                stdin=lock,  # If we die now, nobody else scales before it is up.
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                timeout=time_left,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise PlatformError(f"{worker} did not start in time") from None
        except OSError as error:
            raise PlatformError(f"{worker} could not be started: {error}") from error
        # An earlier dyno may have come first: one that had not been in time.
        if starter.returncode and number not in self._workers(pool.name):
            raise PlatformError(f"{worker} could not be started: {starter.stderr.strip()}")

    def _stop(self, worker: str, process: _Process, deadline: float) -> None:
        process.stop()
        # Told to stop, the dyno gives up its name.
        while process.alive and _read(self._pid_file(worker)) == process:
            _sleep(deadline, f"{worker} (process {process.pid}) does not react to SIGTERM")

    def _workers(self, pool: str) -> dict[int, _Process]:
        """The live workers of *pool* that were not told to stop, by number."""
        name = re.compile(re.escape(pool) + r"\.([1-9]\d*)\.json")
        return {
            int(match[1]): process
            for path, process in self._pid_files()
            if (match := name.fullmatch(path.name)) and process.alive
        }

    def _pid_files(self) -> list[tuple[Path, _Process]]:
        try:
            paths = [path for path in self.directory.iterdir() if path.suffix == ".json"]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise PlatformError(f"the workers' pid files: {error}", settled=True) from error
        return [(path, process) for path in paths if (process := _read(path)) is not None]

    def _pid_file(self, worker: str) -> Path:
        return self.directory / f"{worker}.json"

    @contextmanager
    def _locked(self, deadline: float) -> Iterator[int]:
        """One process at a time scales; the lock of one that dies is free."""
        try:
            _make_private(self.directory)
            lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise PlatformError(f"the workers' pid files: {error}", settled=True) from error
        try:
            while not _try_lock(lock):
                _sleep(deadline, "another process is scaling the workers", settled=True)
            for path, process in self._pid_files():
                if not process.alive:
                    path.unlink(missing_ok=True)
            yield lock
        except OSError as error:
            raise PlatformError(f"the workers' pid files: {error}") from error
        finally:
            # Closing alone would not do if this process was forked meanwhile.
            fcntl.flock(lock, fcntl.LOCK_UN)
            os.close(lock)


def default_directory(redis_url: str) -> Path:
    """The directory of the current user's workers for the ledger at *redis_url*; it is made.

    Raises:
        PlatformError: it cannot be made, or is not the user's own.
    """
    url = urlsplit(redis_url)
    ledger = url._replace(netloc=url.netloc.rpartition("@")[2]).geturl()  # Without the password.
    parent = Path(tempfile.gettempdir()) / f"celery-middle-management-{os.getuid()}"
    directory = parent / hashlib.sha256(ledger.encode()).hexdigest()[:12]
    try:
        _make_private(parent)
        _make_private(directory)
    except OSError as error:
        raise PlatformError(f"no directory for the workers: {error}", settled=True) from error
    return directory


def _read(pid_file: Path) -> _Process | None:
    try:
        fields = json.loads(pid_file.read_text())
        return _Process(int(fields["pid"]), str(fields["started_at"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _make_private(directory: Path) -> None:
    """Make a directory for us alone; raises PermissionError if it is somebody else's."""
    with suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise PermissionError(f"{directory} is not a directory of user {os.getuid()}")
    if stat.S_IMODE(status.st_mode) & 0o022:
        raise PermissionError(f"others may write in {directory}: chmod 700 it")


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sleep(deadline: float, trouble: str, *, settled: bool = False) -> None:
    """Before looking again; raises PlatformError about the *trouble* when the deadline is over."""
    if time.monotonic() >= deadline:
        raise PlatformError(trouble, settled=settled)
    time.sleep(_POLL_INTERVAL)
