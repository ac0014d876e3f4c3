"""What a hosting platform must be able to do."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import NamedTuple

from celery_middle_management.core.traits import DOTTED, Traits

#: A dyno of Heroku's, of either generation: ``worker.3``, ``worker-23z34x56y-w78k9``.
_DYNO = re.compile(r"^(?P<pool>[-\w]+)(\.[1-9]\d*|-[a-z0-9]{4,}-[a-z0-9]{4,})$")


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


class Refused(PlatformError):
    """The platform will surely not do what was asked for one pool; others may be served.

    Attributes:
        unknown: True when the platform has no such pool, False when it has a limit, which fewer
            workers may not exceed.
        limit: the greatest quantity that it allows, if it said so.
    """

    def __init__(self, message: str, *, unknown: bool = False, limit: int | None = None) -> None:
        super().__init__(message, settled=True)
        self.unknown = unknown
        self.limit = limit


class Identity(NamedTuple):
    """Which worker a process is; it is of no *pool* where it is none of the platform's."""

    pool: str | None
    name: str
    #: By which it was started, if it was hired alone.
    hire: str = ""


class OneOff(NamedTuple):
    """A worker that was hired alone."""

    name: str
    #: By which it can be stopped.
    id: str
    #: The app's release that it was started with, 0 if there is none.
    release: int = 0


class Listing(NamedTuple):
    """The one-off workers of a pool that are starting or up."""

    workers: tuple[OneOff, ...]
    #: The app's newest release that is known.
    newest: int = 0


#: The environment variables that tell a one-off worker of what pool it is, and by which hire.
POOL_VARIABLE = "CELERY_MM_POOL"
HIRE_VARIABLE = "CELERY_MM_HIRE"


class OneOffPlatform(ABC):
    """Hires workers one by one, each of which ends when it leaves, and is not started again.

    Its methods are as bounded as those of :class:`Platform`.
    """

    @abstractmethod
    def listed(self, pools: Collection[str], deadline: float) -> dict[str, Listing]:
        """Who is starting or up, by pool."""

    @abstractmethod
    def hire(
        self, hires: Mapping[str, Collection[str]], deadline: float
    ) -> dict[str, OneOff | PlatformError]:
        """Start a worker for each of the ids by pool; returns for each what became of it."""

    @abstractmethod
    def stop(self, worker: str, deadline: float) -> None:
        """Stop the one with this id."""


class Platform(ABC):
    """Runs the workers of an app's pools.

    Every method takes a ``deadline``, a reading of :func:`time.monotonic` by which it returns or
    raises, retries included, and raises :class:`PlatformError` when it could not do its work.
    Only what changes nothing is ever tried again within a call: of a change that got no answer the
    caller must first learn what became of it.
    """

    #: What it does with its workers.
    traits: Traits = DOTTED
    #: What hires workers one by one, where it can.
    one_offs: OneOffPlatform | None = None

    @staticmethod
    def identity(environ: Mapping[str, str], hostname: str) -> Identity:
        """Who this process is, by its environment; *hostname* is its node name for Celery.

        Every process of the platform's workers must be told apart, by the name that
        :meth:`running` gives.
        """
        name = environ.get("DYNO") or hostname
        if hire := environ.get(HIRE_VARIABLE):
            return Identity(environ.get(POOL_VARIABLE), name, hire)
        match = _DYNO.match(name)
        return Identity(match["pool"] if match else None, name)

    @abstractmethod
    def quantities(self, pools: Collection[str], deadline: float) -> dict[str, int | Refused]:
        """The number of workers that each of *pools* is to have now."""

    @abstractmethod
    def scale(
        self, quantities: Mapping[str, int], deadline: float
    ) -> dict[str, int | PlatformError]:
        """Set the quantities of several pools, in one call where the platform refuses none.

        Returns for each pool what its quantity is then, or what went wrong with it alone. Sent in
        the order given. No change can be delivered to the platform any more once this has returned
        or raised, but the platform may still carry it out.
        """

    @abstractmethod
    def running(self, pools: Collection[str], deadline: float) -> dict[str, list[str]]:
        """The names of the workers of *pools* that are starting or up, by pool.

        While a deploy replaces workers, two may bear the same name; it is there twice then.
        """
