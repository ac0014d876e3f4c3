"""The files by which processes of one user find, hire and fire local workers.

They are in one directory for each ledger: a pid file and a log for each worker, the quantity of
each pool, and the lock that a process holds while it changes the workers.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import signal
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from celery_middle_management.platforms import local_dyno
from celery_middle_management.platforms.base import PlatformError
from celery_middle_management.settings.secret import Secret

#: Seconds between two checks while waiting for a file to change or a lock to be free.
POLL_INTERVAL = 0.02


class LockTaken(PlatformError):
    """Another process is changing the workers."""


class LocalProcess(NamedTuple):
    """The process that plays a worker's dyno."""

    pid: int
    started_at: str

    @property
    def alive(self) -> bool:
        """True if this very process lives, not another one that got its pid."""
        return local_dyno.started_at(self.pid) == self.started_at

    def stop(self) -> None:
        """Send SIGTERM, but never to another process that got the pid."""
        if self.alive:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)


class WorkerFiles:
    """The files of the workers in one *directory*."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def log(self, worker: str) -> Path:
        """Return the log file of the *worker* with that name, such as ``worker.1``."""
        return self.directory / _log_name(worker)

    def pid_file(self, worker: str) -> Path:
        """Return the path of a worker's pid file, whether it exists or not."""
        return self.directory / f"{worker}.json"

    def processes(self) -> list[tuple[Path, LocalProcess]]:
        """Return every readable pid file with its process, dead or alive."""
        try:
            paths = [path for path in self.directory.iterdir() if path.suffix == ".json"]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise PlatformError(
                f"the workers' pid files cannot be used: {error}", settled=True
            ) from error
        return [(path, process) for path in paths if (process := read_pid_file(path)) is not None]

    def workers(self, pool: str) -> dict[int, LocalProcess]:
        """Return the live workers of *pool* that have not been asked to stop, by number."""
        name = re.compile(re.escape(pool) + r"\.([1-9]\d*)\.json")
        return {
            int(match[1]): process
            for path, process in self.processes()
            if (match := name.fullmatch(path.name)) and process.alive
        }

    def quantity(self, pool: str) -> int:
        """Return what the pool was last scaled to; if lost, the highest number of a live worker."""
        known = self.quantities().get(pool)
        return max(self.workers(pool), default=0) if known is None else known

    def quantities(self) -> dict[str, int]:
        """Return the stored quantities, empty if they were lost."""
        try:
            written = json.loads(self._quantities_file.read_text())
            os.utime(self._quantities_file)  # so that cleaners of old files spare it
            return {str(pool): _whole_number(quantity) for pool, quantity in written.items()}
        except (OSError, ValueError, AttributeError):
            return {}

    def set_quantity(self, pool: str, quantity: int) -> None:
        """Store the pool's quantity atomically. The caller holds the lock."""
        draft = self.directory / ".quantities"
        draft.write_text(json.dumps({**self.quantities(), pool: quantity}))
        draft.replace(self._quantities_file)

    @property
    def _quantities_file(self) -> Path:
        return self.directory / "quantities"

    @contextmanager
    def locked(self, deadline: float) -> Iterator[int]:
        """Hold the lock, and yield its descriptor: one process at a time changes the workers.

        A process that dies frees the lock. Pid files of dead processes are removed.

        Raises:
            LockTaken: another process still holds it at the *deadline*.
        """
        try:
            _make_private(self.directory)
            lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise PlatformError(
                f"the workers' pid files cannot be used: {error}", settled=True
            ) from error
        try:
            while not _try_lock(lock):
                if time.monotonic() >= deadline:
                    raise LockTaken("another process is scaling the workers", settled=True)
                time.sleep(POLL_INTERVAL)
            for path, process in self.processes():
                if not process.alive:
                    path.unlink(missing_ok=True)
            yield lock
        except OSError as error:
            raise PlatformError(f"the workers' pid files cannot be used: {error}") from error
        finally:
            # Closing alone does not unlock it if this process was forked in the meantime.
            fcntl.flock(lock, fcntl.LOCK_UN)
            os.close(lock)


def default_directory(redis_url: Secret) -> Path:
    """Make and return the directory of the current user's workers for the ledger at *redis_url*.

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
    """Return the log of the current user's *worker* of that name, whether it exists or not."""
    return _directory(redis_url) / _log_name(worker)


def pid_of(redis_url: Secret, worker: str) -> int | None:
    """Return the pid of the current user's *worker* of that name, None if it is not alive."""
    process = read_pid_file(_directory(redis_url) / f"{worker}.json")
    return process.pid if process is not None and process.alive else None


def read_pid_file(path: Path) -> LocalProcess | None:
    """Return the process that a pid file names, None if it cannot be read."""
    try:
        fields = json.loads(path.read_text())
        return LocalProcess(int(fields["pid"]), str(fields["started_at"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _directory(redis_url: Secret) -> Path:
    parent = Path(tempfile.gettempdir()) / f"celery-middle-management-{os.getuid()}"
    return parent / _digest(redis_url)


def _digest(redis_url: Secret) -> str:
    url = urlsplit(redis_url.reveal())
    ledger = url._replace(netloc=url.netloc.rpartition("@")[2]).geturl()  # Without the password.
    return hashlib.sha256(ledger.encode()).hexdigest()[:12]


def _log_name(worker: str) -> str:
    return f"{worker}.log"


def _whole_number(quantity: object) -> int:
    if isinstance(quantity, bool) or not isinstance(quantity, int) or quantity < 0:
        raise ValueError
    return quantity


def _make_private(directory: Path) -> None:
    """Make a directory for this user alone; raises PermissionError if it is not private."""
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
