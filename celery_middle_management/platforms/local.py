"""Workers that are processes of this machine: for trying things out, and for a single server.

They behave as Heroku's dynos do: ``worker.1``, ``worker.2`` …, each with its name in ``$DYNO``;
scaling down takes the highest numbers; a worker is stopped with SIGTERM, and SIGKILL 30 s later;
one that exits by itself is started again.

The state is in a directory, not in a process: any process of the same user may hire, and any other
may fire. A worker is there as long as its :mod:`~.local_dyno` is. How
many of a pool there are to be is written down beside: a worker whose dyno was killed is still
wanted, and whoever looks at the quantities next starts it again.

A quantity is raised before the first worker is started, and lowered when the last one was told to
stop. So whoever dies in between leaves nobody whose number is above the quantity, and a repair has
only to start workers, never to stop one.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
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
from celery_middle_management.platforms.local_one_off import LocalOneOffs
from celery_middle_management.settings.secret import Secret

logger = logging.getLogger(__name__)

_POLL_INTERVAL = 0.02  # s


class _LockTaken(PlatformError):
    """Another process scales."""


class LocalProcess(NamedTuple):
    """The process that plays a worker's dyno."""

    pid: int
    started_at: str

    @property
    def alive(self) -> bool:
        return local_dyno.started_at(self.pid) == self.started_at

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
        app_name: what ``celery -A`` takes; None: the module that *celery_app* is found in.
    """

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
        self.directory = directory
        self.kill_after = kill_after
        self.one_offs = LocalOneOffs(self)
        self._trouble = LogThrottle(logger)

    def quantities(self, pools: Collection[str], deadline: float) -> dict[str, int | Refused]:
        """The number of workers that each pool is to have. Those of them that died are started."""
        quantities = {pool: self._quantity(pool) for pool in pools}
        dead = [p for p, quantity in quantities.items() if self._missing(p, quantity)]
        if wanted := [self.pools[pool] for pool in dead if pool in self.pools]:
            self._repair(wanted, deadline)
        return dict(quantities)

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
        if any(self._missing(pool, quantity) for pool, quantity in quantities.items()):
            self._find_app()  # where that fails, nothing has been changed
        with self.locked(deadline) as lock:
            for pool, quantity in quantities.items():
                self._scale_pool(self.pools[pool], quantity, lock, deadline)
        return dict(quantities)

    def command(self, pool: Pool, worker: str) -> list[str]:
        """The command line of the *worker* of that name."""
        queues = [] if pool.queues is None else ["-Q", ",".join(pool.queues)]
        worker_options = ["worker", "--loglevel", "INFO", "--hostname", f"{worker}@%h"]
        app = ["-A", str(self._find_app())]
        return [sys.executable, "-m", "celery", *app, *worker_options, *queues]

    def log(self, worker: str) -> Path:
        """What the *worker* of that name, ``worker.1``, prints."""
        return self.directory / _log_name(worker)

    def _scale_pool(self, pool: Pool, quantity: int, lock: int, deadline: float) -> None:
        self._remember(pool.name, max(quantity, self._quantity(pool.name)))
        workers = self._workers(pool.name)
        for number in sorted((n for n in workers if n > quantity), reverse=True):
            self._stop(f"{pool.name}.{number}", workers[number], deadline)
        self._remember(pool.name, quantity)
        self._start_missing(pool, quantity, lock, deadline)

    def _repair(self, pools: Collection[Pool], deadline: float) -> None:
        """Start those who are wanted and dead, unless somebody scales: then the next look does."""
        try:
            with self.locked(0.0) as lock:
                for pool in pools:
                    self._start_missing(pool, self._quantity(pool.name), lock, deadline)
        except _LockTaken:
            pass
        except PlatformError as error:
            self._trouble.warn("repair", "a worker that died is not started again: %s", error)

    def _missing(self, pool: str, quantity: int) -> list[int]:
        """The numbers that are wanted and whose worker is not alive."""
        return sorted(set(range(1, quantity + 1)) - self._workers(pool).keys())

    def _start_missing(self, pool: Pool, quantity: int, lock: int, deadline: float) -> None:
        for number in self._missing(pool.name, quantity):
            self._start(pool, number, lock, deadline)

    def _quantity(self, pool: str) -> int:
        """What the pool was last scaled to. Where nobody knows, it keeps whoever lives."""
        known = self._quantities().get(pool)
        return max(self._workers(pool), default=0) if known is None else known

    def _quantities(self) -> dict[str, int]:
        """What is written down; empty if it was lost."""
        try:
            written = json.loads(self._quantities_file.read_text())
            os.utime(self._quantities_file)  # it is in use: cleaners of old files may spare it
            return {str(pool): _whole(quantity) for pool, quantity in written.items()}
        except (OSError, ValueError, AttributeError):
            return {}

    def _remember(self, pool: str, quantity: int) -> None:
        """Write the pool's quantity down, whole and at once. For the holder of the lock."""
        draft = self.directory / ".quantities"
        draft.write_text(json.dumps({**self._quantities(), pool: quantity}))
        draft.replace(self._quantities_file)

    @property
    def _quantities_file(self) -> Path:
        return self.directory / "quantities"

    def _environment(self) -> dict[str, str]:
        """Ours, but for what tells who we are: a one-off worker may be who hires."""
        ours = self._find_app().environment()
        return {n: v for n, v in ours.items() if n not in (POOL_VARIABLE, HIRE_VARIABLE)}

    def _find_app(self) -> AppPath:
        try:
            return named_path(self.app_name) if self.app_name else app_path(self.celery_app)
        except LookupError as error:
            raise PlatformError(str(error), settled=True) from None

    def _start(self, pool: Pool, number: int, lock: int, deadline: float) -> None:
        worker = f"{pool.name}.{number}"
        try:
            self.start(pool, worker, self._pid_file(worker), lock, deadline)
        except PlatformError:
            # An earlier dyno may have come first: one that had not been in time.
            if number not in self._workers(pool.name):
                raise

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
        """Start the dyno of a *worker*, for the holder of the *lock*; raises PlatformError."""
        time_left = deadline - time.monotonic()
        if time_left <= 0:
            raise PlatformError(f"no time was left to start {worker}")
        # The lock is ours and nobody alive has the name: what is there is left over.
        pid_file.unlink(missing_ok=True)
        # Isolated: it needs no packages, and our directory's modules must not hide others.
        python = [sys.executable, "-I", "-S", local_dyno.__file__]
        files = ["--pid-file", str(pid_file), "--log", str(self.log(worker))]
        times = ["--kill-after", str(self.kill_after)]
        try:
            starter = subprocess.run(
                [*python, *files, *times, *options, "--", *self.command(pool, worker)],
                env={**self._environment(), "DYNO": worker, **env},
                stdin=lock,  # If we die now, nobody else scales before it is up.
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                timeout=time_left,
                check=False,
            )
        except subprocess.TimeoutExpired:
            trouble = "did not start in time"
        except OSError as error:
            trouble = f"could not be started: {error}"
        else:
            if not starter.returncode:
                return
            trouble = f"could not be started: {starter.stderr.strip()}"
        # Not from within: the environment, with all that is secret in it, is in the frames there.
        raise PlatformError(f"{worker} {trouble}")

    def _stop(self, worker: str, process: LocalProcess, deadline: float) -> None:
        process.stop()
        # Told to stop, the dyno gives up its name.
        while process.alive and _read(self._pid_file(worker)) == process:
            _sleep(deadline, f"{worker} (process {process.pid}) does not react to SIGTERM")

    def _workers(self, pool: str) -> dict[int, LocalProcess]:
        """The live workers of *pool* that were not told to stop, by number."""
        name = re.compile(re.escape(pool) + r"\.([1-9]\d*)\.json")
        return {
            int(match[1]): process
            for path, process in self.pid_files()
            if (match := name.fullmatch(path.name)) and process.alive
        }

    def pid_files(self) -> list[tuple[Path, LocalProcess]]:
        """Every pid file that can be read, and whose process it is."""
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
    def locked(self, deadline: float) -> Iterator[int]:
        """One process at a time scales; the lock of one that dies is free."""
        try:
            _make_private(self.directory)
            lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise PlatformError(f"the workers' pid files: {error}", settled=True) from error
        try:
            while not _try_lock(lock):
                if time.monotonic() >= deadline:
                    raise _LockTaken("another process is scaling the workers", settled=True)
                time.sleep(_POLL_INTERVAL)
            for path, process in self.pid_files():
                if not process.alive:
                    path.unlink(missing_ok=True)
            yield lock
        except OSError as error:
            raise PlatformError(f"the workers' pid files: {error}") from error
        finally:
            # Closing alone would not do if this process was forked meanwhile.
            fcntl.flock(lock, fcntl.LOCK_UN)
            os.close(lock)


