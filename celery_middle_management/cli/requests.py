"""What people have asked for, as the status screen says it: a pause, more workers, a schedule."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from celery_middle_management.views.words import ago, plural

Document = Mapping[str, Any]


def pause_line(pause: Document, now: datetime) -> str:
    """Say what is paused, by whom and until when; each on its own if that differs."""
    stops = {w: (pause[f"{w}_by"], pause[f"{w}_until"]) for w in ("hires", "fires") if pause[w]}
    if len({*stops.values()}) > 1:
        each = (f"no {w}, by {_names(by)}, {_end(until, now)}" for w, (by, until) in stops.items())
        return f"PAUSED  {'; '.join(each)}"
    which = " and ".join(f"no {what}" for what in stops)
    since = f" {ago(pause['since'], now)}" if pause["since"] else ""
    return f"PAUSED  {which}, by {_names(pause['by'])}{since}, {_end(pause['until'], now)}"


def _names(people: str) -> str:
    return " and ".join(people.rsplit(", ", 1))


def _end(until: str | None, now: datetime) -> str:
    return f"ends {ago(until, now)}" if until else "until `mm resume`"


def request_line(wish: Document, now: datetime) -> str:
    """Say how many workers are asked for, by whom and until when."""
    bounds = {"at least": wish["least"], "at most": wish["most"]}
    given = [(word, bound) for word, bound in bounds.items() if bound is not None]
    asked = ", ".join(f"{word} {plural(bound, 'worker', 'workers')}" for word, bound in given)
    return f"{asked}, by {wish['by']}, ends {ago(wish['until'], now)}"


def schedule_line(schedule: Document) -> str:
    """Say which entry of the schedule gives the limits, since when and until when, in its zone."""

    def time(at: str) -> str:
        return f"{datetime.fromisoformat(at).astimezone(ZoneInfo(schedule['timezone'])):%F %H:%M}"

    since = f"'{schedule['cron']}' since {time(schedule['since'])}" if schedule["cron"] else ""
    until = f"until {time(schedule['until'])}" if schedule["until"] else ""
    told = ", ".join(filter(None, (since or "no entry yet", until)))
    return f"{told} ({schedule['timezone']})"
