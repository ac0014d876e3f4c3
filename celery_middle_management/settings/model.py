"""The settings of an app, checked and frozen."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from celery_middle_management.core.pools import Pool
from celery_middle_management.settings.secret import Secret
from celery_middle_management.version import __version__


@dataclass(frozen=True)
class Heroku:
    """The app to scale, and how to reach Heroku's Platform API."""

    app: str
    #: Empty if it is missing and this process never calls the API.
    api_key: Secret
    api_url: str
    #: The name of the setting or environment variable that gave the app.
    app_from: str = field(default="middle_management_heroku_app", compare=False)
    #: The name of the setting or environment variable that gave the key.
    key_from: str = field(default="middle_management_heroku_api_key", compare=False)


@dataclass(frozen=True)
class Settings:
    """All settings of an app, checked."""

    platform: str
    """"heroku" or "local"."""
    pools: tuple[Pool, ...]
    redis_url: Secret
    redis_options: Mapping[str, Any] = field(repr=False)
    """TLS keyword arguments of a connection. A key file's password is given as a function."""
    call_interval: float
    """The shortest time between two calls to the platform (s)."""
    count_interval: float
    """The maximum age of a count while tasks are outstanding (s)."""
    drain_timeout: float | None
    """The time that a draining worker gets (s). None: as long as it takes."""
    heroku: Heroku | None
    """Set if the platform is "heroku"."""
    celery_app: str | None = None
    """The ``-A`` argument for local workers. None: it is found automatically."""
    dry_run: bool = False
    """Decide and record, and change nothing."""
    web_actions: bool = False
    """The page's buttons do something."""
    webhook: Secret | None = None
    """Where decisions and troubles are sent. The address itself is the secret."""
    inactive: str = ""
    """Why this process counts and reports but never evaluates; empty if it does evaluate."""

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the settings without the secrets, to see whether two processes agree."""
        values = (
            *(self.platform, self.pools, self.heroku and self.heroku.app, self.dry_run),
            *(self.call_interval, self.count_interval, self.drain_timeout),
        )
        return hashlib.sha256(repr(values).encode()).hexdigest()[:8]

    @property
    def max_waits(self) -> dict[str, float]:
        """The ``max_wait`` (s) of each pool that has one."""
        return {pool.name: pool.max_wait for pool in self.pools if pool.max_wait is not None}

    @property
    def why_inactive(self) -> str:
        """A sentence that says why this process never evaluates; empty if it does evaluate."""
        return self.inactive and (
            f"no workers are hired or fired from this process, because {self.inactive}; only "
            f"dynos of {self.heroku.app if self.heroku else None!r} do that. To hire and fire from "
            "here too, set middle_management_off_platform=True"
        )

    @property
    def summary(self) -> str:
        """The pools and their platform as one line of keys and values, easy to find in the logs."""
        pools = ",".join(f"{p.name}:{p.min_workers}-{p.max_workers}" for p in self.pools)
        app = f" app={self.heroku.app}" if self.heroku else ""
        dry_run = "yes" if self.dry_run else "no"
        return (
            f"managed pools={pools} platform={self.platform}{app} dry_run={dry_run} "
            f"version={__version__}"
        )

    def pool_for(self, queue: str) -> Pool | None:
        """The pool that serves *queue*: one that names it, or the pool for all other queues."""
        return self._by_queue.get(queue, self._by_queue.get(None))

    def pool_name(self, queue: str) -> str | None:
        """The name of the pool that serves *queue*."""
        pool = self.pool_for(queue)
        return pool.name if pool else None

    @cached_property
    def _by_queue(self) -> Mapping[str | None, Pool]:
        return {queue: pool for pool in self.pools for queue in pool.queues or (None,)}
