"""The ledger in memory: what the scripts in ``lua/`` do, line by line, without Redis.

For tests and simulations, whose time is their own. A contract test holds it to the scripts. What is
left out: its clock does not step, and nothing expires.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from celery_middle_management.ledger.ledger import Clocks, Kept, Ledger
from celery_middle_management.settings.model import Settings

Message = Mapping[str, Any]

#: What expires is kept on so often (ms).
_KEEP = 3_600_000
#: Times of the state that have passed.
_PASSED = ("told_at", "evaluated_at", "ticked_at", "called_at")


@dataclass
class Store:
    """What is kept, by the names and in the forms that it has in Redis; *clock*: Unix time (s).

    All ledgers of one app share it.
    """

    clock: Callable[[], float]
    state: dict[str, str] = field(default_factory=dict)
    due: dict[str, int] = field(default_factory=dict)
    workers: dict[str, str] = field(default_factory=dict)
    queues: dict[str, str] = field(default_factory=dict)
    history: list[str] = field(default_factory=list)
    #: Who holds the lock, and until when (ms).
    lock: tuple[str, float] | None = None

    def now(self) -> int:
        """In milliseconds. It never goes back."""
        return max(math.floor(self.clock() * 1000), *(int(self.number(at)) for at in _PASSED))

    def number(self, name: str) -> float:
        """One of the state, 0 if it is not there."""
        return float(self.state.get(name, 0))

    def holder(self, now: float) -> str | None:
        """Whose the lock is."""
        return self.lock[0] if self.lock and self.lock[1] > now else None

    def flush(self) -> None:
        """Lose everything."""
        for kept in (self.state, self.due, self.workers, self.queues, self.history):
            kept.clear()
        self.lock = None


class MemoryLedger(Ledger):
    """One process's side of a *store*."""

    def __init__(self, settings: Settings, store: Store) -> None:
        super().__init__(settings, Clocks(store.clock, store.clock, store.clock))
        self.store = store

    def _report(self, message: Message) -> Message:
        return _Report(self.store, message).answer()

    def _read(self, bounds: Mapping[str, int]) -> Kept:
        store = self.store
        due = {name: str(tasks) for name, tasks in store.due.items()}
        return Kept(store.now(), 0, dict(store.state), due, dict(store.workers), dict(store.queues))

    def _commit(self, token: str, message: Message) -> bool:
        store, now = self.store, self.store.now()
        if store.holder(now) != token:
            return False
        seq = store.state.get("seq", "0")
        for name in message["unset"]:
            store.state.pop(name, None)
        _add_to(store.state, message["add"])
        for name, tasks in message["due"].items():
            store.due[name] = store.due.get(name, 0) + tasks
            if store.due[name] <= 0:
                del store.due[name]
        for identity in message["gone"]:
            store.workers.pop(identity, None)
        for queue in message["idle_queues"]:
            store.queues.pop(queue, None)
        store.queues |= dict.fromkeys(message["used_queues"], _ms(now))
        store.history[:0] = reversed(message["history"])
        del store.history[message["keep"] :]
        _put_together(store.state, message)
        store.state |= message["set"]
        if "next" in message:
            soon = now + message["gap"] if seq != message["seq"] else math.inf
            store.state["next_at"] = _ms(min(now + message["next"], soon))
        store.lock = None if "next" in message else (token, now + message["lock"])
        return True


def _put_together(state: dict[str, str], message: Message) -> None:
    """What may still take effect at the platform, for those who report."""
    sent = json.loads(state.pop("sent", "{}"))
    for name in message["unset"]:
        sent.pop(name, None)
    for name, value in message["set"].items():
        if re.search("/[fh]ire$", name):
            sent[name] = json.loads(value)
    if sent:
        state["sent"] = json.dumps(sent)


