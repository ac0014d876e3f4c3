"""The kinds of values that settings have: what is allowed, and how to read it from text."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from celery_middle_management.core.policies.schedule import flaw_of
from celery_middle_management.settings import redis_url, webhook_address


class Kind(NamedTuple):
    """A kind of value."""

    check: Callable[[Any], Any]
    """Returns the value to use. Raises ValueError or OverflowError if it is not allowed."""
    allowed: str
    """The allowed values, in words."""
    from_text: Callable[[str], object] = str
    """Returns the value that an environment variable's text spells; if none, the text itself."""
    secret: bool = False
    """True if the value must not be shown in any message."""
    flaw: Callable[[Any], str] | None = None
    """Returns what is wrong with a value that is not allowed, in words that do not show it."""


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _whole(least: int) -> Callable[[object], int]:
    def check(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError
        return value

    return check


def _positive_or_auto(value: object) -> int | str:
    return value if isinstance(value, str) and value == "auto" else _whole(1)(value)


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError
    if not (math.isfinite(value) and value > 0):
        raise ValueError
    return float(value)


def _matching(pattern: str) -> Callable[[object], str]:
    def check(value: object) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value, re.ASCII):
            raise ValueError
        return value

    return check


def _api_url(value: object) -> str:
    url = _matching("https?://[!-~]+")(value)
    parts = urlsplit(url)
    _ = parts.port  # raises ValueError if it is not a number
    if not parts.hostname or any(mark in url for mark in "@?#"):
        raise ValueError
    return url.rstrip("/")


def _pools(value: object) -> dict[str, dict[str, Any]]:
    if not isinstance(value, dict) or not value:
        raise ValueError
    for name, pool in value.items():
        if not isinstance(pool, dict) or not all(isinstance(key, str) for key in (name, *pool)):
            raise ValueError
    return value


def _schedule(value: object) -> list[dict[str, Any]]:
    if not isinstance(value, (list, tuple)) or not value:
        raise ValueError
    for entry in value:
        if not isinstance(entry, dict) or not all(isinstance(key, str) for key in entry):
            raise ValueError
    return list(value)


def _cron(value: object) -> str:
    if not isinstance(value, str) or flaw_of(value):
        raise ValueError
    return value


def _timezone(value: object) -> str:
    name = _matching(r"\w+([-+/]\w+)*")(value)
    try:
        return ZoneInfo(name).key
    except (ZoneInfoNotFoundError, OSError):  # there is none, or it is a directory of some
        raise ValueError from None


def _queues(value: object) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not value:
        raise ValueError
    if not all(isinstance(queue, str) and queue.strip() for queue in value):
        raise ValueError
    return tuple(value)


def _boolean_from(text: str) -> object:
    words = dict.fromkeys(("true", "1", "yes", "on"), True)
    words |= dict.fromkeys(("false", "0", "no", "off"), False)
    return words.get(text.strip().lower(), text)


def _number_from(text: str) -> object:
    for number in (int, float):
        with suppress(ValueError):
            return number(text)
    return text


def _json_from(text: str) -> object:
    with suppress(ValueError):
        return json.loads(text)
    return text


BOOLEAN = Kind(_boolean, "True or False", _boolean_from)
WHOLE = Kind(_whole(0), "a whole number, 0 or more", _number_from)
POSITIVE_OR_AUTO = Kind(_positive_or_auto, "a positive whole number, or 'auto'", _number_from)
SECONDS = Kind(_seconds, "a number of seconds above 0", _number_from)
ANYTHING = Kind(str, "anything")
PLATFORM = Kind(_matching("heroku|local"), "'heroku' or 'local'")
DYNOS = Kind(_matching("formation|one-off"), "'formation' or 'one-off'")
DYNO_SIZE = Kind(
    _matching(r"[a-zA-Z][-\w.]{1,60}"), "a dyno size, such as 'basic' or 'standard-1x'"
)
APP = Kind(
    _matching(r"[a-z][a-z0-9-]{1,28}[a-z0-9]|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    "the name or the id of a Heroku app",
)
CELERY_APP = Kind(
    _matching(r"[a-zA-Z_]\w*(\.[a-zA-Z_]\w*)*(:[a-zA-Z_]\w*)?"),
    "what `celery -A` takes, such as 'proj' or 'proj.celery:app'",
)
API_KEY = Kind(_matching("[!-~]+"), "a Heroku API key, without spaces or line breaks", secret=True)
API_URL = Kind(_api_url, "an http:// or https:// address without user, password, query or fragment")
WEBHOOK = Kind(
    webhook_address.check, webhook_address.ALLOWED, secret=True, flaw=webhook_address.flaw
)
REDIS_URL = Kind(redis_url.check, redis_url.ALLOWED, secret=True)
POOLS = Kind(
    _pools,
    "a dict with a dict for each pool, such as {'pdf': {'queues': ['pdf'], 'max_workers': 3}}",
    _json_from,
)
SCHEDULE = Kind(
    _schedule,
    "a list with a dict for each time, such as [{'cron': '0 8 * * mon-fri', 'min_workers': 3}]",
    _json_from,
)
CRON = Kind(
    _cron,
    "five fields as in '0 8 * * mon-fri' (minute, hour, day of the month, month, day of the week)",
    flaw=lambda value: flaw_of(value) if isinstance(value, str) else "is not a string",
)
TIMEZONE = Kind(_timezone, "the IANA name of a time zone, such as 'Europe/Berlin' or 'UTC'")
# Heroku's pattern for the name of a process type. A web or release dyno runs no tasks.
POOL_NAME = Kind(
    _matching(r"(?!(web|release)$)[-\w]{1,128}"),
    "a Heroku process type (letters, digits, - and _) other than 'web' and 'release'",
)
QUEUES = Kind(_queues, "a list of queue names, such as ['pdf']")
