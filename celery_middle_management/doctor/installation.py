"""An app as the checks see it: each fact is looked up once, when the first check asks for it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import cached_property
from importlib.metadata import version
from typing import Any

from celery import Celery

from celery_middle_management.brokers import broker_of, shares_ledger
from celery_middle_management.brokers.base import Broker
from celery_middle_management.counting.declared import declared_queues
from celery_middle_management.doctor.checked_platform import CheckedPlatform
from celery_middle_management.doctor.checked_redis import CheckedRedis
from celery_middle_management.doctor.shell_commands import ShellCommands
from celery_middle_management.evaluation.queues import queues_of
from celery_middle_management.ledger.redis import RedisLedger
from celery_middle_management.settings.model import Settings
from celery_middle_management.views.status import status_of


class Installation:
    """One app, with the Redis of its ledger, its broker and its platform.

    If Redis or the platform fails to give a fact, asking for that fact raises the error.
    """

    def __init__(self, app: Celery, settings: Settings, ledger: RedisLedger) -> None:
        self.app = app
        self.conf: Any = app.conf
        self.settings = settings
        self.environ: Mapping[str, str] = os.environ
        self.redis = CheckedRedis(ledger)
        self.platform = CheckedPlatform(settings)
        self.shell = ShellCommands(app, settings)

    @cached_property
    def status(self) -> dict[str, Any]:
        """The document of ``mm status``, without a look at the broker."""
        return status_of(
            self.settings,
            self.redis.snapshot,
            self.declared,
            full=self.redis.ledger.full,
            celery=self.shell.celery,
        )

    @cached_property
    def declared(self) -> tuple[str, ...]:
        """The queues that the app declares."""
        return declared_queues(self.app)

    @cached_property
    def queues(self) -> dict[str, tuple[str, ...]]:
        """The known queues of each pool."""
        return {
            pool.name: queues_of(pool, self.settings, self.redis.snapshot, self.declared)
            for pool in self.settings.pools
        }

    @cached_property
    def broker(self) -> Broker:
        """The broker, which counts the queues."""
        return broker_of(self.app, self.settings, self.redis.client)

    @cached_property
    def broker_kind(self) -> str:
        """The kind of the broker, as kombu names it: ``redis``, ``amqp``. Opens no connection."""
        return str(self.app.connection_for_read().transport.driver_type)

    @cached_property
    def in_ledgers_redis(self) -> bool:
        """True if the queues are in the Redis of the ledger."""
        return shares_ledger(self.app, self.settings)

    @cached_property
    def versions(self) -> dict[str, tuple[int, ...]]:
        """The installed versions of Celery and kombu."""
        return {
            name: tuple(int(part) for part in re.findall(r"\d+", version(name))[:3])
            for name in ("celery", "kombu")
        }
