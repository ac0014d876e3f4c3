"""Errors of brokers, without the passwords that their libraries may put into them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from celery import Celery

from celery_middle_management.brokers.base import Backlogs, Broker, CountFailed
from celery_middle_management.core.demand import Backlog
from celery_middle_management.settings.redis_url import urls
from celery_middle_management.settings.secret import shown, told

Read = dict[str, "Backlog | Exception"]


class RedactingBroker(Broker):
    """A broker whose errors show no password, even if its library's do."""

    def __init__(self, app: Celery | None) -> None:
        self._app: Any = app

    def backlogs(self, queues: Sequence[str], unacknowledged: Mapping[str, int]) -> Backlogs:
        try:
            read = self.read(queues, unacknowledged)
            return {q: b if isinstance(b, Backlog) else self._unread(q, b) for q, b in read.items()}
        except Exception as error:  # noqa: BLE001 - a transport may raise its own library's errors
            trouble = self._trouble(error)
        # Raised outside the handler: the frames of the first error hold the password.
        raise CountFailed(trouble)

    @abstractmethod
    def read(self, queues: Sequence[str], unacknowledged: Mapping[str, int]) -> Read:
        """Return the backlog or the error of each queue; raise any error that concerns them all."""

    def _unread(self, queue: str, error: Exception) -> CountFailed:
        addresses = _addresses(self._app) if self._app else []
        return CountFailed(f"the queue {queue!r} could not be read: {told(error, addresses)}")

    def _trouble(self, error: BaseException) -> str:
        addresses = _addresses(self._app) if self._app else []
        where = "".join(f" {address}" for address in dict.fromkeys(map(shown, addresses)))
        return f"the broker{where} could not be read: {told(error, addresses)}"


def broker_trouble(app: Celery, error: BaseException) -> str:
    """Return the text of an *error* from the broker of *app*, without passwords."""
    return told(error, _addresses(app))


def _addresses(app: Celery) -> list[str]:
    conf: Any = app.conf
    settings = (conf.broker_url, conf.broker_read_url, conf.broker_write_url)
    return [url for setting in settings for url in urls(setting) if url]
