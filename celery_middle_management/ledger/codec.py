"""The documents in the ledger: the name and the form of every field.

Two releases live side by side: what a document has that we do not know is left alone, and what it
lacks has a default. So a field may be added, and none may change its meaning.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from celery_middle_management.core.cordon import Cordon
from celery_middle_management.core.demand import Count, Held
from celery_middle_management.core.presence import Presence

Document = Mapping[str, Any]
T = TypeVar("T")


def filled(kind: type[T], document: Document) -> T:
    """A dataclass with those of its fields that *document* has."""
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in document.items() if name in known})


def pack_cordon(cordon: Cordon) -> str:
    """As a JSON document."""
    return _json({**vars(cordon), "names": sorted(cordon.names)})


def unpack_cordon(document: str | None) -> Cordon:
    """What was packed; without a document no cordon."""
    told = json.loads(document) if document else {}
    return filled(Cordon, {**told, "names": frozenset(told.get("names", ()))})


def pack_count(count: Count, drift: int) -> str:
    """A count, and by how much the reckoning was off, as a JSON document."""
    parked_is_apart = {n: v for n, v in vars(count).items() if n != "parked"}
    return json.dumps({**parked_is_apart, "drift": drift})


def unpack_count(told: Document) -> Count | None:
    """What was packed, if anything was."""
    missing = {"at": 0.0, "waiting": 0, "running": 0, "scheduled": 0}
    return filled(Count, missing | dict(told)) if told else None


def pack_presence(presence: Presence) -> str:
    """As a JSON document; who says it, and when it was heard, is not in it."""
    told = {n: v for n, v in vars(presence).items() if n not in ("id", "seen")}
    return _json(told)


def unpack_presence(told: Document, id: str, seen: float) -> Presence:
    """What was packed, and is read."""
    return Presence(
        id=id,
        name=told["name"],
        pool=told.get("pool"),
        since=told.get("since", 0.0),
        seen=seen,
        stopped=told.get("stopped", 0.0),
        closing=told.get("closing", False),
        full=told.get("full", False),
        busy=told.get("busy", 0),
        returning=told.get("returning", 0),
        queues=tuple(told.get("queues", ())),
        held={q: Held(*h[: len(Held._fields)]) for q, h in told.get("held", {}).items()},
        due=_buckets(told.get("due", {})),
        recent=_buckets(told.get("recent", {})),
    )


def _buckets(told: Mapping[str, Mapping[str, int]]) -> dict[str, dict[int, int]]:
    return {q: {int(bucket): n for bucket, n in due.items()} for q, due in told.items()}


def _json(document: Document) -> str:
    return json.dumps(document, separators=(",", ":"))
