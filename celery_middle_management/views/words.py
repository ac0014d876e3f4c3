"""Numbers and times in words."""

from __future__ import annotations

from datetime import datetime


def span(seconds: float) -> str:
    """A duration: ``12 s``, ``3 min``, ``2 h``, ``5 days``."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit}"
    return f"{seconds:.0f} s"


def plural(number: int, one: str, more: str) -> str:
    """The *number* and the words after it: ``1 task waits``, ``2,000 tasks wait``."""
    return f"{number:,} {one if number == 1 else more}"


def ago(at: str, now: datetime) -> str:
    """How long before or after *now* a time (ISO 8601) is: ``5 s ago``, ``in 5 s``."""
    seconds = (now - datetime.fromisoformat(at)).total_seconds()
    return f"{span(seconds)} ago" if seconds >= 0 else f"in {span(-seconds)}"
