"""The clocks of a process, and the bounds on the ledger's time that they give between reports."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from celery_middle_management.core.batch import Moment
from celery_middle_management.ledger.messages import Bounds
from celery_middle_management.ledger.model import millis

#: If a report seems to take longer than this (s) to arrive, the ledger's clock has stepped.
LONGEST_WAY = 5.0
#: Where the uptime stops while the machine sleeps, a forward jump of the ledger's time counts as a
#: step only up to this length (s): a longer one means that the machine slept.
LONGEST_STEP = 600.0
_CLOCK_BOOTTIME: int | None = getattr(time, "CLOCK_BOOTTIME", None)


def _uptime() -> float:
    if _CLOCK_BOOTTIME is None:
        return time.monotonic()
    return time.clock_gettime(_CLOCK_BOOTTIME)


class Clocks(NamedTuple):
    """The clocks of a process (s)."""

    #: Never steps; all processes of a machine share it.
    monotonic: Callable[[], float] = time.monotonic
    #: Unix time.
    wall: Callable[[], float] = time.time
    #: Never steps, and keeps running while the machine sleeps.
    uptime: Callable[[], float] = _uptime

    def now(self) -> Moment:
        """Return the present moment."""
        return Moment(self.monotonic(), self.wall())


SYSTEM = Clocks()


@dataclass(frozen=True)
class ClockReading:
    """The ledger's time *now* (s) in a reply, and our uptime when we asked and when we got it."""

    now: float
    sent: float
    received: float

    def at(self, uptime: float) -> float:
        """Return the earliest that the ledger's time (s) can be at *uptime*."""
        return self.now + uptime - self.received

    def bounds(self, uptime: float) -> Bounds:
        """Return the bounds on the ledger's time at which a message sent at *uptime* arrives."""
        bounds: Bounds = {
            "least": millis(self.at(uptime)),
            "most": millis(self.now + uptime - self.sent + LONGEST_WAY),
        }
        if _CLOCK_BOOTTIME is None:
            bounds["longest"] = millis(LONGEST_STEP)
        return bounds
