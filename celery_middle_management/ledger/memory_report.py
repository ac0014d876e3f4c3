"""What ``lua/report.lua`` does, on the store of a ledger in memory, under the same names."""

from __future__ import annotations

import json
import math

from celery_middle_management.core.presence import Presence
from celery_middle_management.ledger.codec import unpack_suspicions
from celery_middle_management.ledger.memory_store import Store
from celery_middle_management.ledger.messages import PoolCounts, ReportMessage, ReportReply

#: Expiries are renewed this often (ms).
_REFRESH = 3_600_000


class Report:
    """One call of the script."""

    def __init__(self, store: Store, message: ReportMessage, presence: Presence | None) -> None:
        self.store, self.message, self.presence = store, message, presence
        self.now = store.now()
        self.evaluated = store.number("evaluated_at")
        self.next_at = float(store.state.get("next_at", self.now))
        self.blocked = store.number("blocked_until")
        self.called = store.number("called_at")
        self.born = store.state.setdefault("born", message["token"])
        unseen = message.get("unseen")
        self.unseen = unseen if unseen is not None and unseen >= self.evaluated else None
        if self.evaluated == 0:
            self.unseen = self.now

    def reply(self) -> ReportReply:
        """Do it all, and answer."""
        message, store, now = self.message, self.store, self.now
        last_report = store.number("told_at")
        store.set("told_at", now)
        if now - store.number("kept_at") >= _REFRESH:
            store.set("kept_at", now)
        sample_counters(store, message, now)
        work = restore_calls(store, message, self.born, now)
        silence = now - last_report
        if "most" not in message and last_report > 0 and silence > message["watches"]:
            self.called = extend_calls(store, self.called, silence, now)
        failed = max(self.blocked, store.number("gave_up_at"))
        failing = failed > self.evaluated and failed + message["known_to_fail"] > now

        held = self._add_counts(work)
        add_queues(store, message, now)
        self._add_worker()
        watched = message["leaving"] and worker_watches(store, message, now)
        if message["leaving"] and self.unseen is not None:
            self._evaluate_by(max(now, self.blocked))
        if message["gave_up"]:
            store.set("gave_up_at", now)

        lease = self._elect()
        if lease and self.unseen == now:
            self.unseen -= 1
        store.set("next_at", self.next_at)
        reply: ReportReply = {
            "now": str(now),
            "lease": lease,
            "wait": self._wait(lease),
            "held": held,
            "born": self.born,
            "sent": store.state.get("sent"),
            "unseen": None if message["inactive"] else self.unseen,
            "watched": watched,
            "failing": failing,
        }
        self._add_for_worker(reply)
        return reply

    def _evaluate_by(self, time: float) -> None:
        self.next_at = min(self.next_at, time)

    def _add_counts(self, work: bool) -> dict[str, float]:
        """Add the counts, and return how long (ms) those of each pool can be held back."""
        message, store, now = self.message, self.store, self.now
        hire_from_zero, held = False, {}
        calls = json.loads(store.state.get("sent", "{}"))
        for pool, counts in message["pools"].items():
            refused = now < store.number(f"{pool}/refused_until")
            quantity = store.number(f"{pool}/quantity")
            published = add_published(store, pool, counts, now)
            add_started_and_finished(store, pool, counts)
            add_scheduled(store, pool, counts, message, now)
            fire = calls.get(f"{pool}/fire")
            without_workers = quantity == 0 or (fire and fire["to"] == 0 and not fire["done"])
            if without_workers and not refused and (published or counts["scheduled"]):
                self.unseen = now
            if published:
                hire_from_zero = hire_from_zero or (quantity == 0 and not refused)
                held[pool] = self._hold_of(quantity, counts["maximum"])
            work = work or bool(published or counts["scheduled"] or counts["finished"])
        if message["look"]:
            work, self.unseen = True, now
            store.set("look_at", now)
        if work:
            store.add({"seq": 1})
            self._evaluate_by(max(now, self.evaluated + message["gap"]))
        if hire_from_zero:
            self._evaluate_by(max(now, self.blocked))
        return held

    def _hold_of(self, quantity: float, maximum: int) -> float:
        message = self.message
        if quantity == 0:
            return message["zero_hold"]
        if quantity >= maximum:
            return message["longest_hold"]
        return max(self.called + message["interval"] - self.now, message["gap"])

    def _add_worker(self) -> None:
        """Note that a worker reports, or says goodbye."""
        store, identity = self.store, self.message.get("id")
        if identity is None:
            return
        soon = max(self.now, self.evaluated + self.message["gap"] / 2)
        if self.presence is not None:
            if not self.message["inactive"]:
                store.set("ticked_at", self.now)
            if identity not in store.workers:
                self._evaluate_by(soon)
            store.workers[identity] = self.now, self.presence
        elif store.workers.pop(identity, None) is not None:
            self._evaluate_by(soon)
            self.unseen = self.now

    def _elect(self) -> bool:
        """Return whether an evaluation is due, and the lock now the caller's."""
        due = self.next_at <= self.now and self.evaluated < self.now
        barred = self.message["more"] or self.message["inactive"]
        if not due or barred or self.store.holder(self.now) is not None:
            return False
        self.store.lock = self.message["token"], self.now + self.message["lock"]
        return True

    def _wait(self, lease: bool) -> float:
        """Return after how long (ms) to report again."""
        message, store, now = self.message, self.store, self.now
        wait = float(message["stand_by"])
        watched = now - store.number("ticked_at") < message["watches"]
        if "id" in message or lease or message["leaving"] or message["inactive"] or watched:
            return wait
        locked = store.lock[1] - now if store.lock else 0.0
        due_in = max(self.next_at - now, locked, 0.0)
        comes_in = store.number("comes_at") - now
        if due_in < wait and not 0 < comes_in <= due_in + message["gap"]:
            store.set("comes_at", now + due_in)
            return due_in
        return wait

    def _add_for_worker(self, reply: ReportReply) -> None:
        """Add the part of the reply that is for a worker."""
        identity, cordon, state = (
            self.message.get("id"),
            self.message.get("cordon"),
            self.store.state,
        )
        if identity is None or cordon is None:
            return
        suspicion = unpack_suspicions(state.get("deaf")).get(identity)
        reply["untaken"] = suspicion.last - suspicion.since if suspicion else None
        reply["counted_at"] = self.store.number(f"{cordon.rpartition('/')[0]}/counted_at")
        reply["cordon"] = state.get(cordon)
        reply["why"] = state.get(f"{cordon}_why")


# -- report_in_flight.lua


def restore_calls(store: Store, message: ReportMessage, born: str, now: float) -> bool:
    """Learn the calls in flight of one that remembers them; returns whether there were any."""
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
    """Allow for a *silence* (ms) that may have been a step; returns the time of the last call."""
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


def sample_counters(store: Store, message: ReportMessage, now: int) -> None:
    """Keep the counters, if this is the first report of a minute."""
    minute = now // 60_000
    if minute <= store.number("minute"):
        return
    store.set("minute", minute)
    counters = message["counters"]
    pools: dict[str, list[float]] = {}
    for field, value in store.state.items():
        pool, _, counter = field.rpartition("/")
        if pool and counter in counters:
            totals = pools.setdefault(pool, [0] * len(counters))
            totals[counters.index(counter)] = math.floor(float(value) * 10 + 0.5) / 10
    store.samples.insert(0, json.dumps([minute, pools]))
    del store.samples[message["most_minutes"] :]


def add_published(store: Store, pool: str, counts: PoolCounts, now: float) -> int:
    """Add the tasks published, and return how many they are."""
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
    """Note queues that are in use, and drop the oldest ones of too many."""
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
