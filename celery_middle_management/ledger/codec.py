"""The JSON documents in the ledger: the name and the format of every field.

Two releases can run side by side. So a release ignores fields that it does not know, and has a
default for each missing field: a field can be added, but must never change its meaning.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, fields
from functools import cache, lru_cache
from typing import Any, TypeVar

from celery_middle_management.core.cordon import Cordon
from celery_middle_management.core.deafness import Suspicion
from celery_middle_management.core.demand import Count, Held
from celery_middle_management.core.history import MINUTE, Sample, Totals
from celery_middle_management.core.intents import ManualRequest, Pause
from celery_middle_management.core.pace import Arrivals, Pace, Seen
from celery_middle_management.core.presence import Presence, Run
from celery_middle_management.core.roster import Roster, RosterEntry
from celery_middle_management.core.trouble import Told, Trouble

Document = Mapping[str, Any]
T = TypeVar("T")
Intent = TypeVar("Intent", Pause, ManualRequest)
_HELD, _RUN = len(Held._fields), len(Run._fields)
_json = json.JSONEncoder(separators=(",", ":")).encode


def filled(kind: type[T], document: Document) -> T:
    """Return a dataclass filled from *document*, ignoring fields that the class lacks."""
    known = _names(kind)  # type: ignore[arg-type]
    return kind(**{name: value for name, value in document.items() if name in known})


@cache
def _names(kind: Any) -> frozenset[str]:
    return frozenset(field.name for field in fields(kind))


def pack_cordon(cordon: Cordon) -> str:
    """Return a cordon as a JSON document."""
    return _json({**vars(cordon), "names": sorted(cordon.names)})


# A worker receives the same document every second.
@lru_cache(maxsize=100)
def unpack_cordon(document: str | None) -> Cordon:
    """Return the cordon in a document, or an empty one if there is no document."""
    told = json.loads(document) if document else {}
    return filled(Cordon, {**told, "names": frozenset(told.get("names", ()))})


def pack_pace(pace: Pace) -> str:
    """Return a pace as a JSON document."""
    return _json(vars(pace))


def unpack_pace(document: Document) -> Pace:
    """Return the pace in a document, or one of which nothing is known."""
    seen, sums = document.get("seen"), ("short", "long")
    told = {**document, **{name: Arrivals(*document[name]) for name in sums if name in document}}
    return filled(Pace, {**told, "seen": Seen(*seen[: len(Seen._fields)]) if seen else None})


def pack_roster(roster: Roster) -> str:
    """Return a roster as a JSON document."""
    members = {key: vars(member) for key, member in roster.members.items()}
    return _json({**vars(roster), "members": members})


def unpack_roster(told: Document) -> Roster:
    """Return the roster in a document, or an empty one if the document is empty."""
    if not told:
        return Roster()
    members = told.get("members", {})
    missing = {"at": 0.0}
    return filled(
        Roster,
        {**told, "members": {k: filled(RosterEntry, missing | m) for k, m in members.items()}},
    )


def cordon_field(presence: Presence) -> str:
    """Return the name of the field that holds the cordon that a worker must obey."""
    # One-off dynos have a separate cordon: workers that it names must leave.
    return f"{presence.pool or ''}/{'leave' if presence.hire else 'cordon'}"


def pack_count(count: Count, drift: int) -> str:
    """Return a count, and how far off dead reckoning was, as a JSON document."""
    parked_is_apart = {n: v for n, v in vars(count).items() if n != "parked"}
    return json.dumps({**parked_is_apart, "drift": drift})


def unpack_count(told: Document) -> Count | None:
    """Return the count in a document; None for an empty document."""
    missing = {"at": 0.0, "waiting": 0, "running": 0, "scheduled": 0}
    return filled(Count, {**missing, **told}) if told else None


#: Fields of a presence that have no default in its class, and their values if a document lacks
#: them.
_ABSENT: dict[str, Any] = {
    "pool": None,
    "since": 0.0,
    "wrong": {},
    "held": {},
    "due": {},
    "recent": {},
}
#: Fields that a document omits if they have their default value. The first releases know none of
#: these, and need all the others.
_LEFT_OUT = {"idle", "release", "settings", "wrong", "hire", "inactive", "runs", "slots", "elapsed"}
_PLAIN = Presence("", "", None, 0.0, 0.0)
_FIELDS = frozenset(vars(_PLAIN))


def pack_presence(presence: Presence) -> str:
    """Return a presence as a JSON document, without its id and its time of receipt."""
    told = {
        name: value
        for name, value in vars(presence).items()
        if name not in ("id", "seen") and not (name in _LEFT_OUT and value == getattr(_PLAIN, name))
    }
    return _json(told)


def unpack_presences(told: Mapping[str, str]) -> tuple[Presence, ...]:
    """Return the presences in *told*: by id, the time (ms) of receipt and the document."""
    # Decoding thousands of documents in one go takes half the time.
    split = [text.partition(" ") for text in told.values()]
    documents = json.loads(f"[{','.join([document for _, _, document in split])}]")
    return tuple(
        [
            unpack_presence(document, id, float(seen) / 1000)
            for id, (seen, _, _), document in zip(told, split, documents, strict=True)
        ]
    )


def unpack_presence(told: dict[str, Any], id: str, seen: float) -> Presence:
    """Return the presence that a document describes; the document becomes part of it."""
    # The document becomes the presence's __dict__, and the class supplies the defaults: this takes
    # half the time of the frozen class's own __init__.
    if not _FIELDS.issuperset(told):  # a later release knows more
        told = {name: value for name, value in told.items() if name in _FIELDS}
    for name, value in _ABSENT.items():
        told.setdefault(name, value)
    told["id"], told["seen"] = id, seen
    if "queues" in told:
        told["queues"] = tuple(told["queues"])
    if told["held"]:
        told["held"] = {q: Held(*h[:_HELD]) for q, h in told["held"].items()}
    if told["due"]:
        told["due"] = _buckets(told["due"])
    if told["recent"]:
        told["recent"] = _buckets(told["recent"])
    if "runs" in told:
        told["runs"] = tuple([Run(*run[:_RUN]) for run in told["runs"]])
    presence = object.__new__(Presence)
    object.__setattr__(presence, "__dict__", told)
    return presence


def unpack_samples(texts: Iterable[str]) -> tuple[Sample, ...]:
    """Return samples of the counters as ``report_samples.lua`` packs them."""
    # Decoding a thousand documents in one go takes half the time.
    told = json.loads(f"[{','.join(texts)}]")
    known = len(Totals._fields)
    return tuple(
        [
            Sample(
                minute * MINUTE,
                # Lua packs an empty table as a list.
                {pool: Totals(*totals[:known]) for pool, totals in dict(pools).items()},
            )
            for minute, pools in told
        ]
    )


def pack_troubles(troubles: Mapping[str, Trouble]) -> str:
    """Return troubles as a JSON document."""
    return _json({kind: vars(trouble) for kind, trouble in troubles.items()})


def unpack_troubles(document: str | None) -> dict[str, Trouble]:
    """Return the troubles in a document, or none if there is no document."""
    told = json.loads(document) if document else {}
    missing = {"what": "", "since": 0.0}
    return {kind: filled(Trouble, missing | trouble) for kind, trouble in told.items()}


def pack_told(told: Mapping[str, Told]) -> str:
    """Return, as a JSON document, the troubles that the history mentions."""
    return _json({kind: vars(one) for kind, one in told.items()})


def unpack_told(document: str | None) -> dict[str, Told]:
    """Return the troubles that the history mentions, or none if there is no document."""
    told = json.loads(document) if document else {}
    missing = {"what": "", "since": 0.0}
    return {kind: filled(Told, missing | one) for kind, one in told.items()}


def pack_suspicions(suspicions: Mapping[str, Suspicion]) -> str:
    """Return suspicions as a JSON document."""
    return _json({identity: vars(suspicion) for identity, suspicion in suspicions.items()})


def unpack_suspicions(document: str | None) -> dict[str, Suspicion]:
    """Return the suspicions in a document, or none if there is no document."""
    told = json.loads(document) if document else {}
    return {identity: filled(Suspicion, suspicion) for identity, suspicion in told.items()}


def unpack_pause(document: str | None, now: float) -> Pause | None:
    """Return the pause in a document, or what is left of it *now*."""
    pause = _chain(Pause, json.loads(document)) if document else None
    while pause is not None and pause.ends <= now:
        pause = pause.then
    return pause


def unpack_request(document: str | None, now: float) -> ManualRequest | None:
    """Return the request in a document, or what is left of it *now*."""
    request = _chain(ManualRequest, json.loads(document)) if document else None
    while request is not None and request.until <= now:
        request = request.then
    return request


def pack_intent(intent: Pause | ManualRequest) -> str:
    """Return a pause or a request as a JSON document."""
    return _json(asdict(intent))


def _chain(kind: Callable[..., Intent], told: Document) -> Intent:
    """Return a pause or a request, and what holds when it ends."""
    missing = {"until": 0.0} if kind is ManualRequest else {}
    then = told.get("then")
    return filled(kind, {**missing, **told, "then": _chain(kind, then) if then else None})  # type: ignore[arg-type]


def _buckets(told: Mapping[str, Mapping[str, int]]) -> dict[str, dict[int, int]]:
    return {q: {int(bucket): n for bucket, n in due.items()} for q, due in told.items()}


def by_pool(due: Mapping[str, str | int]) -> dict[str, dict[int, int]]:
    """Return scheduled tasks by pool and bucket; *due* has them by ``<pool>/<bucket>``."""
    buckets: dict[str, dict[int, int]] = {}
    for name, tasks in due.items():
        pool, _, bucket = name.rpartition("/")
        buckets.setdefault(pool, {})[int(bucket)] = int(tasks)
    return buckets
