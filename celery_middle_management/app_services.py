"""The services outside the process that one app uses: the ledger, the broker and the platform.

Most processes that import an app neither publish nor work. So none of this is imported before a
process needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from celery import Celery

from celery_middle_management.late_import import LateImport, no_fork_meanwhile
from celery_middle_management.settings.model import Settings

if TYPE_CHECKING:
    from celery_middle_management.evaluation.ports import Ledger
    from celery_middle_management.ledger.redis import RedisLedger
    from celery_middle_management.platforms import Chosen
    from celery_middle_management.reporting.announcing import Announcer
    from celery_middle_management.reporting.scaler import Scaler


class AppServices:
    """One app's services in one process, over one connection to the ledger."""

    def __init__(self, app: Celery, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._ledgers: dict[int, RedisLedger] = {}
        self._announcers: dict[int, Announcer] = {}
        self.late_import = LateImport(self._import_modules)

    def ledger(self) -> RedisLedger:
        """The ledger, over this process's one connection."""
        if not self._ledgers:
            with no_fork_meanwhile():
                from celery_middle_management.ledger.redis import RedisLedger
            # Threads that call this at the same time all get the same ledger.
            self._ledgers.setdefault(0, RedisLedger(self._settings))
        return self._ledgers[0]

    @cached_property
    def platform(self) -> Chosen:
        """The platform that the settings choose."""
        from celery_middle_management.platforms import platform_for

        return platform_for(self._settings)

    def scaler(self) -> Scaler:
        """Make the scaler that evaluates the app's pools."""
        return self._scaler(self._settings, self.ledger(), self._announce)

    def wait_for_messages(self, seconds: float) -> None:
        """Wait until this process has sent all messages to the webhook; *seconds* at most."""
        for announcer in self._announcers.values():
            announcer.wait(seconds)

    def dry_scaler(self, settings: Settings) -> Scaler:
        """Make a scaler that decides and logs but changes nothing, not even in the ledger."""
        from celery_middle_management.ledger.read_only import ReadOnlyLedger

        return self._scaler(settings, ReadOnlyLedger(self.ledger()))

    def after_fork(self) -> None:
        """Drop the parent's connection, in a fresh child."""
        self._ledgers = {}
        self._announcers = {}
        self.late_import.after_fork()

    def _announce(self, written: Sequence[str]) -> None:
        if not self._announcers:
            from celery_middle_management.reporting.announcing import Announcer

            # Threads that call this at the same time all get the same announcer.
            self._announcers.setdefault(0, Announcer(self._app, self._settings, self.ledger))
        self._announcers[0].evaluated(written)

    def _scaler(
        self,
        settings: Settings,
        ledger: Ledger,
        evaluated: Callable[[Sequence[str]], None] = lambda _: None,
    ) -> Scaler:
        self.late_import.finish()
        from celery_middle_management.brokers import broker_of
        from celery_middle_management.reporting.scaler import Scaler

        broker = broker_of(self._app, settings, self.ledger().redis)
        platform = self.platform.make(self._app)
        return Scaler(self._app, settings, ledger, broker, platform, evaluated=evaluated)

    def _import_modules(self) -> None:
        """Import what this process needs from its first task on."""
        from celery_middle_management.ledger import redis  # noqa: F401

        if not self._settings.inactive:
            from celery_middle_management import brokers  # noqa: F401
            from celery_middle_management.reporting import announcing, scaler  # noqa: F401

            _ = self.platform
