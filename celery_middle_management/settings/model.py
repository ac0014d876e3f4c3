"""What a user can set, checked and frozen."""

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
    """Which app to scale, and how to reach Heroku's Platform API."""

    app: str
    #: Empty where it is missing and nothing is called.
    api_key: Secret
    api_url: str
    #: The setting or the environment variable that named the app, ...
    app_from: str = field(default="middle_management_heroku_app", compare=False)
    #: ... and that gave the key.
    key_from: str = field(default="middle_management_heroku_api_key", compare=False)


@dataclass(frozen=True)
class Settings:
    """Everything that a user can set, checked."""

    platform: str
    """"heroku" or "local"."""
    pools: tuple[Pool, ...]
    redis_url: Secret
    redis_options: Mapping[str, Any] = field(repr=False)
    """TLS keyword arguments of a connection; a key file's password is a function."""
    call_interval: float
    """Seconds between calls of the platform, at least."""
    count_interval: float
    """Seconds: the oldest a count may be while tasks are outstanding."""
    drain_timeout: float | None
    """Seconds that a draining worker gets. None: as long as it takes."""
    heroku: Heroku | None
    """Set when the platform is "heroku"."""
    celery_app: str | None = None
    """What ``celery -A`` takes, for local workers; None: it is found."""
    dry_run: bool = False
    """Decide and record, and change nothing."""
    inactive: str = ""
    """Why this process counts and reports, and never evaluates; empty where it does."""

    @cached_property
    def fingerprint(self) -> str:
        """The same for the same settings, of which it tells nothing. Secrets are not in it."""
        said = (
            *(self.platform, self.pools, self.heroku and self.heroku.app, self.dry_run),
            *(self.call_interval, self.count_interval, self.drain_timeout),
        )
        return hashlib.sha256(repr(said).encode()).hexdigest()[:8]

    @property
    def why_inactive(self) -> str:
        """Why this process never evaluates, as a sentence; empty where it does."""
        return self.inactive and (
            "no workers are hired or fired from this process, but from dynos of "
            f"{self.heroku.app if self.heroku else None!r} alone: {self.inactive}. "
            "middle_management_off_platform=True has it do so"
        )

    @property
    def summary(self) -> str:
        """What is managed, as one line with keys and values that a log search can use."""
        pools = ",".join(f"{p.name}:{p.min_workers}-{p.max_workers}" for p in self.pools)
        app = f" app={self.heroku.app}" if self.heroku else ""
        dry_run = "yes" if self.dry_run else "no"
        return (
            f"managed pools={pools} platform={self.platform}{app} dry_run={dry_run} "
            f"version={__version__}"
        )

    def pool_for(self, queue: str) -> Pool | None:
        """The pool that serves *queue*: the one that names it, else the one for all others."""
        return self._by_queue.get(queue, self._by_queue.get(None))

    def pool_name(self, queue: str) -> str | None:
        """The name of that pool."""
        pool = self.pool_for(queue)
        return pool.name if pool else None

    @cached_property
    def _by_queue(self) -> Mapping[str | None, Pool]:
        return {queue: pool for pool in self.pools for queue in pool.queues or (None,)}
