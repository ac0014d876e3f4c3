"""The name of a person, as it is recorded."""

from __future__ import annotations

#: Longer names are cut.
LONGEST_NAME = 80


def recorded_name(name: str, otherwise: str = "unknown") -> str:
    """Return *name* on one short line, without control characters; *otherwise* if it is empty."""
    printable = "".join(char if char.isprintable() else " " for char in name)
    return " ".join(printable.split())[:LONGEST_NAME] or otherwise
