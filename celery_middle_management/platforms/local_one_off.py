"""Local workers that are hired one by one, as Heroku's one-off dynos are.

They are called ``run.1234``, end when they leave, and are not started again.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Collection, Iterator, Mapping

from celery_middle_management.core.pools import Pool
from celery_middle_management.platforms.base import (
    HIRE_VARIABLE,
    POOL_VARIABLE,
    Listing,
    OneOff,
    OneOffPlatform,
    PlatformError,
)
from celery_middle_management.platforms.local_files import WorkerFiles

_FILE = re.compile(r"(?P<pool>[-\w]+)\.(?P<name>run\.\d+)\.json")


class LocalOneOffs(OneOffPlatform):
    """Hires processes of this machine one by one.

    Args:
        files: the files of the local platform's workers.
        pools: the pools that may be hired, by name.
        start: starts the dyno of a worker; see :meth:`~.local.LocalPlatform.start`.
    """

    def __init__(
        self, files: WorkerFiles, pools: Mapping[str, Pool], start: Callable[..., None]
    ) -> None:
        self._files = files
        self._pools = pools
        self._start = start

    def listed(self, pools: Collection[str], deadline: float) -> dict[str, Listing]:
        alive = list(self._alive())
        return {
            pool: Listing(tuple(OneOff(name, name) for other, name in alive if other == pool))
            for pool in pools
        }

    def hire(
        self, hires: Mapping[str, Collection[str]], deadline: float
    ) -> dict[str, OneOff | PlatformError]:
        outcomes: dict[str, OneOff | PlatformError] = {}
        with self._files.locked(deadline) as lock:
            for pool, ids in hires.items():
                for hire in ids:
                    try:
                        outcomes[hire] = self._hire(pool, hire, lock, deadline)
                    except PlatformError as error:
                        outcomes[hire] = error
        return outcomes

    def stop(self, worker: str, deadline: float) -> None:
        for path, process in self._files.processes():
            match = _FILE.fullmatch(path.name)
            if match and match["name"] == worker:
                process.stop()

    def _hire(self, pool: str, hire: str, lock: int, deadline: float) -> OneOff:
        taken = {name for _, name in self._alive()}
        name = next(n for n in _names() if n not in taken)
        self._start(
            self._pools[pool],
            name,
            self._files.pid_file(f"{pool}.{name}"),
            lock,
            deadline,
            "--once",
            **{POOL_VARIABLE: pool, HIRE_VARIABLE: hire},
        )
        return OneOff(name, name)

    def _alive(self) -> Iterator[tuple[str, str]]:
        """Yield pool and name of each worker that is alive and has not been asked to stop."""
        for path, process in self._files.processes():
            match = _FILE.fullmatch(path.name)
            if match and process.alive:
                yield match["pool"], match["name"]


def _names() -> Iterator[str]:
    while True:
        yield f"run.{random.randint(1000, 9999)}"
