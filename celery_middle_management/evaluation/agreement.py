"""Which kind of dynos a pool has, where the processes of two deploys disagree.

While a deploy is under way, old and new processes evaluate by turns. Would each go by its own
setting, one would replace the workers that the other hires. So the one that was started last is
believed, for it has the newest settings; the others read in the ledger what it says.
"""

from __future__ import annotations

import json
from dataclasses import replace

from celery_middle_management.core.pools import Pool
from celery_middle_management.ledger.model import Changes, Snapshot

#: A process that was started less than this (s) after who spoke last adds nothing to it.
_SAME = 1.0


def agreed(pool: Pool, started_at: float, snapshot: Snapshot, changes: Changes) -> Pool:
    """*pool* as all evaluate it; *started_at* is when this process was (ledger's time, s)."""
    name = f"{pool.name}/dynos"
    told = snapshot.document(name)
    if not told and not pool.one_off:
        return pool
    since = float(told.get("since", 0.0))
    if started_at > since + _SAME:
        changes.set[name] = json.dumps({"one_off": pool.one_off, "since": round(started_at, 3)})
        return pool
    return replace(pool, one_off=bool(told.get("one_off")))
