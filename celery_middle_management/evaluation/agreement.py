"""Settles what kind of dynos a pool has when the processes of two deploys disagree.

During a deploy, old and new processes evaluate in turn. If each followed its own setting, one would
replace the workers that the other hires. So the process that was started last decides, because it
has the newest settings; the others read its setting in the ledger. Workers that outlive a deploy
also read its maximum there.
"""

from __future__ import annotations

import json
from dataclasses import replace

from celery_middle_management.core.pools import Pool
from celery_middle_management.ledger.model import Changes, Snapshot

#: A process started less than this long (s) after the deciding one does not overrule it.
_SAME = 1.0


def agreed(pool: Pool, started_at: float, snapshot: Snapshot, changes: Changes) -> Pool:
    """Return *pool* as all processes evaluate it.

    *started_at* is when this process was started (ledger's time, s).
    """
    name = f"{pool.name}/dynos"
    told = snapshot.document(name)
    if not told and not pool.one_off:
        return pool
    since = float(told.get("since", 0.0))
    if started_at > since + _SAME:
        # The others may not know its schedule, so the lowest maximum must do.
        new = {"one_off": pool.one_off, "since": round(started_at, 3), "max": pool.lowest_maximum}
        changes.set[name] = json.dumps(new)
        return pool
    return replace(pool, one_off=bool(told.get("one_off")))


def newest_maximum(pool: Pool, snapshot: Snapshot) -> int:
    """Return ``max_workers`` of *pool* according to the process that was started last, if known."""
    told = snapshot.document(f"{pool.name}/dynos")
    return int(told.get("max", pool.max_workers))
