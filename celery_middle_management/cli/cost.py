"""What the workers cost, in words: for ``mm status`` and ``mm log --cost``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

UNKNOWN = "price unknown"


def cost_line(money: Mapping[str, Any]) -> str:
    """Return the cost of today and of this month, against max_workers always on."""
    unit = "dyno-hours" if money["priced"] else "worker-hours"
    shown = [
        _spent(money, "today", unit, " today"),
        _spent(money, "month", unit, " this month"),
    ]
    saved = money["saved"]
    if saved is not None:
        always = _spent(money, "always_on", unit)
        change = f"{abs(saved):.0%} {'less' if saved >= 0 else 'more'}"
        shown.append(f"{change} than with max_workers always on, {always}")
    return "; ".join(shown)


def day_line(cost: Mapping[str, Any], *, priced: bool) -> str:
    """Return the line of a pool's day."""
    unit = "dyno-hours" if priced else "worker-hours"
    dollars = _dollars(cost["dollars"]) if cost["dollars"] is not None else UNKNOWN
    parts = [cost["day"], cost["pool"], f"{cost['hours']:.1f} {unit}", *[dollars] * priced]
    return "  ".join(parts)


def _spent(money: Mapping[str, Any], when: str, unit: str, words: str = "") -> str:
    cost = money[when]
    hours = f"{cost['hours']:,.1f} {unit}"
    if not money["priced"]:
        return f"{hours}{words}"
    dollars = UNKNOWN if cost["dollars"] is None else _dollars(cost["dollars"])
    return f"{dollars}{words} ({hours})"


def _dollars(amount: float) -> str:
    """Return an amount to the cent; what is less than half a cent is not shown as nothing."""
    return "< $0.01" if 0 < amount < 0.005 else f"${amount:,.2f}"
