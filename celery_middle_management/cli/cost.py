"""What the workers cost, in words: for ``mm status`` and ``mm log --cost``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

UNKNOWN = "price unknown"


def cost_line(money: Mapping[str, Any], now: datetime) -> str:
    """Return the cost of today and of this month, against max_workers always on.

    If the bill began later than that, say since when.
    """
    since, unit = datetime.fromisoformat(money["since"]), _unit(money)
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    shown = []
    if since <= today:
        shown.append(_spent(money, "today", unit, " today"))
    month = " this month" if since <= today.replace(day=1) else f" since {_moment(since, today)}"
    shown.append(_spent(money, "month", unit, month))
    saved = money["saved"]
    if saved is not None:
        always = _spent(money, "always_on", unit)
        change = f"{abs(saved):.0%} {'less' if saved >= 0 else 'more'}"
        of_hours = money["priced"] and money["always_on"]["dollars"] is None
        change += " worker time" if of_hours else ""
        shown.append(f"{change} than with max_workers always on, {always}")
    return "; ".join(shown)


def _moment(since: datetime, today: datetime) -> str:
    return f"{since:%H:%M} UTC" if since >= today else f"{since.day} {since:%B}"


def _unit(money: Mapping[str, Any]) -> str:
    return "dyno-hours" if money["priced"] else "worker-hours"


def day_line(cost: Mapping[str, Any], *, priced: bool) -> str:
    """Return the line of a pool's day."""
    unit = _unit({"priced": priced})
    dollars = _dollars(cost["dollars"]) if cost["dollars"] is not None else UNKNOWN
    parts = [cost["day"], cost["pool"], f"{_hours(cost['hours'])} {unit}", *[dollars] * priced]
    return "  ".join(parts)


def _spent(money: Mapping[str, Any], when: str, unit: str, words: str = "") -> str:
    cost = money[when]
    hours = f"{_hours(cost['hours'])} {unit}"
    if not money["priced"]:
        return f"{hours}{words}"
    dollars = UNKNOWN if cost["dollars"] is None else _dollars(cost["dollars"])
    return f"{dollars}{words} ({hours})"


def _hours(number: float) -> str:
    return f"{number:,.1f}" if number >= 1 else f"{number:.2f}"


def _dollars(amount: float) -> str:
    """Return an amount to the cent; what is less than half a cent is not shown as nothing."""
    return "< $0.01" if 0 < amount < 0.005 else f"${amount:,.2f}"
