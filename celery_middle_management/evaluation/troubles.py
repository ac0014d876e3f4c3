"""What goes wrong in the course of an evaluation, and what is written down of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace

from celery_middle_management.core.fleet import BOOT_GRACE
from celery_middle_management.core.pool_state import PoolState, Refusal
from celery_middle_management.core.trouble import Told, Trouble, renewed, retold
from celery_middle_management.evaluation.deafness import DEAF
from celery_middle_management.evaluation.ports import Warn
from celery_middle_management.ledger.codec import (
    pack_told,
    pack_troubles,
    unpack_told,
    unpack_troubles,
)
from celery_middle_management.ledger.model import Changes, Snapshot

#: What is to be known of a worker that the platform says is up, and that is not heard of.
UNHEARD = (
    "nothing is heard of it: it counts as at work and is not fired. Does it reach the ledger's "
    "Redis, and has it this package?"
)
#: What to do where the broker, or a queue, cannot be read.
BROKER = ". See that it is up, and that its user may read the queues"


class Troubles:
    """Those that the ledger knows, and those that are met now.

    What is written of them is part of the evaluation's last commit, all or nothing.
    """

    def __init__(self, snapshot: Snapshot, changes: Changes, warn: Warn) -> None:
        self._snapshot = snapshot
        self._changes = changes
        self._warn = warn
        self._known = unpack_troubles(snapshot.state.get("trouble"))
        self._told = unpack_told(snapshot.state.get("told"))
        self._met: dict[str, Trouble] = {}
        self._tried: set[str] = set()

    def __contains__(self, kind: str) -> bool:
        """Whether it was known before."""
        return kind in self._known

    def tried(self, *what: str) -> None:
        """What is not met in these from now on is over."""
        self._tried.update(what)

    def meet(self, kind: str, what: str, like: Trouble | None = None) -> None:
        """The first word of its *kind* is what was tried. *like* says whose it is, and when."""
        self._warn(kind, "%s", f"pool {like.pool}: {what}" if like else what)
        self._met[kind] = replace(like, what=what) if like else Trouble(what, self._snapshot.now)

    def refused(self, pool: str, refusal: Refusal) -> None:
        """The platform does not do, for this *pool*, what is needed."""
        kind = f"refused {pool}"
        self._met[kind] = Trouble(refusal.why, refusal.at, pool)
        if refusal.at >= self._snapshot.now:
            self._warn(kind, "pool %s: %s", pool, refusal.why)

    def write(self, pools: Iterable[PoolState]) -> None:
        """Write down what is wrong now, and into the history what has begun or is over."""
        troubles = renewed(self._known, self._met, self._tried)
        if troubles != self._known:
            self._put("trouble", pack_troubles(troubles) if troubles else None)
        told, turns = retold(self._told, troubles | _workers(pools), self._snapshot.now)
        if told != self._told:
            self._put("told", pack_told(told) if told else None)
        self._changes.history += [self._entry(kind, turn) for kind, turn in turns.items()]

    def _put(self, name: str, document: str | None) -> None:
        if document is None:
            self._changes.unset[name] = None
        else:
            self._changes.set[name] = document

    def _entry(self, kind: str, told: Told) -> str:
        now = self._snapshot.now
        over = {"lasted": round(now - told.since, 1)} if told.over else {}
        return json.dumps(
            {
                "pool": told.pool,
                "at": self._snapshot.iso(now),
                "action": "trouble over" if told.over else "trouble",
                "kind": kind,
                "reason": told.what,
                "since": self._snapshot.iso(told.since),
                **over,
            }
        )


def _workers(pools: Iterable[PoolState]) -> dict[str, Trouble]:
    """Trouble with single workers, which the ledger has elsewhere."""
    found = {}
    for state in pools:
        for name, since in state.deaf.items():
            found[f"deaf {name}"] = Trouble(f"{name} {DEAF}", since, state.pool.name)
        for name, since in state.missed.items():
            if state.now - since >= BOOT_GRACE:
                what = f"{name} is up, and {UNHEARD}"
                found[f"missed {name}"] = Trouble(what, since, state.pool.name)
    return found
