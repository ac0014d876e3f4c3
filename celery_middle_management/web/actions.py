"""What a person asks for on the page: read, checked, and written into the ledger."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from celery_middle_management.core.pools import Pool, pool_named
from celery_middle_management.ledger.manual_scaling import NotDone, ask_for, pause, resume
from celery_middle_management.managed_app import ManagedApp

Entry = dict[str, Any]
Body = Mapping[str, Any]

#: The longest request body (bytes).
MOST_BYTES = 4096
#: What a person may ask for at most: so many workers more or fewer, for so long (s), a year. What
#: is done stays within the pool's limits in any case.
MOST_WORKERS, LONGEST = 1000, 366 * 86400
#: A hire or fire by hand lasts this long (s) unless it says otherwise, as on the command line.
_FOR = 600
#: What the page names a request by. Nothing else in the history looks like this.
_ID = re.compile(r"[0-9a-f]{32}")


class BadInput(ValueError):
    """The request makes no sense; the message says what was given and what is allowed."""


def read_body(raw: bytes) -> Body:
    """Read the JSON object of a request.

    Raises:
        BadInput: it is none.
    """
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise BadInput("the request's body is not a JSON object")
    return body


def _pause(managed: ManagedApp, body: Body, who: str) -> Entry:
    given = {what: _bool(body, what) for what in ("hires", "fires")}
    if not any(given.values()):
        raise BadInput("neither 'hires' nor 'fires' is true; allowed: one of them, or both")
    lasts = _lasts(body, None)
    id = _id(managed, body, "pause", given, lasts)
    return pause(managed.ledger(), who, **given, lasts=lasts, id=id)


def _resume(managed: ManagedApp, body: Body, who: str) -> Entry:
    id = _id(managed, body, "resume")
    return resume(managed.settings, managed.ledger(), who, id=id)


def _hire(managed: ManagedApp, body: Body, who: str) -> Entry:
    return _change(managed, body, who, 1)


def _fire(managed: ManagedApp, body: Body, who: str) -> Entry:
    return _change(managed, body, who, -1)


#: What the page's addresses do.
ACTIONS: Mapping[str, Callable[[ManagedApp, Body, str], Entry]] = {
    "pause": _pause,
    "resume": _resume,
    "hire": _hire,
    "fire": _fire,
}


def _change(managed: ManagedApp, body: Body, who: str, sign: int) -> Entry:
    pool, number = _pool(managed, body), body.get("number")
    if type(number) is not int or not 1 <= number <= MOST_WORKERS:
        raise BadInput(
            f"'number' is {_told(number)}; allowed: a whole number from 1 to {MOST_WORKERS}"
        )
    lasts = _lasts(body, _FOR) or _FOR
    id = _id(managed, body, "ask", pool.name, sign * number, lasts)
    return ask_for(managed.ledger(), pool, sign * number, who, lasts, id=id)


def _pool(managed: ManagedApp, body: Body) -> Pool:
    name = body.get("pool")
    pool = pool_named(managed.settings.pools, name)
    if pool is None:
        allowed = ", ".join(repr(pool.name) for pool in managed.settings.pools)
        raise BadInput(f"there is no pool {_told(name)}; allowed: {allowed}")
    return pool


def _bool(body: Body, what: str) -> bool:
    value = body.get(what, True)
    if not isinstance(value, bool):
        raise BadInput(f"{what!r} is {_told(value)}; allowed: true or false")
    return value


def _lasts(body: Body, default: float | None) -> float | None:
    value = body.get("for", default)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 1 <= value <= LONGEST:
        raise BadInput(f"'for' is {_told(value)}; allowed: seconds, from 1 to {LONGEST}")
    return float(value)


def _id(managed: ManagedApp, body: Body, *request: Any) -> str | None:
    """Return the id of the request for the history; None if the body has none.

    With it, the request can be sent again, and is done once. It ends with a digest of the request,
    by which another one with the same id is found out.

    Raises:
        BadInput: it is no id.
        NotDone: another request had it.
    """
    given = body.get("id")
    if given is None:
        return None
    if not (isinstance(given, str) and _ID.fullmatch(given)):
        raise BadInput(f"'id' is {_told(given)}; allowed: 32 of the characters 0-9 and a-f")
    id = f"{given}-{hashlib.sha256(json.dumps(request).encode()).hexdigest()[:16]}"
    written = [json.loads(entry) for entry in managed.ledger().actions() if given in entry]
    others = {entry.get("id", "") for entry in written} - {id}
    if given in others:  # the release before this one wrote it
        return given
    if any(other.startswith(given) for other in others):
        raise NotDone("nothing was done, because another request was sent with the same id")
    return id


def _told(value: Any) -> str:
    """Return *value* as JSON, shortened."""
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
