"""Requests made by hand, which the ledger keeps as an input to every evaluation.

A request is written together with its entry of the history, and only if what it rests on (the
number of workers, what others have asked for) is still as it was read. Otherwise it is worked out
again: two people who act at once are served one after the other.

A request that is sent again, because no answer came, has the *id* that it had before, and is
written once.
"""

from __future__ import annotations

import getpass
import json
import secrets
import socket
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import redis

from celery_middle_management.core.intents import (
    ManualRequest,
    Pause,
    asked_after,
    both_paused,
    ended_by,
    expected,
)
from celery_middle_management.core.person import recorded_name
from celery_middle_management.core.pool_state import PoolState
from celery_middle_management.core.pools import Pool
from celery_middle_management.ledger.codec import pack_intent, unpack_pause
from celery_middle_management.ledger.ledger import Ledger
from celery_middle_management.ledger.model import Snapshot
from celery_middle_management.ledger.pool_reading import read_pool
from celery_middle_management.settings.model import Settings

#: The longest time (s) that a request may last: as long as `--for` can say in days.
LONGEST = 999_999 * 86400.0

#: Fields of the state, and their values.
Fields = dict[str, str | None]


class NotDone(Exception):
    """A request cannot be fulfilled, and nothing was changed."""


class QuantityUnknown(NotDone):
    """It is not known yet how many workers a pool has; an evaluation finds out."""


class OutcomeUnknown(redis.ConnectionError):
    """Redis did not answer: the request may have been written, or may still be."""


def pause(
    ledger: Ledger,
    who: str,
    *,
    hires: bool,
    fires: bool,
    lasts: float | None,
    id: str | None = None,
) -> dict[str, Any]:
    """Stop hiring, firing, or both in all pools for *lasts* seconds, or until :func:`resume`.

    An earlier pause goes on until its own end. Returns the history entry.

    Raises:
        ValueError: *lasts* is not a time, or neither *hires* nor *fires* is true.
        OutcomeUnknown: it is not known whether the request was written.
        redis.RedisError: Redis failed, and nothing was changed.
    """
    _check_duration(lasts)
    if not (hires or fires):
        raise ValueError("neither hires nor fires are to be paused; allowed: one of them, or both")

    def work_out(snapshot: Snapshot) -> tuple[Fields, Fields, dict[str, Any]]:
        until = None if lasts is None else snapshot.now + lasts
        asked = Pause(hires, fires, until, recorded_name(who), snapshot.now)
        earlier = unpack_pause(snapshot.state.get("pause"), snapshot.now)
        told = {"hires": hires, "fires": fires, "until": snapshot.iso(until)}
        fields: Fields = {"pause": pack_intent(both_paused(earlier, asked) or asked)}
        if earlier is not None:
            told["reason"] = _said_of(earlier, snapshot, "hires", "fires")
        return _read(snapshot, fields), fields, _entry(snapshot, "pause", who, **told)

    return _write(ledger, work_out, id)


def resume(
    settings: Settings, ledger: Ledger, who: str, *, id: str | None = None
) -> dict[str, Any]:
    """End every pause and every request by hand. Returns the history entry.

    Raises:
        OutcomeUnknown: it is not known whether the request was written.
        redis.RedisError: Redis failed, and nothing was changed.
    """

    def work_out(snapshot: Snapshot) -> tuple[Fields, Fields, dict[str, Any]]:
        ours = {f"{pool.name}/wish" for pool in settings.pools}
        # Processes of another release may have other pools.
        there = {name for name in snapshot.state if name.endswith("/wish")}
        fields: Fields = dict.fromkeys(["pause", *sorted(ours | there)])
        return _read(snapshot, fields), fields, _entry(snapshot, "resume", who)

    return _write(ledger, work_out, id)


def ask_for(
    ledger: Ledger, pool: Pool, more: int, who: str, lasts: float, *, id: str | None = None
) -> dict[str, Any]:
    """Ask for this many *more* workers than now (< 0: fewer), for *lasts* seconds.

    Workers that were asked for by hand count as there. Returns the history entry.

    Raises:
        ValueError: *lasts* is not a time, or *more* is 0.
        NotDone: the pool's limit is reached, or its number of workers is not known.
        OutcomeUnknown: it is not known whether the request was written.
        redis.RedisError: Redis failed, and nothing was changed.
    """
    _check_duration(lasts)
    if more == 0:
        raise ValueError("0 is not a number of workers; allowed: 1 and more")

    def work_out(snapshot: Snapshot) -> tuple[Fields, Fields, dict[str, Any]]:
        state = read_pool(snapshot, pool)
        before, to, reasons = _aim(state, more)
        until = snapshot.now + lasts
        least, most = (to, None) if more > 0 else (None, to)
        request = ManualRequest(until, least, most, recorded_name(who))
        fields: Fields = {f"{pool.name}/wish": pack_intent(asked_after(state.wish, request))}
        told = {"pool": pool.name, "from": before, "to": to, "until": snapshot.iso(until)}
        if ended := ended_by(state.wish, request):
            kind = "fire" if more > 0 else "hire"
            reasons.append(f"ends the {kind} of {ended[1]}, until {_time(ended[0], snapshot)}")
        what = "hires" if more > 0 else "fires"
        if state.pause is not None and state.pause.people(what):
            reasons.append(_said_of(state.pause, snapshot, what))
        if reasons:
            told["reason"] = "; ".join(reasons)
        action = "ask to hire" if more > 0 else "ask to fire"
        read = _read(snapshot, [*fields, f"{pool.name}/quantity"])
        return read, fields, _entry(snapshot, action, who, **told)

    return _write(ledger, work_out, id)


