"""What the page reads of a ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypedDict

from celery_middle_management.core.history import Sample
from celery_middle_management.ledger.codec import unpack_samples
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
    #: Worker time, as :mod:`.accounts` reads it.
    bill: Mapping[str, str] = field(default_factory=dict)
    #: A sentence that says what the ledger's server has run out of; empty if nothing.
    full: str = ""


#: The streams that the page reads, in the order of ``page.lua``, and how many entries of each.
STREAMS = {"samples": MINUTES, "tens": MOST_TENS, "actions": HISTORY}


class Tail(NamedTuple):
    """The latest entries of a stream that a process has read, the latest first."""

    #: The id of the latest one in Redis; empty if there is none.
    last: str = ""
    entries: tuple[Any, ...] = ()


class _Page(TypedDict):
    lengths: dict[str, int]
    known: dict[str, str]


class PageMessage(_Page, Bounds, total=False):
    """The request of the page: what to read, and what it knows already. See ``page.lua``."""


def page_message(known: Mapping[str, Tail]) -> PageMessage:
    """Return the message that reads the page, for a process that has read these streams."""
    last = {stream: tail.last for stream, tail in known.items() if tail.last}
    return {"lengths": STREAMS, "known": last}


def tails_of(answer: Sequence[Any], known: Mapping[str, Tail]) -> dict[str, Tail]:
    """Return the streams in an *answer* to the message for *known* ones."""
    tails = {}
    for (stream, most), (last, goes_on, text) in zip(STREAMS.items(), answer, strict=True):
        lines = text.split("\n") if text else ()
        new = tuple(lines) if stream == "actions" else unpack_samples(lines)
        before = known[stream].entries if goes_on else ()
        tails[stream] = Tail(last, (*new, *before)[:most])
    return tails
