"""What a broker must be able to tell."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from celery_middle_management.core.demand import Backlog

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
