"""A ledger in memory: it does what the scripts in ``lua/`` do, step by step, without Redis.

It is for tests and simulations, which bring their own clock. A contract test checks that it does
the same as the scripts, except for two things: its clock does not step, and nothing expires.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

from celery_middle_management.core.history import Sample
from celery_middle_management.core.presence import Presence
from celery_middle_management.ledger.clocks import Clocks
from celery_middle_management.ledger.codec import by_pool, unpack_samples
from celery_middle_management.ledger.ledger import Ledger
from celery_middle_management.ledger.memory_report import Report
from celery_middle_management.ledger.memory_store import Store
from celery_middle_management.ledger.messages import (
    Bounds,
    CommitMessage,
    IntendMessage,
    ReportMessage,
    ReportReply,
)
from celery_middle_management.ledger.model import MOST_MINUTES, Snapshot
from celery_middle_management.ledger.page import MINUTES, Page
from celery_middle_management.ledger.sampling import sampling_of
from celery_middle_management.settings.model import Settings


class MemoryLedger(Ledger):
    """One process's side of a *store*."""

    def __init__(self, settings: Settings, store: Store) -> None:
        super().__init__(settings, Clocks(store.clock, store.clock, store.clock))
        self.store = store
        self._sampling = sampling_of(settings)

    def _report(self, message: ReportMessage, presence: Presence | None) -> ReportReply:
        return Report(self.store, message, presence, self._sampling).reply()

    def _read(self, bounds: Bounds) -> Snapshot:
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

    def history(self, most: int = MOST_MINUTES) -> tuple[Sample, ...]:
        return unpack_samples(self.store.samples[:most])

    def page(self) -> Page:
        return Page(
            snapshot=self.snapshot(),
            minutes=self.history(MINUTES),
            tens=unpack_samples(self.store.tens),
            actions=self.actions(),
            bill=self.bill(),
        )

    def _commit(self, token: str, message: CommitMessage) -> bool:
        store, now = self.store, self.store.now()
        by, _, number = store.state.get("committed", "").rpartition(" ")
        if by == token and int(number) >= message["number"]:
            return True
        if store.holder(now) != token:
            return False
        store.state["committed"] = f"{token} {message['number']}"
        seq = store.state.get("seq", "0")
        for name in message["unset"]:
            store.state.pop(name, None)
        store.add(message["add"])
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
        _add_to_bill(store.bill, message)
        _repeat_calls_in_flight(store.state, message)
        store.state |= message["set"]
        if "next" in message:
            soon = now + message["gap"] if seq != message["seq"] else math.inf
            store.set("next_at", min(now + message["next"], soon))
        store.lock = None if "next" in message else (token, now + message["lock"])
        return True

    def _intend(self, message: IntendMessage) -> bool:
        store = self.store
        if any(message["id"] in entry for entry in store.actions[:100]):
            return True
        if any(store.state.get(name, "") != value for name, value in message["read"].items()):
            return False
        for name in message["unset"]:
            store.state.pop(name, None)
        store.state |= message["set"]
        store.set("next_at", store.now())
        store.add({"seq": 1})
        store.actions.insert(0, message["entry"])
        del store.actions[message["keep"] :]
        return True

    def actions(self) -> tuple[str, ...]:
        return tuple(self.store.actions)

    def bill(self) -> dict[str, str]:
        """Return the bill as it is kept."""
        return {name: str(worked) for name, worked in self.store.bill.items()}


def _add_to_bill(bill: dict[str, int], message: CommitMessage) -> None:
    """Add worker time, and forget days that the bill no longer keeps."""
    for name, worked in message["bill"].items():
        bill[name] = bill.get(name, 0) + worked
    for most in message["bill_days"]:
        kept = sorted({name.split("/")[1] for name in bill})[-most:]
        for name in [name for name in bill if name.split("/")[1] not in kept]:
            del bill[name]


def _repeat_calls_in_flight(state: dict[str, str], message: CommitMessage) -> None:
    """Bring `sent` up to date with each pool's `fire` and `hire`."""
    calls = json.loads(state.pop("sent", "{}"))
    for name in message["unset"]:
        calls.pop(name, None)
    for name, value in message["set"].items():
        if re.search("/[fh]ire$", name):
            calls[name] = json.loads(value)
    if calls:
        state["sent"] = json.dumps(calls)
