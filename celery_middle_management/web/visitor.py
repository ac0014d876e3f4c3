"""The person who looks at the page, as the web app around it knows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from celery_middle_management.core.person import recorded_name

Environ = Mapping[str, Any]


class Visitor(NamedTuple):
    """A person who may see the page."""

    #: Recorded with what the person does: an address, a user name.
    name: str
    #: Whether the buttons work for this person, if ``middle_management_web_actions`` is on.
    may_act: bool = False


#: Finds the visitor of a request; None: it is shown nothing.
FindVisitor = Callable[[dict[str, Any]], Visitor | None]


def name_of(visitor: Visitor) -> str:
    """Return the name for the history."""
    return recorded_name(str(visitor.name), "a visitor of the page")
