"""Pauses in hiring, after hires that came to nothing."""

from __future__ import annotations

from dataclasses import dataclass

from celery_middle_management.core.fleet import BOOT_TIME

#: The first pause (s); each further pause is twice as long, ...
FIRST_PAUSE = 60.0
#: ... up to this (s).
LONGEST_PAUSE = 1800.0


def pause(times: int) -> float:
    """Return the length (s) of a pause that follows this many earlier pauses in a row."""
    return float(min(FIRST_PAUSE * 2 ** min(times, 30), LONGEST_PAUSE))


def heard_within(boot: float) -> float:
    """Return how soon (s) a worker should report, if a boot usually takes *boot* (s)."""
    return 2 * boot + BOOT_TIME


@dataclass(frozen=True)
class Unheard:
    """Workers were hired, and no new worker has reported since. Times are Redis' (s)."""

    #: When they were hired.
    since: float
    #: How many hires in a row before this one came to nothing.
    times: int = 0

    def fails_at(self, boot: float) -> float:
        """Return when the hire counts as failed, if a boot takes *boot* (s)."""
        return self.since + heard_within(boot)

    def resumes_at(self, boot: float) -> float:
        """Return when another hire may be tried."""
        return self.fails_at(boot) + pause(self.times)

    def failed(self, now: float, boot: float) -> bool:
        """Return whether the workers should have reported by now."""
        return now >= self.fails_at(boot)

    def again(self, now: float, boot: float) -> Unheard:
        """Return the state after another hire: it is part of the last hire unless that failed."""
        return Unheard(now, self.times + 1) if self.failed(now, boot) else self

    def said(self, quantity: int, look: str) -> str:
        """Return a message: *quantity* workers are intended, and *look* is the log to read."""
        return (
            f"no worker has reported since the quantity was raised to {quantity}. If more workers "
            f"are needed, one is hired after a pause of {pause(self.times):.0f} s. Check {look}: "
            "the command must start a `celery worker` of this app that can reach the broker and "
            "the ledger"
        )
