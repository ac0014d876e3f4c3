"""An app as the checks see it: each thing is looked up once, when the first check asks for it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from functools import cached_property
from importlib.metadata import version
from time import monotonic
from typing import TYPE_CHECKING, Any

import redis
from celery import Celery

from celery_middle_management.app_import_path import celery_command
from celery_middle_management.brokers import broker_of, shares_ledger
from celery_middle_management.brokers.base import Broker
from celery_middle_management.core.traits import Traits
from celery_middle_management.counting.declared import declared_queues
from celery_middle_management.doctor.command import WorkerCommand, worker_command
from celery_middle_management.evaluation.queues import queues_of
from celery_middle_management.ledger.model import Snapshot
from celery_middle_management.ledger.redis import RedisLedger
from celery_middle_management.platforms import PlatformError, platform_for
from celery_middle_management.settings.model import Settings
from celery_middle_management.views.status import status_of

if TYPE_CHECKING:
    from celery_middle_management.platforms.heroku import HerokuPlatform
    from celery_middle_management.platforms.heroku_one_off import ProcessType

#: What the platform is asked is answered within this time (s), or it failed.
_PATIENCE = 15.0


class Patient:
    """One app. What Redis or the platform does not answer raises what it raised."""

    def __init__(self, app: Celery, settings: Settings, ledger: RedisLedger) -> None:
        self.app = app
        self.conf: Any = app.conf
        self.settings = settings
        self._ledger = ledger
        #: What Redis failed with: it is not waited for again.
        self.redis_trouble: Exception | None = None
        #: What the platform failed with: nor is that.
        self.platform_trouble: PlatformError | None = None
        self.environ: Mapping[str, str] = os.environ

    @property
    def ledger(self) -> RedisLedger:
        """The ledger, while Redis has not failed."""
        if self.redis_trouble is not None:
            raise self.redis_trouble
        return self._ledger

    @property
    def redis(self) -> redis.Redis:
        """The ledger's."""
        return self.ledger.redis

    @cached_property
    def info(self) -> dict[str, Any]:
        """What the ledger's Redis says of itself."""
        told: Any = self.redis.info()
        return dict(told)

    @cached_property
    def snapshot(self) -> Snapshot:
        """The ledger at one moment."""
        return self.ledger.snapshot()

    @cached_property
    def status(self) -> dict[str, Any]:
        """What ``mm status`` tells."""
        return status_of(
            self.settings, self.snapshot, self.declared, full=self.ledger.full, celery=self.celery
        )

    @cached_property
    def declared(self) -> tuple[str, ...]:
        """The queues that the app declares."""
        return declared_queues(self.app)

    @cached_property
    def queues(self) -> dict[str, tuple[str, ...]]:
        """The queues of each pool that are known."""
        return {
            pool.name: queues_of(pool, self.settings, self.snapshot, self.declared)
            for pool in self.settings.pools
        }

    @cached_property
    def broker(self) -> Broker:
        """Counts the queues."""
        return broker_of(self.app, self.settings, self.redis)

    @cached_property
    def broker_kind(self) -> str:
        """The kind of the broker, as kombu names it: ``redis``, ``amqp``. Opens no connection."""
        return str(self.app.connection_for_read().transport.driver_type)

    @cached_property
    def in_ledgers_redis(self) -> bool:
        """Whether the queues are where the ledger is."""
        return shares_ledger(self.app, self.settings)

    @property
    def heroku(self) -> HerokuPlatform | None:
        """The app's Heroku, if this process may call it."""
        if self.settings.heroku is None or self.settings.inactive:
            return None
        from celery_middle_management.platforms.heroku import HerokuPlatform

        return HerokuPlatform(self.settings.heroku)

    @property
    def traits(self) -> Traits:
        """The platform's."""
        return platform_for(self.settings).kind.traits

    def deadline(self) -> float:
        """Until when the platform may answer what it is asked now."""
        return monotonic() + _PATIENCE

    @cached_property
    def process_types(self) -> dict[str, ProcessType]:
        """Those of the Heroku app; of any other platform none."""
        if self.platform_trouble is not None:
            raise self.platform_trouble
        try:
            return self.heroku.process_types(self.deadline()) if self.heroku else {}
        except PlatformError as error:
            self.platform_trouble = error
            raise

    @property
    def written(self) -> dict[str, str]:
        """The command of each pool as the Procfile has it; of any other platform none."""
        pools = {pool.name for pool in self.settings.pools}
        return {name: each.command for name, each in self.process_types.items() if name in pools}

    @cached_property
    def history(self) -> list[dict[str, Any]]:
        """What was done, went wrong and was asked for, the latest first."""
        return [json.loads(entry) for entry in self.ledger.actions()]

    @cached_property
    def versions(self) -> dict[str, tuple[int, ...]]:
        """Of the packages that this one rests on."""
        return {
            name: tuple(int(part) for part in re.findall(r"\d+", version(name))[:3])
            for name in ("celery", "kombu")
        }

    # -- commands to paste

    @property
    def celery(self) -> str:
        """The ``celery`` command of the app."""
        return celery_command(self.app, self.settings.celery_app)

    def queues_option(self, pool: str) -> str:
        """What the worker command of *pool* needs to serve its queues."""
        names = {each.name: each.queues for each in self.settings.pools}[pool]
        return f" -Q {','.join(names)}" if names else ""

    @property
    def on_heroku(self) -> str:
        """The option of ``heroku`` that names the app; empty where it is not known."""
        return f" -a {self.settings.heroku.app}" if self.settings.heroku else ""

    def on_heroku_by(self, command: str) -> str:
        """A line with a ``heroku`` *command* for the app; empty on any other platform."""
        return f"\nheroku {command}{self.on_heroku}" if self.on_heroku else ""

    @cached_property
    def commands(self) -> dict[str, WorkerCommand]:
        """How the workers of each pool are started, as far as it can be read."""
        if self.heroku is None:
            return {pool.name: WorkerCommand(pool.queues) for pool in self.settings.pools}
        read = {pool: worker_command(command) for pool, command in self.written.items()}
        return {pool: command for pool, command in read.items() if command is not None}
