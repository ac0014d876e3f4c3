"""The person who looks at the page, as the web app around it knows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

#: The longest name that is recorded.
LONGEST_NAME = 80

Environ = Mapping[str, Any]


class Visitor(NamedTuple):
    """A person who may see the page."""

    #: Recorded with what the person does: an address, a user name.
    name: str
    #: Whether the buttons work for this person, if ``middle_management_web_actions`` is on.
    may_act: bool = False


#: Finds the visitor of a request; None: it is shown nothing.
FindVisitor = Callable[[dict[str, Any]], Visitor | None]


def recorded_name(visitor: Visitor) -> str:
    """The name for the history: short, on one line, and without control characters."""
    seen = "".join(c if c.isprintable() else " " for c in str(visitor.name))
    return " ".join(seen.split())[:LONGEST_NAME] or "a visitor of the page"
