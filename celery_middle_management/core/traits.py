"""What the core may assume of a platform, instead of asking which one it is."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from celery_middle_management.core.timing import LOCK_SECONDS

_DOTTED = re.compile(r"^(?P<pool>[-\w]+)\.(?P<number>[1-9]\d*)$")


class Stops(Enum):
    """Which workers a platform stops when there are to be fewer."""

    #: Those with the highest numbers.
    HIGHEST = "highest"
    #: Whom it likes.
    ANY = "any"
    #: None by itself: each goes when it is told to, by its name.
    CHOSEN = "chosen"


# There are as many names as workers, and an evaluation asks for each of them many times.
@lru_cache(maxsize=10_000)
def dotted_number(name: str) -> int | None:
    """3 of ``worker.3``; None for a name that is not so."""
    match = _DOTTED.match(name)
    return int(match["number"]) if match else None


def dotted_name(pool: str, number: int) -> str:
    """``worker.3``."""
    return f"{pool}.{number}"


@dataclass(frozen=True)
class Traits:
    """One platform's."""

    stops: Stops = Stops.HIGHEST
    #: The number, from 1 up, in a worker's name; None where there is none.
    number: Callable[[str], int | None] = dotted_number
    #: The name of a pool's worker with that number.
    name: Callable[[str, int], str] = dotted_name
    #: It kills who has not ended this long (s) after it was asked to.
    kills_after: float = 30.0
    #: When it has said that it lowered the quantity, it tells the workers within this time (s).
    stops_within: float = 5.0
    #: A change whose answer did not come is carried out within this time (s) after it was given up,
    #: or never. Heroku ends a request after 30 s, and what is in between may be slow.
    lands_within: float = 60.0

    @property
    def settles_within(self) -> float:
        """Seconds after which nobody can be stopped any more by a change that was given up."""
        return self.lands_within + self.stops_within

    @property
    def hears_within(self) -> float:
        """How long (s) a worker that has never heard of the ledger takes no tasks, from its start.

        What may stop it was announced before anybody could know of it, and takes effect by then.
        """
        return LOCK_SECONDS + self.settles_within + 3.0

    @property
    def surely_killed(self) -> float:
        """One that was replaced, or is no longer running for the platform, and has been silent, is
        surely gone so long (s) after it was heard of."""
        return self.kills_after + self.stops_within + 5.0

    @property
    def imminent(self) -> float:
        """A scheduled task due within this time (s) is as good as begun.

        It would start while a lowering that was sent before is still on its way.
        """
        return self.kills_after + LOCK_SECONDS + 3.0

    def number_of(self, name: str) -> int | None:
        """A worker's number, if the platform goes by it; None where nobody knows whom it stops."""
        return self.number(name) if self.stops is Stops.HIGHEST else None


#: Of platforms whose workers are called ``worker.1``, ``worker.2``, ...
DOTTED = Traits()
#: Of workers that are hired one by one, and leave by themselves.
ONE_OFF = Traits(stops=Stops.CHOSEN)
