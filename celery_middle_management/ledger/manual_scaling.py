"""Requests made by hand, which the ledger keeps as an input to every evaluation."""

from __future__ import annotations

import getpass
import json
import socket
from typing import Any

from celery_middle_management.core.intents import ManualRequest, Pause
from celery_middle_management.core.pools import Pool
from celery_middle_management.ledger.codec import pack_intent
from celery_middle_management.ledger.ledger import Ledger
from celery_middle_management.ledger.model import Snapshot
from celery_middle_management.ledger.pool import read_pool
from celery_middle_management.settings.model import Settings


class NotDone(Exception):
    """A request cannot be fulfilled, and nothing was changed."""


def pause(
    ledger: Ledger, who: str, *, hires: bool, fires: bool, lasts: float | None
) -> dict[str, Any]:
    """Stop hiring, firing, or both in all pools for *lasts* seconds, or until :func:`resume`.

    Returns the history entry.
    """
    snapshot = ledger.snapshot()
    until = None if lasts is None else snapshot.now + lasts
    asked = Pause(hires, fires, until, who, snapshot.now)
    entry = _entry(snapshot, "pause", who, hires=hires, fires=fires, until=snapshot.iso(until))
    ledger.intend({"pause": pack_intent(asked)}, json.dumps(entry))
    return entry


def resume(settings: Settings, ledger: Ledger, who: str) -> dict[str, Any]:
    """End every pause and every request by hand. Returns the history entry."""
    requests = dict.fromkeys(f"{pool.name}/wish" for pool in settings.pools)
    entry = _entry(ledger.snapshot(), "resume", who)
    ledger.intend({"pause": None, **requests}, json.dumps(entry))
    return entry


def ask_for(ledger: Ledger, pool: Pool, more: int, who: str, lasts: float) -> dict[str, Any]:
    """Ask for this many *more* workers than now (< 0: fewer), for *lasts* seconds.

    Returns the history entry.

    Raises:
        NotDone: the pool's limit is reached, or its number of workers is not known.
    """
    snapshot = ledger.snapshot()
    quantity = read_pool(snapshot, pool).quantity
    if quantity is None:
        raise NotDone(
            f"it is not known yet how many workers {pool.name} has. Publish a task, or let "
            "`celery mm run` run for some seconds, and try again"
        )
    to = min(max(quantity + more, pool.min_workers), pool.max_workers)
    limit = (
        f"max_workers is {pool.max_workers}" if more > 0 else f"min_workers is {pool.min_workers}"
    )
    if (to - quantity) * more <= 0:
        there = f"{quantity} worker{'' if quantity == 1 else 's'}"
        raise NotDone(f"{pool.name} has {there}, and its {limit}")
    until = snapshot.now + lasts
    bounds = {"least": to} if more > 0 else {"most": to}
    action = "ask to hire" if more > 0 else "ask to fire"
    told = {"pool": pool.name, "from": quantity, "to": to, "until": snapshot.iso(until)}
    if to != quantity + more:
        told["reason"] = f"not {quantity + more}: {limit}"
    entry = _entry(snapshot, action, who, **told)
    request = ManualRequest(until=until, who=who, **bounds)
    ledger.intend({f"{pool.name}/wish": pack_intent(request)}, json.dumps(entry))
    return entry


def me() -> str:
    """Return who makes the request, as user@host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # no such user on this system
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


def _entry(snapshot: Snapshot, action: str, who: str, **told: Any) -> dict[str, Any]:
    at = snapshot.iso(snapshot.now)
    return {"pool": None, "at": at, "action": action, **told, "by": who}
