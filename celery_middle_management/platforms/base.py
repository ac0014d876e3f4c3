"""What a hosting platform must be able to do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping


class PlatformError(Exception):
    """A platform call failed; the message says what to do about it.

    Attributes:
        retry_after: seconds that the platform asks us to leave it alone, if it said so.
        settled: True when the platform surely did nothing (it refused the request). False when
            the request may have been carried out all the same, or may still be: a timeout, a
            broken connection, a server error.
    """

    def __init__(
        self, message: str, *, settled: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.settled = settled
        self.retry_after = retry_after


class Platform(ABC):
    """Runs the workers of an app's pools.

    Every method takes a ``deadline``, a reading of :func:`time.monotonic` by which it returns or
    raises, retries included, and raises :class:`PlatformError` when it could not do its work.
    """

    #: The value of ``middle_management_platform`` that chooses it.
    name: str

    @abstractmethod
    def quantities(self, pools: Collection[str], deadline: float) -> dict[str, int]:
        """The number of workers that each of *pools* is to have now."""

    @abstractmethod
    def scale(self, quantities: Mapping[str, int], deadline: float) -> dict[str, int]:
        """Set the quantities of several pools in one call; returns what they are then."""

    @abstractmethod
    def running(self, pools: Collection[str], deadline: float) -> frozenset[str]:
        """The names of the workers of *pools* that are starting or up, ``worker.1`` and so on."""
