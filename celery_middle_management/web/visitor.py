"""The person who looks at the page, as the web app around it knows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from reprlib import repr as short
from typing import Any

from celery_middle_management.core.person import recorded_name

Environ = Mapping[str, Any]


@dataclass(frozen=True)
class Visitor:
    """A person who may see the page.

    Raises:
        TypeError: *name* is no text, or *may_act* neither True nor False: a method that was not
            called, say, must not count as a yes.
    """

    #: Recorded with what the person does: an address, a user name.
    name: str
    #: Whether the buttons work for this person, if ``middle_management_web_actions`` is on.
    may_act: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise TypeError(f"name is {short(self.name)}; allowed: a text")
        if not isinstance(self.may_act, bool):
            raise TypeError(f"may_act is {short(self.may_act)}; allowed: True or False")


#: Finds the visitor of a request; None: it is shown nothing.
FindVisitor = Callable[[dict[str, Any]], Visitor | None]


def name_of(visitor: Visitor) -> str:
    """Return the name for the history."""
    return recorded_name(visitor.name, "a visitor of the page")
