"""``lua/report.lua`` in Python, on the store of a ledger in memory, with the same names."""

from __future__ import annotations

import json

from celery_middle_management.core.presence import Presence
from celery_middle_management.ledger.codec import unpack_suspicions
from celery_middle_management.ledger.memory_report_steps import (
    add_published,
    add_queues,
    add_scheduled,
    add_started_and_finished,
    extend_calls,
    restore_calls,
    worker_watches,
)
from celery_middle_management.ledger.memory_samples import take_sample
from celery_middle_management.ledger.memory_store import Store
from celery_middle_management.ledger.messages import Constants, ReportMessage, ReportReply
from celery_middle_management.ledger.sampling import Sampling

#: Expiries are renewed this often (ms).
_REFRESH = 3_600_000


class Report:
    """One call of the script."""

    def __init__(
        self,
        store: Store,
        message: ReportMessage,
        presence: Presence | None,
        sampling: Sampling,
    ) -> None:
        self.store, self.message, self.presence = store, message, presence
        self.sampling = sampling
        self.now = store.now()
        self.evaluated = store.number("evaluated_at")
        self.next_at = float(store.state.get("next_at", self.now))
        self.blocked = store.number("blocked_until")
        self.called = store.number("called_at")
        self.born = store.state.setdefault("born", message["token"])
        unseen = message.get("unseen")
        self.unseen = unseen if unseen is not None and unseen >= self.evaluated else None
        owed = message["leaving"] and store.number("owed_at") >= self.evaluated
        others = owed or "holds_back" in store.state
        if (self.unseen is None and others) or self.evaluated == 0:
            self.unseen = self.now

    def reply(self) -> ReportReply:
        """Process the report, and answer it."""
        message, store, now = self.message, self.store, self.now
        last_report = store.number("told_at")
        store.set("told_at", now)
        if now - store.number("kept_at") >= _REFRESH:
            store.set("kept_at", now)
        take_sample(store, self.sampling, now)
        work = restore_calls(store, message, self.born, now)
        silence = now - last_report
        if "most" not in message and last_report > 0 and silence > message["watches"]:
            self.called = extend_calls(store, self.called, silence, now)
        failed = max(self.blocked, store.number("gave_up_at"))
        failing = failed > self.evaluated and failed + message["known_to_fail"] > now

        held = self._add_counts(work)
        add_queues(store, message, now)
        self._add_worker()
        if message["leaving"] and self.unseen is not None:
            self._evaluate_by(max(now, self.blocked))
        if message["gave_up"]:
            store.set("gave_up_at", now)

        lease = self._elect()
        store.set("next_at", self.next_at)
        reply: ReportReply = {
            "now": str(now),
            "lease": lease,
            "wait": self._wait(lease),
            "held": held,
            "born": self.born,
            "sent": store.state.get("sent"),
            "unseen": None if message["inactive"] else self.unseen,
            "watched": message["leaving"] and worker_watches(store, message, now),
            "failing": failing,
        }
        self._add_for_worker(reply)
        return reply

    def _owe(self) -> None:
        self.unseen = self.now
        self.store.set("owed_at", self.now)

    def _evaluate_by(self, time: float) -> None:
        self.next_at = min(self.next_at, time)

    def _add_counts(self, work: bool) -> dict[str, float]:
        """Add the counts; return how long (ms) each pool's next counts can be held back."""
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
                self._owe()
            if published:
                hire_from_zero = hire_from_zero or (quantity == 0 and not refused)
                most = counts["maximum"]
                held[pool] = held_for(quantity, most, self.called, now, message)
            work = work or bool(published or counts["scheduled"] or counts["finished"])
        if message["look"]:
            work = True
            self._owe()
            store.set("look_at", now)
        if work:
            store.add({"seq": 1})
            self._evaluate_by(max(now, self.evaluated + message["gap"]))
        if hire_from_zero:
            self._evaluate_by(max(now, self.blocked))
        return held

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
            self._owe()

    def _elect(self) -> bool:
        """Give the caller the lock if an evaluation is due; return whether it has it."""
        due = self.next_at <= self.now and self.evaluated < self.now
        barred = self.message["more"] or self.message["inactive"]
        if not due or barred or self.store.holder(self.now) is not None:
            return False
        self.store.lock = self.message["token"], self.now + self.message["lock"]
        # The evaluation reads the ledger after this.
        self.unseen = min(self.now if self.unseen is None else self.unseen, self.now - 1)
        if self.store.number("owed_at") == self.now:
            self.store.set("owed_at", self.now - 1)
        return True

    def _wait(self, lease: bool) -> float:
        """Return how long (ms) to wait before the next report."""
        message, store, now = self.message, self.store, self.now
        if "id" in message or lease or message["leaving"] or message["inactive"]:
            return float(message["stand_by"])
        locked = store.lock[1] - now if store.lock else 0.0
        return stands_by_for(store, max(self.next_at - now, locked, 0.0), now, message)

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


def held_for(quantity: float, maximum: int, called: float, now: float, using: Constants) -> float:
    """Return how long (ms) a pool's next counts can be held back. Times are in ms."""
    if quantity == 0:
        return using["zero_hold"]
    if quantity >= maximum:
        return using["longest_hold"]
    return max(called + using["interval"] - now, using["gap"])


def stands_by_for(store: Store, due_in: float, now: float, using: Constants) -> float:
    """Return how long (ms) a publisher waits for its next report, and note when it comes.

    An evaluation is *due_in* (ms).
    """
    if now - store.number("ticked_at") < using["watches"]:
        return using["stand_by"]
    comes_in = store.number("comes_at") - now
    if due_in < using["stand_by"] and not 0 < comes_in <= due_in + using["gap"]:
        store.set("comes_at", now + due_in)
        return due_in
    return using["stand_by"]
