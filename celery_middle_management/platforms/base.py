"""The interface of a hosting platform."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import NamedTuple

from celery_middle_management.core.traits import DOTTED, Traits

#: A dyno of Heroku's, of either generation: ``worker.3``, ``worker-23z34x56y-w78k9``.
_DYNO = re.compile(r"^(?P<pool>[-\w]+)(\.[1-9]\d*|-[a-z0-9]{4,}-[a-z0-9]{4,})$")


class PlatformError(Exception):
    """A call of the platform failed; the message says what to do about it.

    Attributes:
        retry_after: seconds for which the platform asks us not to call it, if it said so.
        settled: True if the platform surely did nothing, because it refused the request. False if
            the request may have been carried out, or may still be: after a timeout, a broken
            connection or a server error.
    """

    def __init__(
        self, message: str, *, settled: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.settled = settled
        self.retry_after = retry_after


class Refused(PlatformError):
    """The platform refused what was asked for one pool; it may do what was asked for others.

    Attributes:
        unknown: True if the platform does not know the pool. False if it has a limit, and fewer
            workers may be within it.
        limit: the greatest quantity that the platform allows, if it said so.
    """

    def __init__(self, message: str, *, unknown: bool = False, limit: int | None = None) -> None:
        super().__init__(message, settled=True)
        self.unknown = unknown
        self.limit = limit


class Identity(NamedTuple):
    """Which worker a process is; *pool* is None if it is not one of the platform's workers."""

    pool: str | None
    name: str
    #: The id of the hire that started it, if it was hired alone.
    hire: str = ""


class OneOff(NamedTuple):
    """A worker that was hired alone."""

    name: str
    #: The id by which it can be stopped.
    id: str
    #: The release of the app that it was started with, 0 if there is none.
    release: int = 0


class Listing(NamedTuple):
    """The one-off workers of a pool that are starting or up."""

    workers: tuple[OneOff, ...]
    #: The newest known release of the app.
    newest: int = 0
    #: Whatever else was started alone and runs: a worker of the pool may be among them, which only
    #: its name can tell.
    others: tuple[OneOff, ...] = ()


#: The environment variables that give a one-off worker its pool and the id of its hire.
POOL_VARIABLE = "CELERY_MM_POOL"
HIRE_VARIABLE = "CELERY_MM_HIRE"


class OneOffPlatform(ABC):
    """Hires workers one by one. Each ends when it leaves, and is not started again.

    Its methods take a deadline and raise as those of :class:`Platform` do.
    """

    @abstractmethod
    def listed(self, pools: Collection[str], deadline: float) -> dict[str, Listing]:
        """Return the workers that are starting or up, by pool."""

    @abstractmethod
    def hire(
        self, hires: Mapping[str, Collection[str]], deadline: float
    ) -> dict[str, OneOff | PlatformError]:
        """Start a worker for each id in *hires*, which has them by pool; return outcomes by id."""

    @abstractmethod
    def stop(self, worker: str, deadline: float) -> None:
        """Stop the worker with this id."""


class Platform(ABC):
    """Runs the workers of an app's pools.

    Every method takes a ``deadline``, a reading of :func:`time.monotonic` by which it returns or
    raises, retries included. It raises :class:`PlatformError` when it could not do its work.
    Within a call, only requests that change nothing are tried again. After a change that got no
    answer, the caller must first find out whether it was carried out.
    """

    #: What the core may assume about the platform.
    traits: Traits = DOTTED
    #: Hires workers one by one, None if the platform cannot.
    one_offs: OneOffPlatform | None = None
    #: The size of the workers of each pool, in small letters, as the platform last reported it with
    #: a quantity. None if workers have no sizes, and so no prices.
    sizes: Mapping[str, str] | None = None

    @staticmethod
    def identity(environ: Mapping[str, str], hostname: str) -> Identity:
        """Return which worker this process is, from its environment.

        *hostname* is its node name for Celery. The worker's name must be the one that
        :meth:`running` returns, because workers are told apart by it.
        """
        name = environ.get("DYNO") or hostname
        if hire := environ.get(HIRE_VARIABLE):
            return Identity(environ.get(POOL_VARIABLE), name, hire)
        match = _DYNO.match(name)
        return Identity(match["pool"] if match else None, name)

    @abstractmethod
    def quantities(self, pools: Collection[str], deadline: float) -> dict[str, int | Refused]:
        """Return the number of workers that each of *pools* should have now."""

    @abstractmethod
    def scale(
        self, quantities: Mapping[str, int], deadline: float
    ) -> dict[str, int | PlatformError]:
        """Set the quantities of several pools, in one call if the platform refuses none of them.

        They are sent in the order given. Returns for each pool its new quantity, or the error that
        concerns this pool alone. Once this has returned or raised, no change can be delivered to
        the platform any more, but it may still carry out one that was delivered before.
        """

    @abstractmethod
    def running(self, pools: Collection[str], deadline: float) -> dict[str, list[str]]:
        """Return the names of the workers of *pools* that are starting or up, by pool.

        While a deploy replaces workers, two may have the same name; it is then listed twice.
        """

    def prices(self, deadline: float) -> dict[str, int]:
        """Return the monthly price (cents) of a worker of each size, as far as it has one."""
        return {}
