"""The interface of a broker that can be counted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from celery_middle_management.core.demand import Backlog

#: Longest wait for an answer from the broker (s).
TIMEOUT = 3.0


class CountFailed(Exception):
    """The broker, or one queue, could not be read: the backlog is unknown, not zero."""


Backlogs = dict[str, "Backlog | CountFailed"]


class Broker(ABC):
    """Reads an app's broker."""

    @abstractmethod
    def backlogs(self, queues: Sequence[str], unacknowledged: Mapping[str, int]) -> Backlogs:
        """Return the backlog of each queue, or the error if only that queue could not be read.

        *unacknowledged* has, by queue, how many unacknowledged messages live workers hold. Any
        others were held by workers that died.

        Raises:
            CountFailed: the broker failed, hung or gave an answer that makes no sense.
        """
