"""Checks that workers started by a platform can reach the tasks in an app's broker."""

from __future__ import annotations

import logging
from functools import cached_property

from celery import Celery

from celery_middle_management.settings.model import Settings

logger = logging.getLogger("celery_middle_management")

#: Brokers (kombu's driver types) whose messages never leave the process, or the machine.
_IN_PROCESS = ("memory",)
_ON_DISK = ("filesystem", "sqlite")
#: Brokers whose queues are known to be countable.
_SUPPORTED = ("redis", "amqp", *_ON_DISK)


class BrokerReach:
    """Examines an app's broker only when asked, since tests replace the broker after set-up."""

    def __init__(self, app: Celery, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    @cached_property
    def driver_type(self) -> str:
        """The kind of the broker, in kombu's words. Opens no connection."""
        connection = self._app.connection_for_write()
        hostname = str(connection.hostname or "")
        if connection.transport.driver_type == "sql" and hostname.startswith("sqlite"):
            return "sqlite"
        return str(connection.transport.driver_type)

    @cached_property
    def is_given(self) -> bool:
        """True if workers can take the app's tasks; logs a warning if they cannot."""
        local = self._settings.platform == "local" and self.driver_type in _ON_DISK
        if self.driver_type not in (*_IN_PROCESS, *_ON_DISK) or local:
            self._warn_if_unsupported()
            return True
        if not self._settings.inactive:
            logger.warning(
                "no workers are hired or fired for the app %r: its broker is %s, and workers "
                "elsewhere cannot see the tasks in it",
                self._app.main,
                self.driver_type,
            )
        return False

    def _warn_if_unsupported(self) -> None:
        if self.driver_type not in _SUPPORTED:
            logger.warning(
                "the broker of the app %r, %s, is neither Redis nor RabbitMQ. Counting its queues "
                "is untested; while they cannot be counted, no worker is fired",
                self._app.main,
                self.driver_type,
            )
