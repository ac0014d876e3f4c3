"""The troubles that an evaluation meets, and what it writes down about them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from celery_middle_management.core.fleet import BOOT_GRACE
from celery_middle_management.core.pool_state import PoolState, Refusal
from celery_middle_management.core.stuck import told_of
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

#: The message about a worker that is up and has not reported; "… is up, and" precedes it.
UNHEARD = (
    "has not reported: it is treated as busy and will not be fired. Can it reach the ledger's "
    "Redis, and is this package installed there?"
)
#: What to do if the broker, or a queue, cannot be read.
BROKER = ". Check that it is up, and that its user may read the queues"


class Troubles:
    """The troubles that the ledger knows, and the ones met now.

    They are written with the evaluation's last commit, all or nothing.
    """

    def __init__(self, snapshot: Snapshot, changes: Changes, warn: Warn) -> None:
        self._snapshot = snapshot
        self._changes = changes
        self._warn = warn
        self._known = unpack_troubles(snapshot.state.get("trouble"))
        self._met: dict[str, Trouble] = {}
        self._tried: set[str] = set()

    def __contains__(self, kind: str) -> bool:
        """Return whether a kind of trouble was known before."""
        return kind in self._known

    def tried(self, *what: str) -> None:
        """Record what was tried: its troubles are over unless they are met again."""
        self._tried.update(what)

    def meet(self, kind: str, what: str, like: Trouble | None = None) -> None:
        """Record a trouble; the first word of its *kind* is what was tried.

        *like* gives its pool and when it began.
        """
        self._warn(kind, "%s", f"pool {like.pool}: {what}" if like else what)
        self._met[kind] = replace(like, what=what) if like else Trouble(what, self._snapshot.now)

    def refused(self, pool: str, refusal: Refusal) -> None:
        """Record that the platform refuses what is needed for this *pool*."""
        kind = f"refused {pool}"
        self._met[kind] = Trouble(refusal.why, refusal.at, pool)
        if refusal.at >= self._snapshot.now:
            self._warn(kind, "pool %s: %s", pool, refusal.why)

    def write(self, pools: Collection[PoolState]) -> None:
        """Write the current troubles, and add to the history those that began or ended.

        So are the pools that are stuck at their maximum. That is the user's limit, and no trouble.
        """
        troubles = renewed(self._known, self._met, self._tried)
        if troubles != self._known:
            self._put("trouble", pack_troubles(troubles) if troubles else None)
        self._tell("told", "trouble", troubles | _workers(pools))
        # Apart from the troubles: the releases until November 2026 know only those.
        for kind, stuck in self._tell("told_stuck", "stuck at max", _stuck(pools)).items():
            if not stuck.over:
                self._warn(kind, "pool %s is stuck at max_workers: %s", stuck.pool, stuck.what)

    def _tell(self, name: str, action: str, current: Mapping[str, Trouble]) -> Mapping[str, Told]:
        """Add to the history what has begun or ended, and return it; it is kept as *name*."""
        before = unpack_told(self._snapshot.state.get(name))
        told, turns = retold(before, current, self._snapshot.now)
        if told != before:
            self._put(name, pack_told(told) if told else None)
        self._changes.history += [self._entry(action, kind, turn) for kind, turn in turns.items()]
        return turns

    def _put(self, name: str, document: str | None) -> None:
        if document is None:
            self._changes.unset[name] = None
        else:
            self._changes.set[name] = document

    def _entry(self, action: str, kind: str, told: Told) -> str:
        now = self._snapshot.now
        over = {"lasted": round(now - told.since, 1)} if told.over else {}
        return json.dumps(
            {
                "pool": told.pool,
                "at": self._snapshot.iso(now),
                "action": f"{action} over" if told.over else action,
                "kind": kind,
                "reason": told.what,
                "since": self._snapshot.iso(told.since),
                **over,
            }
        )


def _stuck(pools: Iterable[PoolState]) -> dict[str, Trouble]:
    """Return which pools have long been stuck at their maximum."""
    found = {state.pool.name: told_of(state) for state in pools}
    return {f"stuck {pool}": told for pool, told in found.items() if told is not None}


def _workers(pools: Iterable[PoolState]) -> dict[str, Trouble]:
    """Return the troubles of single workers, which the ledger keeps elsewhere."""
    found = {}
    for state in pools:
        for name, since in state.deaf.items():
            found[f"deaf {name}"] = Trouble(f"{name} {DEAF}", since, state.pool.name)
        for name, since in state.missed.items():
            if state.now - since >= BOOT_GRACE:
                what = f"{name} is up, and {UNHEARD}"
                found[f"missed {name}"] = Trouble(what, since, state.pool.name)
    return found
