"""What a broker must be able to tell."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from celery import Celery

from celery_middle_management.core.demand import Backlog
from celery_middle_management.settings.redis_url import urls
from celery_middle_management.settings.secret import shown, told

#: Longest wait (s) for the broker to answer.
TIMEOUT = 3.0


class CountFailed(Exception):
    """The broker, or one queue, could not be read: what there is to do is unknown, not zero."""


Backlogs = dict[str, "Backlog | CountFailed"]


class Broker(ABC):
    """Reads an app's broker."""

    @abstractmethod
    def backlogs(self, queues: Sequence[str], unacknowledged: Mapping[str, int]) -> Backlogs:
        """The backlog of each queue, or why this one alone could not be read.

        *unacknowledged* is how many messages of each queue live workers hold and have not yet
        acknowledged; those beyond were held by workers that died.

        Raises:
            CountFailed: the broker failed, hung or answered nonsense.
        """


Read = dict[str, "Backlog | Exception"]


class DiscreetBroker(Broker):
    """One whose errors show nothing of a password, though its library may."""

    def __init__(self, app: Celery | None) -> None:
        self._app: Any = app

    def backlogs(self, queues: Sequence[str], unacknowledged: Mapping[str, int]) -> Backlogs:
        try:
            read = self.read(queues, unacknowledged)
            return {q: b if isinstance(b, Backlog) else self._unread(q, b) for q, b in read.items()}
        except Exception as error:  # noqa: BLE001 - a transport may raise errors of its library
            trouble = self._trouble(error)
        # Not from within: the frames that led here know the password.
        raise CountFailed(trouble)

    @abstractmethod
    def read(self, queues: Sequence[str], unacknowledged: Mapping[str, int]) -> Read:
        """The backlogs, or the error that is one queue's own; raises anything."""

    def _unread(self, queue: str, error: Exception) -> CountFailed:
        addresses = _addresses(self._app) if self._app else []
        return CountFailed(f"the queue {queue!r} could not be read: {told(error, addresses)}")

    def _trouble(self, error: BaseException) -> str:
        addresses = _addresses(self._app) if self._app else []
        where = "".join(f" {address}" for address in dict.fromkeys(map(shown, addresses)))
        return f"the broker{where} could not be read: {told(error, addresses)}"


def broker_trouble(app: Celery, error: BaseException) -> str:
    """What an *error* of the broker of *app* says, without the passwords of its addresses."""
    return told(error, _addresses(app))


def _addresses(app: Celery) -> list[str]:
    conf: Any = app.conf
    settings = (conf.broker_url, conf.broker_read_url, conf.broker_write_url)
    return [url for setting in settings for url in urls(setting) if url]
