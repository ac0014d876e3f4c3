"""The steps of ``lua/report.lua`` that only read a report and change the store, in Python."""

from __future__ import annotations

import json
import math

from celery_middle_management.ledger.memory_store import Store
from celery_middle_management.ledger.messages import PoolCounts, ReportMessage

# -- report_in_flight.lua


def restore_calls(store: Store, message: ReportMessage, born: str, now: float) -> bool:
    """Take over the calls in flight that a process remembers; return whether there were any."""
    remembered, seconds = message.get("sent"), now / 1000
    if not remembered or message["born"] == born:
        return False
    calls = json.loads(store.state.get("sent", "{}"))
    for name, told in remembered.items():
        known = calls.get(name, told)
        calls[name] = {
            "to": min(told["to"], known["to"]),
            "done": bool(told["done"] and known["done"]),
            "until": max(seconds + told["left"], known.get("until", 0)),
        }
        store.state[name] = json.dumps(calls[name])
        _cordon_above(store, name.rpartition("/")[0], told["to"], seconds)
    store.state["sent"] = json.dumps(calls)
    return True


def _cordon_above(store: Store, pool: str, quantity: int, now: float) -> None:
    field = f"{pool}/cordon"
    cordon = json.loads(store.state.get(field, "{}"))
    above = cordon.get("above")
    if above is None or above > quantity:
        cordon |= {"above": quantity, "at": max(now, cordon.get("at", 0) + 0.001)}
        store.state[field] = json.dumps(cordon)


def extend_calls(store: Store, called: float, silence: float, now: float) -> float:
    """Allow for a *silence* (ms) that may be a clock step; return the time of the last call."""
    calls = json.loads(store.state.get("sent", "{}"))
    for name, call in calls.items():
        if not call.get("again"):
            call["until"] += silence / 1000
            store.state[name] = json.dumps(call)
            call["again"] = True
    if calls:
        store.state["sent"] = json.dumps(calls)
    if called > store.number("silent_at"):
        called += silence
        store.set("called_at", called)
        store.set("silent_at", max(now, called))
    return called


# -- report_counts.lua


def add_published(store: Store, pool: str, counts: PoolCounts, now: float) -> int:
    """Add the tasks published, and return their number."""
    counted_at = store.number(f"{pool}/counted_at")
    total = sum(tasks for _, tasks in counts["published"])
    counted = sum(tasks for ago, tasks in counts["published"] if now - ago <= counted_at)
    added = {"published": total, "base_published": counted}
    store.add({f"{pool}/{name}": n for name, n in added.items() if n})
    return total


def add_started_and_finished(store: Store, pool: str, counts: PoolCounts) -> None:
    """Add the tasks started and finished."""
    if counts["started"]:
        store.add({f"{pool}/started": counts["started"]})
        _add_float(store, f"{pool}/waits", counts["waits"])
        if counts["late"]:
            store.add({f"{pool}/late": counts["late"]})
    if counts["finished"]:
        store.add({f"{pool}/finished": counts["finished"]})
        _add_float(store, f"{pool}/runtime", counts["runtime"])
        _add_float(store, f"{pool}/runtime_squares", counts["runtime_squares"])
        if counts["longest"] > store.number(f"{pool}/longest"):
            store.state[f"{pool}/longest"] = f"{counts['longest']:.17g}"


def _add_float(store: Store, field: str, number: float) -> None:
    store.state[field] = f"{store.number(field) + number:.17g}"


def add_scheduled(
    store: Store, pool: str, counts: PoolCounts, message: ReportMessage, now: int
) -> None:
    """Add scheduled tasks to the buckets of their due times."""
    if counts["scheduled"]:
        store.set(f"{pool}/scheduled_at", now)
    for ahead, tasks in counts["scheduled"]:
        fine = ahead <= message["fine_horizon"] * 1000
        size = message["fine"] if fine else message["coarse"]
        bucket = math.floor((now + ahead) / 1000 / size) * size - (not fine)
        field = f"{pool}/{bucket}"
        store.due[field] = store.due.get(field, 0) + tasks


# -- report_workers.lua


def add_queues(store: Store, message: ReportMessage, now: int) -> None:
    """Note queues that are in use; if there are too many, drop the oldest."""
    queues, most = store.queues, message["most_queues"]
    new = set(message["queues"]) - queues.keys()
    queues |= dict.fromkeys(message["queues"], now)
    dropped = message["queues_left_out"]
    if new and len(queues) > most * 1.25:
        for queue in sorted(queues, key=lambda q: -queues[q])[most:]:
            del queues[queue]
        dropped = True
    if dropped:
        store.set("queues_dropped_at", now)


def worker_watches(store: Store, message: ReportMessage, now: float) -> bool:
    """Return whether a worker that may evaluate has reported lately."""
    return any(
        now - at < message["watches"] and not presence.inactive
        for at, presence in store.workers.values()
    )
