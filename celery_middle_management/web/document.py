"""The document of the page, read at most every two seconds however many people look.

It comes in parts, since most of it changes rarely: a page names the parts that it has.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from time import monotonic
from typing import Any, NamedTuple

from celery_middle_management import inspection
from celery_middle_management.managed_app import ManagedApp
from celery_middle_management.views.look import Look
from celery_middle_management.views.troubles import is_passing
from celery_middle_management.web.latest import Latest, Reading

Document = dict[str, Any]

#: The ledger is read at most once in this time (s), and the broker asked at most once in that.
FRESH, LOOK_EVERY = 2.0, 10.0
#: A look at the broker that is older than this (s) tells nothing any more.
LOOK_LASTS = 30.0
#: A visitor waits this long (s) at most if something is known, and if nothing is.
PATIENCE, FIRST_PATIENCE = 1.0, 5.0
#: A document waits this long (s) for a look if there is none, or one that is too old.
_LOOK_PATIENCE = 2.0


class Read(NamedTuple):
    """A document as it was read, and its parts as they are sent."""

    document: Document
    #: For each part that changes rarely, a tag of all but its last interval.
    tags: Mapping[str, str]


class PageData:
    """The data that the page of one app shows."""

    def __init__(self, managed: Callable[[], ManagedApp]) -> None:
        self._managed = managed
        self._looks = 0
        self._look: Latest[tuple[int, Look]] = Latest(self._look_now, LOOK_EVERY, "mm-page-look")
        self._latest: Latest[Read] = Latest(self._read, FRESH, "mm-page")
        self._patience = Patience()

    def get(self) -> Reading[Read]:
        """Return the latest document."""
        return self._latest.get(PATIENCE, FIRST_PATIENCE)

    def expire(self) -> None:
        """Have the next visitor get a document that is read from now on."""
        self._latest.expire()

    def _look_now(self) -> tuple[int, Look]:
        self._looks += 1
        return self._looks, inspection.look(self._managed())

    def _read(self) -> Read:
        seen = self._look.get(0.0, _LOOK_PATIENCE)
        if seen.value and seen.age >= LOOK_LASTS:
            # A page that is not seen asks as rarely as that.
            seen = self._look.get(_LOOK_PATIENCE)
        number, look = seen.value if seen.value and seen.age < LOOK_LASTS else (0, Look())
        document = inspection.page_document(self._managed(), look)
        status = document["status"]
        status["trouble"] = self._patience.shown(status["trouble"], number, monotonic())
        return Read(document, tags_of(document))


class Patience:
    """Keeps back trouble that may pass until two documents, after two looks, have it."""

    def __init__(self) -> None:
        self._first: dict[tuple[str | None, str], tuple[float, int]] = {}

    def shown(self, troubles: list[Document], look: int, now: float) -> list[Document]:
        """Return those of the *troubles* to show after the look of this number."""
        passing = [trouble for trouble in troubles if is_passing(trouble)]
        self._first = {
            key: self._first.get(key, (now, look))
            for key in ((trouble["pool"], trouble["kind"]) for trouble in passing)
        }
        return [t for t in troubles if t not in passing or self._lasts(t, look, now)]

    def _lasts(self, trouble: Document, look: int, now: float) -> bool:
        since, first_look = self._first[trouble["pool"], trouble["kind"]]
        return look > first_look and now - since >= FRESH


def sent(read: Read, has: Collection[str]) -> Document:
    """Return the document for a page that *has* parts with these tags.

    Of a span of the history that the page has, only the last interval is sent; entries of the
    history that it has are not sent at all.
    """
    document, tags = read.document, read.tags
    history = {
        name: _last(span) if tags[name] in has else span
        for name, span in document["history"].items()
    }
    events = None if tags["events"] in has else document["events"]
    return {**document, "history": history, "events": events, "tags": tags}


def tags_of(document: Document) -> dict[str, str]:
    """Tag each part that changes rarely; the last intervals, which change all the time, aside."""
    spans = {name: _tag(_without_last(span)) for name, span in document["history"].items()}
    return {**spans, "events": _tag(document["events"])}


def _tag(part: Any) -> str:
    packed = json.dumps(part, separators=(",", ":")).encode()
    return hashlib.blake2b(packed, digest_size=9).hexdigest()


def _without_last(span: Document) -> Document:
    return _rows(span, slice(None, -1))


def _last(span: Document) -> Document:
    return {**_rows(span, slice(-1, None)), "only_last": True}


def _rows(span: Document, which: slice) -> Document:
    pools = {
        pool: {name: row[which] for name, row in rows.items()}
        for pool, rows in span["pools"].items()
    }
    return {**span, "pools": pools}
