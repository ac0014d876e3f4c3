"""The judge is fair: each invariant holds where it should, and breaks where it should."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.chaos import invariants
from tests.chaos.invariants import Story, Verdict
from tests.chaos.journal import Event, Journal, read

SETTINGS: Event = {
    "kind": "settings", "at": 0.0, "minimum": 0, "maxima": {"worker": 6}, "shared": False,
    "call_interval": 2.0, "visibility_timeout": 60.0,
}  # fmt: skip
QUIET: Event = {"kind": "quiet", "at": 90.0, "took": 5.0, "undone": {}}
ON_WORKER: Event = {"run": 0, "pid": 11, "sid": 10, "dyno": "worker.1"}


def event(kind: str, at: float, **facts: Any) -> Event:
    return {"kind": kind, "at": at, **facts}


def published(at: float = 1.0, task: str = "t", **facts: Any) -> Event:
    defaults = {
        "plain": False,
        "took": 0.001,
        "pid": 1,
        "what": "burst",
        "seconds": 1.0,
        "eta": 0.0,
    }
    return event("published", at, id=task, **{**defaults, **facts})


def begun(at: float, task: str = "t", **facts: Any) -> Event:
    return event("begun", at, id=task, **{**ON_WORKER, **facts})


def ended(at: float, task: str = "t", how: str = "done", **facts: Any) -> Event:
    return event("ended", at, id=task, how=how, **{**ON_WORKER, **facts})


def stopped(at: float, reason: str) -> list[Event]:
    stop = event("stop", at, asked_at=at - 1, id="d", name="worker.1", reason=reason,
                 sigkilled=False)  # fmt: skip
    return [event("dyno", 0.5, id="d", name="worker.1", pid=10), stop]


def asked(at: float, quantity: int) -> Event:
    body = json.dumps({"updates": [{"type": "worker", "quantity": quantity}]})
    return event("request", at, method="PATCH", path="", body=body, status=200)


def changed(at: float, before: int, after: int, by: str = "api") -> Event:
    return event("change", at, pool="worker", before=before, after=after, by=by)


def killed(at: float, what: str = "worker", pid: int = 10) -> Event:
    return event("killed", at, what=what, pid=pid, sid=10)


def fault(at: float, until: float, what: str) -> Event:
    return event("fault", at, until=until, what=what)


HELD: list[tuple[Callable[[Story], Verdict], list[Event]]] = [
    (invariants.nothing_killed, [begun(2), ended(3), *stopped(5, "scale")]),
    (invariants.nothing_killed, [begun(2), *stopped(5, "restart")]),
    (invariants.nothing_killed, [begun(2), killed(3), *stopped(5, "scale")]),
    (invariants.nothing_lost, [published(), ended(3)]),
    (invariants.nothing_lost, [published(), event("purged", 2, ids=["t"])]),
    (invariants.nothing_lost, [published(), event("revoked", 2, id="t")]),
    (invariants.nothing_lost, [published(plain=True)]),
    (invariants.nothing_lost, [published(early=True), begun(2), killed(3)]),
    (invariants.nothing_twice, [begun(2), killed(3), begun(9, sid=20, pid=21)]),
    (invariants.nothing_twice, [begun(2), ended(3, how="retry"), begun(4, run=1)]),
    (invariants.nothing_twice, [begun(2), fault(3, 4, "broker"), begun(9, sid=20, pid=21)]),
    (invariants.nothing_twice, [published(1, took=0.5), fault(1.2, 1.4, "broker"), begun(9),
                                begun(9.1, sid=20, pid=21)]),
    (invariants.within_limits, [changed(1, 0, 6), changed(2, 6, 8, by="hand")]),
    (invariants.calls_spaced, [asked(1, 3), asked(3.1, 4)]),
    (invariants.calls_spaced, [asked(1, 0), changed(1, 3, 0), asked(1.5, 2)]),
    (invariants.calls_spaced, [fault(0.5, 1.2, "api"), asked(1, 3), asked(1.4, 3)]),
    (invariants.nothing_raised, [
        fault(1, 3, "broker"),
        event("raised", 2, until=4, plain=False, error="kombu.exceptions.OperationalError: no"),
    ]),
    (invariants.scaler_replaced, [event("replaced", 20, killed_at=5, took=12.4)]),
    (invariants.keys_bounded, [
        event("key", 99, name="{middle-management:myapp}:workers", size=3, ttl=60, live=3),
    ]),
    (invariants.never_slower, [
        fault(0, 50, "ledger"), published(1, "a", took=0.9), published(2, "b"),
        published(3, "c", plain=True, pid=2), published(4, "d", plain=True, pid=2),
    ]),
]  # fmt: skip

BROKEN: list[tuple[Callable[[Story], Verdict], list[Event]]] = [
    (invariants.nothing_killed, [begun(2), *stopped(5, "scale")]),
    (invariants.nothing_killed, [begun(2), ended(4, how="aborted: SystemExit"),
                                 *stopped(5, "scale")]),
    (invariants.nothing_lost, [published(), begun(2)]),
    (invariants.nothing_lost, [published(), begun(2), killed(3)]),
    (invariants.nothing_lost, [published(early=True), begun(2), *stopped(5, "scale")]),
    (invariants.nothing_twice, [begun(2), ended(3), begun(9, sid=20, pid=21)]),
    (invariants.nothing_twice, [published(1), fault(1.2, 1.4, "broker"), begun(9),
                                begun(9.1, sid=20, pid=21)]),
    (invariants.nothing_twice, [begun(2), *stopped(5, "scale"), begun(9, sid=20, pid=21)]),
    (invariants.within_limits, [changed(1, 0, 7)]),
    (invariants.within_limits, [asked(1, 7)]),
    (invariants.calls_spaced, [changed(0.5, 0, 2), asked(1, 3), asked(2, 4)]),
    (invariants.back_at_minimum, [event("quiet", 80, took=None, undone={})]),
    (invariants.back_at_minimum, [event("quiet", 80, took=91.0, undone={})]),
    (invariants.nothing_raised, [
        event("raised", 2, until=4, plain=False, error="redis.exceptions.ConnectionError: no"),
    ]),
    (invariants.nothing_failed, [
        event("failure", 99, log="worker.1.log", message="an evaluation failed", trace=["E"]),
    ]),
    (invariants.scaler_replaced, [event("replaced", 20, killed_at=5, took=None)]),
    (invariants.scaler_replaced, [event("replaced", 30, killed_at=5, took=15.5)]),
    (invariants.keys_bounded, [
        event("key", 99, name="{middle-management:myapp}:workers", size=3, ttl=-1, live=3),
    ]),
    (invariants.keys_bounded, [event("key", 99, name="other", size=1, ttl=9, live=3)]),
    (invariants.never_slower, [
        fault(0, 50, "ledger"), published(1, "a"), published(2, "b", took=0.06),
        published(3, "c", plain=True, pid=2), published(4, "d", plain=True, pid=2),
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("check", "events"), HELD)
def test_held(check: Callable[[Story], Verdict], events: list[Event]) -> None:
    assert check(Story([SETTINGS, *events, QUIET])).broken == []


@pytest.mark.parametrize(("check", "events"), BROKEN)
def test_broken(check: Callable[[Story], Verdict], events: list[Event]) -> None:
    assert check(Story([SETTINGS, *events, QUIET])).broken != []


def test_only_a_task_nowhere_in_the_broker_can_be_lost_by_kombu() -> None:
    def judged(where: str) -> bool:
        quiet = {**QUIET, "undone": {"t": where}}
        return invariants.nothing_lost(Story([SETTINGS, published(), killed(2), quiet])).held

    assert judged("nowhere")
    assert not judged("taken")


def test_a_journal_is_read_as_it_was_written(tmp_path: Any) -> None:
    journal = Journal(tmp_path / "journal")
    journal.write("second", at=2.0, fact="one")
    journal.write("first", at=1.0)

    assert [e["kind"] for e in read(tmp_path / "journal")] == ["first", "second"]
