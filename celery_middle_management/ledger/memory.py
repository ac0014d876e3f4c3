"""The ledger in memory: what the scripts in ``lua/`` do, line by line, without Redis.

For tests and simulations, whose time is their own. A contract test holds it to the scripts. What is
left out: its clock does not step, and nothing expires.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from celery_middle_management.core.presence import Presence
from celery_middle_management.ledger.codec import by_pool, unpack_suspicions
from celery_middle_management.ledger.ledger import Clocks, Ledger, Message
from celery_middle_management.ledger.model import Snapshot
from celery_middle_management.settings.model import Settings

#: What expires is kept on so often (ms).
_KEEP = 3_600_000


@dataclass
class Store:
    """What is kept, by the names that it has in Redis; *clock*: Unix time (s), never goes back.

    All ledgers of one app share it.
    """

    clock: Callable[[], float]
    state: dict[str, str] = field(default_factory=dict)
    due: dict[str, int] = field(default_factory=dict)
    #: By their ids, what they told and when (ms).
    workers: dict[str, tuple[int, Presence]] = field(default_factory=dict)
    #: And when (ms) they were told of.
    queues: dict[str, int] = field(default_factory=dict)
    actions: list[str] = field(default_factory=list)
    #: The counters when each minute began, the latest first.
    samples: list[str] = field(default_factory=list)
    #: Who holds the lock, and until when (ms).
    lock: tuple[str, float] | None = None

    def now(self) -> int:
        """In milliseconds."""
        return math.floor(self.clock() * 1000)

    def number(self, name: str) -> float:
        """One of the state, 0 if it is not there."""
        return float(self.state.get(name, 0))

    def holder(self, now: float) -> str | None:
        """Whose the lock is."""
        return self.lock[0] if self.lock and self.lock[1] > now else None

    def flush(self) -> None:
        """Lose everything."""
        for kept in (self.state, self.due, self.workers, self.queues, self.actions, self.samples):
            kept.clear()
        self.lock = None


class MemoryLedger(Ledger):
    """One process's side of a *store*."""

    def __init__(self, settings: Settings, store: Store) -> None:
        super().__init__(settings, Clocks(store.clock, store.clock, store.clock))
        self.store = store

    def _report(self, message: Message, presence: Presence | None) -> Message:
        return _Report(self.store, message, presence).answer()

    def _read(self, bounds: Mapping[str, int]) -> Snapshot:
        store = self.store
        return Snapshot(
            now=store.now() / 1000,
            state=dict(store.state),
            due=by_pool(store.due),
            presences=tuple(
                presence if presence.seen == at / 1000 else replace(presence, seen=at / 1000)
                for at, presence in store.workers.values()
            ),
            queues={queue: at / 1000 for queue, at in store.queues.items()},
        )

    def _minutes(self, most: int) -> Iterable[str]:
        return self.store.samples[:most]

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
        store.queues |= dict.fromkeys(message["used_queues"], now)
        store.actions[:0] = reversed(message["history"])
        del store.actions[message["keep"] :]
        _put_together(store.state, message)
        store.state |= message["set"]
        if "next" in message:
            soon = now + message["gap"] if seq != message["seq"] else math.inf
            store.state["next_at"] = _ms(min(now + message["next"], soon))
        store.lock = None if "next" in message else (token, now + message["lock"])
        return True

    def _intend(self, message: Message) -> None:
        store, now = self.store, self.store.now()
        for name in message["unset"]:
            store.state.pop(name, None)
        store.state |= {**message["set"], "next_at": _ms(now)}
        _add_to(store.state, {"seq": 1})
        store.actions.insert(0, message["entry"])
        del store.actions[message["keep"] :]

    def actions(self) -> tuple[str, ...]:
        return tuple(self.store.actions)


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

    def __init__(self, store: Store, message: Message, presence: Presence | None) -> None:
        self.store, self.message, self.presence = store, message, presence
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
        self.blocked = store.number("blocked_until")
        failed = max(self.blocked, store.number("gave_up_at"))
        self.failing = failed > self.evaluated and failed + message["known_to_fail"] > self.now
        self._sample()
        last, self.called = store.number("told_at"), store.number("called_at")
        if "most" not in message and last > 0 and self.now - last > message["watches"]:
            self._rearm(self.now - last)
        state["told_at"] = _ms(self.now)
        if self.now - store.number("kept_at") >= _KEEP:
            state["kept_at"] = _ms(self.now)
        self.born = state.setdefault("born", message["token"])

    def _sample(self) -> None:
        """Keep what the counters were when the minute began."""
        store, message, minute = self.store, self.message, self.now // 60_000
        if minute <= store.number("minute"):
            return
        store.state["minute"] = str(minute)
        counters: tuple[str, ...] = message["counters"]
        pools: dict[str, list[float]] = {}
        for entry, value in store.state.items():
            pool, _, name = entry.rpartition("/")
            if pool and name in counters:
                totals = pools.setdefault(pool, [0] * len(counters))
                totals[counters.index(name)] = math.floor(float(value) * 10 + 0.5) / 10
        store.samples.insert(0, json.dumps([minute, pools]))
        del store.samples[message["most_minutes"] :]

    def answer(self) -> Message:
        message, store = self.message, self.store
        dirty = self._restore()
        zero, held = self._add_pools()
        news = any(
            told["published"] or told["scheduled"] or told["finished"]
            for told in message["pools"].values()
        )
        if news or message["look"] or dirty:
            store.state["seq"] = _ms(store.number("seq") + 1)
            self._due_at(max(self.now, self.evaluated + message["gap"]))
        if message["look"]:
            store.state["look_at"] = _ms(self.now)
            self.unseen = self.now
        if zero:
            self._due_at(max(self.now, self.blocked))
        self._add_queues()
        self._meet()
        watched = self._leave()
        if message["gave_up"]:
            store.state["gave_up_at"] = _ms(self.now)
        lease = self._elect()
        if lease and self.unseen == self.now:
            self.unseen -= 1  # what it reads, it reads after this
        store.state["next_at"] = _ms(self.next_at)
        return {
            "now": self.now,
            "lease": lease,
            "wait": self._wait(lease),
            "held": held,
            "born": self.born,
            "sent": store.state.get("sent"),
            "unseen": None if message["inactive"] else self.unseen,
            "watched": watched,
            "failing": self.failing,
            "cordon": store.state.get(message.get("cordon", "")),
            "why": store.state.get(f"{message.get('cordon', '')}_why"),
            **self._of_worker(),
        }

    def _due_at(self, when: float) -> None:
        self.next_at = min(self.next_at, when)

    def _rearm(self, silence: float) -> None:
        """A newcomer has come after a *silence* (ms), which may have been a step of the clock."""
        state = self.store.state
        sent = json.loads(state.get("sent", "{}"))
        for name, one in sent.items():
            if not one.get("again"):
                one["until"] += silence / 1000
                state[name] = json.dumps(one)
                one["again"] = True
        if sent:
            state["sent"] = json.dumps(sent)
        if self.called > self.store.number("silent_at"):
            self.called += silence
            state["called_at"] = _ms(self.called)
            state["silent_at"] = _ms(max(self.now, self.called))

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
        sent = json.loads(self.store.state.get("sent", "{}"))
        for pool, told in self.message["pools"].items():
            refused = self.now < self.store.number(f"{pool}/refused_until")
            quantity = self.store.number(f"{pool}/quantity")
            published = self._add_counts(pool, told)
            fire = sent.get(f"{pool}/fire")
            nobody = quantity == 0 or (fire and fire["to"] == 0 and not fire["done"])
            if nobody and not refused and (published or told["scheduled"]):
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
        added = {"published": published, "base_published": counted}
        added |= {name: told[name] for name in ("started", "finished")}
        _add_to(state, {f"{pool}/{name}": n for name, n in added.items() if n})
        sums = ["waits"] if told["started"] else []
        sums += ["runtime", "runtime_squares"] if told["finished"] else []
        for name in sums:
            total = float(state.get(f"{pool}/{name}", 0)) + told[name]
            state[f"{pool}/{name}"] = f"{total:.17g}"
        if told["longest"] > self.store.number(f"{pool}/longest"):
            state[f"{pool}/longest"] = f"{told['longest']:.17g}"
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
        queues |= dict.fromkeys(message["queues"], self.now)
        left_out = message["queues_left_out"]
        if new and len(queues) > message["most_queues"] * 1.25:
            for queue in sorted(queues, key=lambda q: -queues[q])[message["most_queues"] :]:
                del queues[queue]
            left_out = True
        if left_out:
            self.store.state["queues_dropped_at"] = _ms(self.now)

    def _meet(self) -> None:
        """Take note of a worker that comes, tells or goes; several do at a time."""
        identity, presence, workers = self.message.get("id"), self.presence, self.store.workers
        if identity is None:
            return
        soon = max(self.now, self.evaluated + self.message["gap"] / 2)
        if presence is not None:
            if not self.message["inactive"]:
                self.store.state["ticked_at"] = _ms(self.now)
            if identity not in workers:
                self._due_at(soon)
            workers[identity] = self.now, presence
        elif workers.pop(identity, None) is not None:
            self._due_at(soon)
            self.unseen = self.now

    def _of_worker(self) -> Message:
        """For how long (s) the worker took nothing, and when its pool was last counted."""
        pool = self.message.get("cordon", "").rpartition("/")[0]
        deaf = unpack_suspicions(self.store.state.get("deaf")) if self.presence else {}
        told = deaf.get(self.message.get("id", ""))
        counted_at = self.store.number(f"{pool}/counted_at") if pool else None
        return {"untaken": told.last - told.since if told else None, "counted_at": counted_at}

    def _leave(self) -> bool:
        """Returns whether a worker will surely evaluate for one that leaves."""
        if not self.message["leaving"]:
            return False
        if self.unseen is not None:
            self._due_at(max(self.now, self.blocked))
        return any(
            self.now - at < self.message["watches"] and not presence.inactive
            for at, presence in self.store.workers.values()
        )

    def _elect(self) -> bool:
        """Whether an evaluation is due and is the caller's to make."""
        # No two evaluations at one time: it tells their cordons apart.
        due = self.next_at <= self.now and self.evaluated < self.now
        barred = self.message["more"] or self.message["inactive"]
        if not due or barred or self.store.holder(self.now) is not None:
            return False
        self.store.lock = self.message["token"], self.now + self.message["lock"]
        return True

    def _wait(self, lease: bool) -> float:
        """When (ms) a publisher asks again: one comes when it is due, the others stand by."""
        message, state = self.message, self.store.state
        wait = float(message["stand_by"])
        idle = self.now - self.store.number("ticked_at") >= message["watches"]
        if "id" in message or lease or message["leaving"] or message["inactive"] or not idle:
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
