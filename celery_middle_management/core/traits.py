"""Traits of a platform: what the core can assume about it, whichever platform it is."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from celery_middle_management.core.timing import LOCK_SECONDS

_DOTTED = re.compile(r"^(?P<pool>[-\w]+)\.(?P<number>[1-9]\d*)$")


class Stops(Enum):
    """Which workers a platform stops when the quantity is lowered."""

    #: Those with the highest numbers.
    HIGHEST = "highest"
    #: Any: we cannot know which.
    ANY = "any"
    #: None: each worker leaves by itself when told to, by name.
    CHOSEN = "chosen"


# There are as many names as workers, and an evaluation asks for each of them many times.
@lru_cache(maxsize=10_000)
def dotted_number(name: str) -> int | None:
    """Return 3 for ``worker.3``, None for a name of another form."""
    match = _DOTTED.match(name)
    return int(match["number"]) if match else None


def dotted_name(pool: str, number: int) -> str:
    """Return ``worker.3``."""
    return f"{pool}.{number}"


@dataclass(frozen=True)
class Traits:
    """The traits of one platform."""

    stops: Stops = Stops.HIGHEST
    #: Returns the number, from 1 up, in a worker's name; None where there is none.
    number: Callable[[str], int | None] = dotted_number
    #: Returns the name of a pool's worker with that number.
    name: Callable[[str, int], str] = dotted_name
    #: A worker that has not ended this long (s) after the platform asked it to is killed.
    kills_after: float = 30.0
    #: After the platform has said that it lowered the quantity, it asks the workers to end within
    #: this time (s).
    stops_within: float = 5.0
    #: A change that got no answer is carried out within this time (s) of being given up, or never.
    #: Heroku ends a request after 30 s, and anything between us and it may be slow.
    lands_within: float = 60.0

    @property
    def takes_effect_within(self) -> float:
        """Seconds after which a change that was given up can no longer stop a worker."""
        return self.lands_within + self.stops_within

    @property
    def waits_for_ledger(self) -> float:
        """How long (s) from its start a worker takes no tasks if it cannot reach the ledger.

        Any call that can stop the worker was sent before the ledger knew of the worker, and has
        taken effect by then.
        """
        return LOCK_SECONDS + self.takes_effect_within + 3.0

    @property
    def surely_killed(self) -> float:
        """How long (s) after its last report a silent worker's process has surely ended.

        This holds only if it was replaced or the platform says that it is not running.
        """
        return self.kills_after + self.stops_within + 5.0

    @property
    def imminent(self) -> float:
        """A scheduled task due within this time (s) counts as begun.

        It would start while a fire that was sent before is still on its way.
        """
        return self.kills_after + LOCK_SECONDS + 3.0

    def number_of(self, name: str) -> int | None:
        """Return a worker's number; None if the platform does not stop workers by number."""
        return self.number(name) if self.stops is Stops.HIGHEST else None


#: Traits of platforms whose workers are called ``worker.1``, ``worker.2``, ...
DOTTED = Traits()
#: Traits of workers that are hired one by one and leave by themselves.
ONE_OFF = Traits(stops=Stops.CHOSEN)
