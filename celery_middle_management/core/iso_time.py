"""Times as people and other programs read them."""

from __future__ import annotations

from datetime import datetime, timezone


def iso(at: float) -> str:
    """Return a Unix time (s) in ISO format."""
    return datetime.fromtimestamp(at, timezone.utc).isoformat(timespec="milliseconds")
