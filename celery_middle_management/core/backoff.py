"""How long no more workers are hired after hires that came to nothing."""

from __future__ import annotations

from dataclasses import dataclass

from celery_middle_management.core.fleet import BOOT_TIME

#: The first pause (s); each that follows is twice as long, ...
FIRST_PAUSE = 60.0
#: ... and none is longer than this (s).
LONGEST_PAUSE = 1800.0


def pause(times: int) -> float:
    """How long (s) the pause is, after so many others in a row."""
    return float(min(FIRST_PAUSE * 2 ** min(times, 30), LONGEST_PAUSE))


def heard_within(boot: float) -> float:
    """Seconds within which a worker is heard of, where a boot has taken so long (s) of late."""
    return 2 * boot + BOOT_TIME


@dataclass(frozen=True)
class Unheard:
    """Workers were hired, and since then no new worker has been heard of. Times are Redis' (s)."""

    #: When they were hired.
    since: float
    #: So many hires before this one came to nothing, in a row.
    times: int = 0

    def fails_at(self, boot: float) -> float:
        """From when on the hire has failed, where a boot takes so long (s)."""
        return self.since + heard_within(boot)

    def resumes_at(self, boot: float) -> float:
        """From when on another hire may be tried."""
        return self.fails_at(boot) + pause(self.times)

    def failed(self, now: float, boot: float) -> bool:
        """Whether the workers should have been heard of."""
        return now >= self.fails_at(boot)

    def again(self, now: float, boot: float) -> Unheard:
        """After another hire: while the last one has not failed yet, it is part of that."""
        return Unheard(now, self.times + 1) if self.failed(now, boot) else self

    def said(self, quantity: int, look: str) -> str:
        """Say so, of so many workers that there are to be; *look* names the log to read."""
        return (
            f"no worker has been heard of since {quantity} were there to be: if more are needed, "
            f"one is hired after a pause of {pause(self.times):.0f} s. Look at {look}: the command "
            "must start a `celery worker` of this app, which must reach the broker and the ledger"
        )
