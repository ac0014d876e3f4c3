"""What the core may assume of a platform, instead of asking which one it is."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

_DOTTED = re.compile(r"^(?P<pool>[-\w]+)\.(?P<number>[1-9]\d*)$")


class Stops(Enum):
    """Which workers a platform stops when there are to be fewer."""

    #: Those with the highest numbers.
    HIGHEST = "highest"
    #: Whom it likes.
    ANY = "any"


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

    def number_of(self, name: str) -> int | None:
        """A worker's number, if the platform goes by it; None where nobody knows whom it stops."""
        return self.number(name) if self.stops is Stops.HIGHEST else None


#: Of platforms whose workers are called ``worker.1``, ``worker.2``, ...
DOTTED = Traits()
