"""The platform as the checks see it: Heroku's process types, and how each pool's workers start."""

from __future__ import annotations

from functools import cached_property
from time import monotonic
from typing import TYPE_CHECKING

from celery_middle_management.core.traits import Traits
from celery_middle_management.doctor.command import WorkerCommand, worker_command
from celery_middle_management.platforms import PlatformError, platform_for
from celery_middle_management.settings.model import Settings

if TYPE_CHECKING:
    from celery_middle_management.platforms.heroku import HerokuPlatform
    from celery_middle_management.platforms.heroku_one_off import ProcessType

#: A call to the platform that takes longer than this (s) has failed.
_TIMEOUT = 15.0


class CheckedPlatform:
    """The platform of one app, which is not called again after its first failure."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        #: The error that the platform failed with. From then on it is raised without a call.
        self.failure: PlatformError | None = None

    @property
    def traits(self) -> Traits:
        """The traits of the platform."""
        return platform_for(self._settings).kind.traits

    @property
    def heroku(self) -> HerokuPlatform | None:
        """Heroku, if the app runs there and this process may call it."""
        if self._settings.heroku is None or self._settings.inactive:
            return None
        from celery_middle_management.platforms.heroku import HerokuPlatform

        return HerokuPlatform(self._settings.heroku)

    def deadline(self) -> float:
        """The time (monotonic) by which a call that begins now must have its answer."""
        return monotonic() + _TIMEOUT

    @cached_property
    def process_types(self) -> dict[str, ProcessType]:
        """The process types of the Heroku app, by name; empty on any other platform."""
        if self.failure is not None:
            raise self.failure
        try:
            return self.heroku.process_types(self.deadline()) if self.heroku else {}
        except PlatformError as error:
            self.failure = error
            raise

    @property
    def commands(self) -> dict[str, str]:
        """The Procfile's command of each pool; empty on any other platform."""
        pools = {pool.name for pool in self._settings.pools}
        return {name: each.command for name, each in self.process_types.items() if name in pools}

    @cached_property
    def worker_commands(self) -> dict[str, WorkerCommand]:
        """The worker command of each pool, where it can be read."""
        if self.heroku is None:
            return {pool.name: WorkerCommand(pool.queues) for pool in self._settings.pools}
        read = {pool: worker_command(command) for pool, command in self.commands.items()}
        return {pool: command for pool, command in read.items() if command is not None}