class _Report:
    """One call of ``report.lua``."""

    def __init__(self, store: Store, message: Message) -> None:
        self.store, self.message = store, message
        self.now = store.now()
        state = store.state
        self.evaluated = store.number("evaluated_at")
        #: Never evaluated, or the data was lost: due now.
        self.next_at = float(state.get("next_at", self.now))
        self.unseen = message.get("unseen")
        if self.unseen is not None and self.unseen < self.evaluated:
            self.unseen = None
        if self.evaluated == 0:
            self.unseen = self.now
        blocked, hung = store.number("blocked_until"), store.number("hung_until")
        self.blocked = blocked
        self.failing = (
            blocked > self.evaluated and blocked + message["lock"] > self.now
        ) or hung > self.now
        last, self.called = store.number("told_at"), store.number("called_at")
        if "most" not in message and last > 0 and self.now - last > message["watches"]:
            self._rearm(self.now - last)
        state["told_at"] = _ms(self.now)
        if self.now - store.number("kept_at") >= _KEEP:
            state["kept_at"] = _ms(self.now)
        self.born = state.setdefault("born", message["token"])

    def answer(self) -> Message:
        message, store = self.message, self.store
        dirty = self._restore()
        zero, held = self._add_pools()
        if message["pools"] or message["look"] or dirty:
            store.state["seq"] = _ms(store.number("seq") + 1)
            self._due_at(max(self.now, self.evaluated + message["gap"]))
        if message["look"]:
            store.state["look_at"] = _ms(self.now)
        if zero:
            self._due_at(max(self.now, self.blocked))
        self._add_queues()
        self._meet()
        watched = self._leave()
        if message["gave_up"]:
            store.state["hung_until"] = _ms(self.now + message["lock"])
        lease = self._elect()
        if lease and self.unseen == self.now:
            self.unseen -= 1  # what it reads, it reads after this
        store.state["next_at"] = _ms(self.next_at)
        answer = {
            "now": _ms(self.now),
            "lease": lease,
            "wait": self._wait(lease),
            "held": held,
            "born": self.born,
            "sent": store.state.get("sent"),
            "unseen": self.unseen,
            "watched": watched,
            "failing": self.failing,
        }
        if message.get("pool"):
            answer["cordon"] = store.state.get(f"{message['pool']}/cordon")
        return {name: value for name, value in answer.items() if value is not None}

    def _due_at(self, when: float) -> None:
        self.next_at = min(self.next_at, when)

    def _rearm(self, silence: float) -> None:
        """A newcomer has come after a *silence* (ms), which may have been a step of the clock."""
        state = self.store.state
        sent = json.loads(state.get("sent", "{}"))
        for name, one in sent.items():
            one["until"] += silence / 1000
            state[name] = json.dumps(one)
        if sent:
            state["sent"] = json.dumps(sent)
        if self.called > 0:
            self.called += silence
            state["called_at"] = _ms(self.called)

    def _restore(self) -> bool:
        """Learn from one who remembers what was under way when the data was lost."""
        told, state, now = self.message.get("sent"), self.store.state, self.now / 1000
        if not told or self.message["born"] == self.born:
            return False
        sent = json.loads(state.get("sent", "{}"))
        for name, one in told.items():
            known = sent.get(name, one)
            sent[name] = {
                "to": min(one["to"], known["to"]),
                "done": bool(one["done"] and known["done"]),
                "until": max(now + one["left"], known.get("until", 0)),
            }
            state[name] = json.dumps(sent[name])
            entry = f"{name.rpartition('/')[0]}/cordon"
            cordon = json.loads(state.get(entry, "{}"))
            above = cordon.get("above")
            if above is None or above > one["to"]:
                cordon |= {"above": one["to"], "at": max(now, cordon.get("at", 0) + 0.001)}
                state[entry] = json.dumps(cordon)
        state["sent"] = json.dumps(sent)
        return True

    def _add_pools(self) -> tuple[bool, dict[str, float]]:
        """Add the counts; returns whether a hire from zero is wanted, and what can be held back."""
        zero, held = False, {}
        for pool, told in self.message["pools"].items():
            refused = self.now < self.store.number(f"{pool}/refused_until")
            quantity = self.store.number(f"{pool}/quantity")
            published = self._add_counts(pool, told)
            if quantity == 0 and not refused and (published or told["scheduled"]):
                self.unseen = self.now
            if published:
                zero = zero or (quantity == 0 and not refused)
                held[pool] = self._hold(quantity, told["maximum"])
            self._add_due(pool, told["scheduled"])
        return zero, held

    def _hold(self, quantity: float, maximum: int) -> float:
        message = self.message
        if quantity == 0:
            return float(message["zero_hold"])
        if quantity >= maximum:
            return float(message["longest_hold"])
        return float(max(self.called + message["interval"] - self.now, message["gap"]))

    def _add_counts(self, pool: str, told: Message) -> int:
        """Returns how many were published."""
        state, counted_at = self.store.state, self.store.number(f"{pool}/counted_at")
        published = sum(n for _, n in told["published"])
        counted = sum(n for ago, n in told["published"] if self.now - ago <= counted_at)
        added = {"published": published, "base_published": counted, "finished": told["tasks"]}
        _add_to(state, {f"{pool}/{name}": n for name, n in added.items() if n})
        if told["tasks"]:
            for name in ("runtime", "runtime_squares"):
                total = float(state.get(f"{pool}/{name}", 0)) + told[name]
                state[f"{pool}/{name}"] = f"{total:.17g}"
        return int(published)

    def _add_due(self, pool: str, scheduled: list[list[int]]) -> None:
        message, due = self.message, self.store.due
        if scheduled:
            self.store.state[f"{pool}/scheduled_at"] = _ms(self.now)
        for ahead, tasks in scheduled:
            fine = ahead <= message["fine_horizon"] * 1000
            size = message["fine"] if fine else message["coarse"]
            bucket = math.floor((self.now + ahead) / 1000 / size) * size - (not fine)
            name = f"{pool}/{bucket}"
            due[name] = due.get(name, 0) + tasks

    def _add_queues(self) -> None:
        message, queues = self.message, self.store.queues
        new = set(message["queues"]) - queues.keys()
        queues |= dict.fromkeys(message["queues"], _ms(self.now))
        left_out = message["queues_left_out"]
        if new and len(queues) > message["most_queues"] * 1.25:
            latest = sorted(queues, key=lambda queue: -float(queues[queue]))
            for queue in latest[message["most_queues"] :]:
                del queues[queue]
            left_out = True
        if left_out:
            self.store.state["queues_dropped_at"] = _ms(self.now)

    def _meet(self) -> None:
        """Take note of a worker that comes, tells or goes; several do at a time."""
        message, workers = self.message, self.store.workers
        if "id" not in message:
            return
        soon = max(self.now, self.evaluated + message["gap"] / 2)
        if "presence" in message:
            self.store.state["ticked_at"] = _ms(self.now)
            if message["id"] not in workers:
                self._due_at(soon)
            workers[message["id"]] = f"{_ms(self.now)} {message['presence']}"
        elif workers.pop(message["id"], None) is not None:
            self._due_at(soon)
            self.unseen = self.now

    def _leave(self) -> bool:
        """Returns whether a worker will surely evaluate for one that leaves."""
        message = self.message
        if not message["leaving"]:
            return False
        if self.unseen is not None:
            self._due_at(max(self.now, self.blocked))
        seen = (float(told.partition(" ")[0]) for told in self.store.workers.values())
        return any(self.now - at < message["watches"] for at in seen)

    def _elect(self) -> bool:
        """Whether an evaluation is due and is the caller's to make."""
        # No two evaluations at one time: it tells their cordons apart.
        due = self.next_at <= self.now and self.evaluated < self.now
        if not due or self.message["more"] or self.store.holder(self.now) is not None:
            return False
        self.store.lock = self.message["token"], self.now + self.message["lock"]
        return True

    def _wait(self, lease: bool) -> float:
        """When (ms) a publisher asks again: one comes when it is due, the others stand by."""
        message, state = self.message, self.store.state
        wait = float(message["stand_by"])
        idle = self.now - self.store.number("ticked_at") >= message["watches"]
        if "id" in message or lease or message["leaving"] or not idle:
            return wait
        locked = self.store.lock[1] - self.now if self.store.lock else 0.0
        due_in = max(self.next_at - self.now, locked, 0.0)
        comes_in = self.store.number("comes_at") - self.now
        if due_in < wait and not 0 < comes_in <= due_in + message["gap"]:
            state["comes_at"] = _ms(self.now + due_in)
            return due_in
        return wait


def _ms(number: float) -> str:
    return f"{number:.0f}"


def _add_to(state: dict[str, str], numbers: Mapping[str, float]) -> None:
    for name, n in numbers.items():
        state[name] = _ms(float(state.get(name, 0)) + n)