def default_directory(redis_url: Secret) -> Path:
    """The directory of the current user's workers for the ledger at *redis_url*; it is made.

    Raises:
        PlatformError: it cannot be made, or is not the user's own.
    """
    directory = _directory(redis_url)
    try:
        _make_private(directory.parent)
        _make_private(directory)
    except OSError as error:
        raise PlatformError(f"no directory for the workers: {error}", settled=True) from error
    return directory


def log_path(redis_url: Secret, worker: str) -> Path:
    """What the current user's *worker* of that name prints, there or not."""
    return _directory(redis_url) / _log_name(worker)


def pid_of(redis_url: Secret, worker: str) -> int | None:
    """The process of the current user's *worker* of that name; None where none is alive."""
    process = _read(_directory(redis_url) / f"{worker}.json")
    return process.pid if process is not None and process.alive else None


def _directory(redis_url: Secret) -> Path:
    parent = Path(tempfile.gettempdir()) / f"celery-middle-management-{os.getuid()}"
    return parent / _digest(redis_url)


def _log_name(worker: str) -> str:
    return f"{worker}.log"


def _digest(redis_url: Secret) -> str:
    url = urlsplit(redis_url.reveal())
    ledger = url._replace(netloc=url.netloc.rpartition("@")[2]).geturl()  # Without the password.
    return hashlib.sha256(ledger.encode()).hexdigest()[:12]


def _read(pid_file: Path) -> LocalProcess | None:
    try:
        fields = json.loads(pid_file.read_text())
        return LocalProcess(int(fields["pid"]), str(fields["started_at"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _whole(quantity: object) -> int:
    if isinstance(quantity, bool) or not isinstance(quantity, int) or quantity < 0:
        raise ValueError
    return quantity


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


def _sleep(deadline: float, trouble: str) -> None:
    """Before looking again; raises PlatformError about the *trouble* when the deadline is over."""
    if time.monotonic() >= deadline:
        raise PlatformError(trouble)
    time.sleep(_POLL_INTERVAL)
