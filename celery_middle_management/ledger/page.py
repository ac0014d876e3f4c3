"""What the page reads of a ledger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from celery_middle_management.core.history import Sample
from celery_middle_management.ledger.messages import Bounds
from celery_middle_management.ledger.model import HISTORY, MOST_TENS, Snapshot

#: How many samples of single minutes are read: an hour's, and one to know how the hour began.
MINUTES = 61


@dataclass(frozen=True)
class Page:
    """Everything that the page shows, read at the moment of the *snapshot*."""

    snapshot: Snapshot
    #: The last :data:`MINUTES` samples, the latest first.
    minutes: tuple[Sample, ...]
    #: Samples that each sum up ten minutes, the latest first.
    tens: tuple[Sample, ...]
    #: The history, packed, the latest first.
    actions: tuple[str, ...]
    #: A sentence that says what the ledger's server has run out of; empty if nothing.
    full: str = ""


class _Page(TypedDict):
    minutes: int
    tens: int
    actions: int


class PageMessage(_Page, Bounds, total=False):
    """How much the page reads. See ``page.lua``."""


def page_message() -> PageMessage:
    """Return the message that reads the page."""
    return {"minutes": MINUTES, "tens": MOST_TENS, "actions": HISTORY}
