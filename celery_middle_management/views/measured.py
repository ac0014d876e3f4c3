"""What is measured of a pool for its policy, as people and programs are told."""

from __future__ import annotations

from typing import Any

from celery_middle_management.core.pace import LONG
from celery_middle_management.core.pool_state import PoolState, jobs_per_worker

Document = dict[str, Any]


def measured_of(state: PoolState) -> Document:
    """Return what a policy can rest on; times are in seconds, the rate in tasks per second."""
    pace = state.pace
    known = pace.finished >= 1
    return {
        "runtime": round(pace.mean(0.0), 3) if known else None,
        "slots": pace.slots,
        "arrivals": round(pace.long.rate(LONG), 4),
        "jobs_per_worker": jobs_per_worker(state) if state.pool.max_wait is None else None,
    }


def measured_line(policy: Document) -> str:
    """Return what the policy measures, in a line; empty if it measures nothing."""
    if policy["name"] != "max_wait" and policy["jobs_per_worker"] != "auto":
        return ""
    its = policy["measured"]
    if its["runtime"] is None:
        return "nothing yet: it begins with assumptions"
    at_once = f", {its['slots']} at once" if its["slots"] > 1 else ""
    return f"tasks take {its['runtime']:.3g} s{at_once}; a worker is up in {policy['boot']:.3g} s"