def outlook(settings: Settings) -> str:
    """Say what keeps this process from carrying out a request by itself; empty if nothing does."""
    if settings.inactive:
        return f"{settings.why_inactive}. They act on the request once they next report"
    if settings.dry_run:
        return "middle_management_dry_run is on: the request is recorded, and nothing is changed"
    return ""


def me() -> str:
    """Return who makes the request, as user@host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # no such user on this system
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


def _aim(state: PoolState, more: int) -> tuple[int, int, list[str]]:
    """Return the numbers of workers before and after a request, and why they are what they are."""
    pool, quantity = state.pool, state.quantity
    if quantity is None and state.refusal is not None:
        raise NotDone(f"it is not known how many workers {pool.name} has: {state.refusal.why}")
    if quantity is None:
        raise QuantityUnknown(
            f"it is not known yet how many workers {pool.name} has. Publish a task, or let "
            "`celery mm run` run for some seconds, and try again"
        )
    before = expected(state.wish, quantity)
    before = before if before == quantity else _within(pool, before)
    wanted = before + more
    to = _within(pool, wanted)
    there = f"{quantity} worker{'' if quantity == 1 else 's'}"
    reasons = []
    if state.wish is not None and before != quantity:
        are = "is" if quantity == 1 else "are"
        reasons.append(f"there {are} {quantity}, and {state.wish.who} has asked for {before}")
        there = f"{there}, {state.wish.who} has asked for {before}"
    limit = (
        f"max_workers is {pool.max_workers}"
        if wanted > pool.max_workers
        else f"min_workers is {pool.min_workers}"
    )
    if (to - before) * more <= 0:
        raise NotDone(f"{pool.name} has {there}, and its {limit}")
    if to != wanted:
        reasons.append(f"not {abs(more)} {'more' if more > 0 else 'fewer'}: {limit}")
    return before, to, reasons


def _within(pool: Pool, workers: int) -> int:
    return min(max(workers, pool.min_workers), pool.max_workers)


def _said_of(pause: Pause, snapshot: Snapshot, *which: str) -> str:
    """Say until when a pause stops hires, fires, or both of them, and by whom."""
    stops: dict[tuple[str, float | None], list[str]] = {}
    for stop in pause.stops:
        if stop.what in which:
            stops.setdefault((stop.by, stop.until), []).append(stop.what)
    return "; ".join(
        f"{by} {'have' if ', ' in by else 'has'} paused {' and '.join(what)} until "
        + ("`mm resume`" if until is None else _time(until, snapshot))
        for (by, until), what in stops.items()
    )


def _time(at: float, snapshot: Snapshot) -> str:
    """Return a time (Unix, s) as `mm log` shows it."""
    return f"{datetime.fromisoformat(snapshot.iso(at)):%Y-%m-%d %H:%M:%SZ}"


def _write(
    ledger: Ledger,
    work_out: Callable[[Snapshot], tuple[Fields, Fields, dict[str, Any]]],
    given: str | None,
) -> dict[str, Any]:
    """Write a request, worked out again as often as what it rests on has changed meanwhile.

    If one with the *given* id was written already, return its entry.
    """
    id = given or secrets.token_hex(8)
    while True:
        if given and (written := _written(ledger, given)):
            return written
        read, fields, entry = work_out(ledger.snapshot())
        entry["id"] = id
        try:
            if ledger.intend(read, fields, entry):
                return entry
        except (redis.ConnectionError, redis.TimeoutError) as error:
            why = str(error).rstrip(".")
            raise OutcomeUnknown(
                f"{why}. It is not known whether the request was written: `mm log` shows it if it "
                "was, or will be"
            ) from None


def _written(ledger: Ledger, id: str) -> dict[str, Any] | None:
    """Return the entry of the history with this id; None if there is none."""
    entries = (json.loads(entry) for entry in ledger.actions() if id in entry)
    return next((entry for entry in entries if entry.get("id") == id), None)


def _read(snapshot: Snapshot, names: Iterable[str]) -> Fields:
    return {name: snapshot.state.get(name) for name in names}


def _entry(snapshot: Snapshot, action: str, who: str, **told: Any) -> dict[str, Any]:
    at = snapshot.iso(snapshot.now)
    return {"pool": None, "at": at, "action": action, **told, "by": recorded_name(who)}


def _check_duration(lasts: float | None) -> None:
    if lasts is not None and not 0 < lasts <= LONGEST:
        raise ValueError(f"{lasts!r} is not a duration in seconds; allowed: more than 0")
