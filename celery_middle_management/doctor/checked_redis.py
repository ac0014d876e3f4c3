"""The ledger's Redis as the checks see it."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any

import redis

from celery_middle_management.ledger.model import Snapshot
from celery_middle_management.ledger.redis import RedisLedger


class CheckedRedis:
    """The ledger and facts about its Redis, which is not called again after its first failure."""

    def __init__(self, ledger: RedisLedger) -> None:
        self._ledger = ledger
        #: The error that Redis failed with. From then on it is raised at once, without a call.
        self.failure: Exception | None = None

    @property
    def ledger(self) -> RedisLedger:
        """The ledger. Raises :attr:`failure` if Redis has failed."""
        if self.failure is not None:
            raise self.failure
        return self._ledger

    @property
    def client(self) -> redis.Redis:
        """The ledger's connection."""
        return self.ledger.redis

    @cached_property
    def info(self) -> dict[str, Any]:
        """The answer to INFO."""
        info: Any = self.client.info()
        return dict(info)

    @cached_property
    def snapshot(self) -> Snapshot:
        """The ledger at one moment."""
        return self.ledger.snapshot()

    @cached_property
    def history(self) -> list[dict[str, Any]]:
        """The ledger's history of decisions, troubles and requests by hand, the latest first."""
        return [json.loads(entry) for entry in self.ledger.actions()]
