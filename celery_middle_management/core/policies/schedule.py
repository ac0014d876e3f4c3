"""The schedule policy: limits that cron expressions change at certain times.

An entry's limits hold from when its expression last fired until any entry fires. If two entries
fire in the same minute, the later one in the list wins. As long as none has fired (cronsim looks
back 50 years), none holds.

Expressions and clock changes are understood as Debian's cron does, by cronsim
(https://github.com/cuu508/cronsim), whose README and tests describe it:

- An expression whose time is skipped fires as soon as the skipped hour is over, and one whose time
  comes twice fires the first time.
- If its field of the minute or of the hour begins with ``*``, it goes by the clock alone: it does
  not fire in a skipped hour, and fires twice in a repeated one.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

#: No clock is set back by more than this time (s).
_SET_BACK = 4 * 3600


class Entry(NamedTuple):
    """The limits from when a cron expression fires."""

    cron: str
    min_workers: int
    max_workers: int

    def within(self, cap: float) -> Entry:
        """Return the entry with no limit beyond the *cap*."""
        least, most = (int(min(limit, cap)) for limit in self[1:])
        return self._replace(min_workers=least, max_workers=most)


class InForce(NamedTuple):
    """The entry that fired last. Times are Unix (s)."""

    entry: Entry | None
    """None: no entry has fired."""
    since: float | None
    until: float | None
    """When the next entry fires. None: none ever does."""
    zone: str

    def later(self, seconds: float) -> InForce:
        """Return the same with times that are later by this."""
        since, until = (at if at is None else at + seconds for at in (self.since, self.until))
        return self._replace(since=since, until=until)


class Schedule(NamedTuple):
    """Entries, and the IANA name of the time zone of their expressions."""

    entries: tuple[Entry, ...]
    zone: str

    def at(self, now: float) -> InForce:
        """Return which limits are in force at a Unix time (s)."""
        return _in_force(self, int(now // 60) * 60)


@lru_cache(maxsize=64)
def _in_force(schedule: Schedule, minute: int) -> InForce:
    """Return what is in force in the *minute* that begins then (Unix, s)."""
    zone = ZoneInfo(schedule.zone)
    fires = [_fires(entry.cron, zone, minute) for entry in schedule.entries]
    past = [(last, number) for number, (last, _) in enumerate(fires) if last is not None]
    until = min((following for _, following in fires if following is not None), default=None)
    if not past:
        return InForce(None, None, until, schedule.zone)
    since, number = max(past)
    return InForce(schedule.entries[number], since, until, schedule.zone)


def _fires(cron: str, zone: ZoneInfo, now: int) -> tuple[float | None, float | None]:
    """Return when (Unix, s) an expression last fired by *now*, and when it fires next."""
    from cronsim import CronSim  # of the extra `schedule`

    # cronsim does not see which of two equal local times is meant, so that it begins later than
    # both. Where a clock change ends a day it may step back too far, and then goes forward again.
    begin = datetime.fromtimestamp(now + _SET_BACK, zone)
    back = (at.timestamp() for at in CronSim(cron, begin, reverse=True))
    last = next((at for at in back if at <= now), None)
    begin = datetime.fromtimestamp(now - _SET_BACK if last is None else last, zone)
    for at in CronSim(cron, begin):
        if at.timestamp() > now:
            return last, at.timestamp()
        last = at.timestamp()
    return last, None


def flaw_of(cron: str) -> str:
    """Return what is wrong with a cron expression, as "has 4 fields"; empty if nothing is."""
    from cronsim import CronSim, CronSimError

    fields = len(cron.split())
    if fields != 5:
        return f"has {fields} field{'' if fields == 1 else 's'}"
    try:
        first = next(CronSim(cron, datetime(2000, 1, 1)), None)
    except CronSimError as error:
        return f"has a {str(error).lower()}"
    return "" if first else "never fires"
