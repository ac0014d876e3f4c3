"""Local workers that are hired one by one, as Heroku's one-off dynos are.

They are called ``run.1234``, end when they leave, and are not started again.
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from celery_middle_management.platforms.base import (
    HIRE_VARIABLE,
    POOL_VARIABLE,
    Listing,
    OneOff,
    OneOffPlatform,
    PlatformError,
)

if TYPE_CHECKING:
    from celery_middle_management.platforms.local import LocalPlatform

_FILE = re.compile(r"(?P<pool>[-\w]+)\.(?P<name>run\.\d+)\.json")


class LocalOneOffs(OneOffPlatform):
    """Hires processes of the platform that it belongs to."""

    def __init__(self, platform: LocalPlatform) -> None:
        self._platform = platform

    def listed(self, pools: Collection[str], deadline: float) -> dict[str, Listing]:
        there = list(self._there())
        return {
            pool: Listing(tuple(OneOff(name, name) for other, name in there if other == pool))
            for pool in pools
        }

    def hire(
        self, hires: Mapping[str, Collection[str]], deadline: float
    ) -> dict[str, OneOff | PlatformError]:
        outcomes: dict[str, OneOff | PlatformError] = {}
        with self._platform.locked(deadline) as lock:
            for pool, ids in hires.items():
                for hire in ids:
                    try:
                        outcomes[hire] = self._hire(pool, hire, lock, deadline)
                    except PlatformError as error:
                        outcomes[hire] = error
        return outcomes

    def stop(self, worker: str, deadline: float) -> None:
        for path, process in self._platform.pid_files():
            match = _FILE.fullmatch(path.name)
            if match and match["name"] == worker:
                process.stop()

    def _hire(self, pool: str, hire: str, lock: int, deadline: float) -> OneOff:
        taken = {name for _, name in self._there()}
        name = next(n for n in _names() if n not in taken)
        self._platform.start(
            self._platform.pools[pool],
            name,
            self._platform.directory / f"{pool}.{name}.json",
            lock,
            deadline,
            "--once",
            **{POOL_VARIABLE: pool, HIRE_VARIABLE: hire},
        )
        return OneOff(name, name)

    def _there(self) -> Iterator[tuple[str, str]]:
        """Pool and name of everyone whose process is alive, and was not told to stop."""
        for path, process in self._platform.pid_files():
            match = _FILE.fullmatch(path.name)
            if match and process.alive:
                yield match["pool"], match["name"]


def _names() -> Iterator[str]:
    while True:
        yield f"run.{random.randint(1000, 9999)}"
