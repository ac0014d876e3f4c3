"""What people do by hand: it is written into the ledger, where every evaluation heeds it."""

from __future__ import annotations

import getpass
import json
import socket
from typing import Any

from celery_middle_management.core.intents import Pause, Wish
from celery_middle_management.core.pools import Pool
from celery_middle_management.ledger.codec import pack_intent
from celery_middle_management.ledger.ledger import Ledger
from celery_middle_management.ledger.model import Snapshot
from celery_middle_management.ledger.pool import read_pool
from celery_middle_management.settings.model import Settings


class NotDone(Exception):
    """What was asked for cannot be done, and nothing was changed."""


def pause(
    ledger: Ledger, who: str, *, hires: bool, fires: bool, lasts: float | None
) -> dict[str, Any]:
    """Hire, or fire, nobody of any pool for *lasts* seconds; None: until :func:`resume`.

    Returns what is written into the history.
    """
    snapshot = ledger.snapshot()
    until = None if lasts is None else snapshot.now + lasts
    asked = Pause(hires, fires, until, who, snapshot.now)
    entry = _entry(snapshot, "pause", who, hires=hires, fires=fires, until=snapshot.iso(until))
    ledger.intend({"pause": pack_intent(asked)}, json.dumps(entry))
    return entry


def resume(settings: Settings, ledger: Ledger, who: str) -> dict[str, Any]:
    """Take back every pause, and whatever was hired or fired by hand."""
    wishes = dict.fromkeys(f"{pool.name}/wish" for pool in settings.pools)
    entry = _entry(ledger.snapshot(), "resume", who)
    ledger.intend({"pause": None, **wishes}, json.dumps(entry))
    return entry


def ask_for(ledger: Ledger, pool: Pool, more: int, who: str, lasts: float) -> dict[str, Any]:
    """So many workers *more* than there are, or less, for *lasts* seconds, within the limits.

    Raises:
        NotDone: the limit is reached, or it is not known how many there are.
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
    wish = Wish(until=until, who=who, **bounds)
    ledger.intend({f"{pool.name}/wish": pack_intent(wish)}, json.dumps(entry))
    return entry


def me() -> str:
    """Who asks: user@host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # no such user on this system
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


def _entry(snapshot: Snapshot, action: str, who: str, **told: Any) -> dict[str, Any]:
    at = snapshot.iso(snapshot.now)
    return {"pool": None, "at": at, "action": action, **told, "by": who}
