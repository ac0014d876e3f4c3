"""The package's own signals: which are sent, with what, and that receivers disturb nothing."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery

from celery_middle_management import signals
from celery_middle_management.evaluation.session import Session
from celery_middle_management.ledger.model import Lease, LeaseLost, Snapshot
from celery_middle_management.reporting import signalling
from celery_middle_management.reporting.signalling import MOST_WAITING, Signalling, signal_of
from tests.servers import wait_for

AT = "2026-11-29T10:00:00.000+00:00"
HIRE = {"pool": "worker", "at": AT, "action": "hire", "from": 2, "to": 5, "reason": "27 tasks"}
TROUBLE = {"pool": None, "at": AT, "action": "trouble", "kind": "platform", "reason": "no key"}
STUCK = {
    "pool": "pdf",
    "at": AT,
    "action": "stuck at max",
    "kind": "stuck pdf",
    "reason": "9 tasks",
}


@pytest.fixture(name="app")
def _app() -> Celery:
    return Celery("signalling", set_as_current=False)


@pytest.fixture(name="connect")
def _connect() -> Iterator[Callable[..., None]]:
    """Connects receivers for the length of a test."""
    connected = []

    def connect(receiver: Callable[..., object], name: str = "workers_hired", **how: Any) -> None:
        getattr(signals, name).connect(receiver, weak=False, **how)
        connected.append((name, receiver, how.get("sender")))

    yield connect
    for name, receiver, sender in connected:
        getattr(signals, name).disconnect(receiver, sender=sender)


def packed(*entries: dict[str, Any]) -> list[str]:
    return [json.dumps(entry) for entry in entries]


def test_each_signal_is_sent_with_what_its_documentation_says(
    app: Celery, connect: Callable[..., None]
) -> None:
    got: list[tuple[str, dict[str, Any]]] = []
    for name in signals.__all__:

        def receive(sender: Any, signal: Any, name: str = name, **told: Any) -> None:
            assert sender is app
            assert {*signal.providing_args} == {*told}
            got.append((name, told))

        connect(receive, name, sender=app)
    dry = {**HIRE, "dry_run": True}
    fire = {**HIRE, "action": "fire", "to": 0}
    Signalling(app).send(packed(HIRE, fire, dry, TROUBLE, STUCK))
    wait_for(lambda: len(got) == 5)
    at = datetime(2026, 11, 29, 10, tzinfo=timezone.utc)
    change = {"pool": "worker", "before": 2, "after": 5, "reason": "27 tasks", "at": at}
    assert got == [
        ("workers_hired", {**change, "dry_run": False}),
        ("workers_fired", {**change, "after": 0, "dry_run": False}),
        ("workers_hired", {**change, "dry_run": True}),
        ("scaling_failed", {"pool": None, "kind": "platform", "reason": "no key", "at": at}),
        ("stuck_at_max", {"pool": "pdf", "reason": "9 tasks", "at": at}),
    ]


@pytest.mark.parametrize(
    "entry",
    [
        {**TROUBLE, "action": "trouble over"},
        {**TROUBLE, "kind": "deaf worker.1"},  # its pool is scaled all the same
        {**TROUBLE, "kind": "missed worker.1"},
        {**STUCK, "action": "stuck at max over"},
        {**HIRE, "action": "by hand"},
        {**HIRE, "action": "of a later release"},
    ],
)
def test_of_other_entries_no_signal_is_sent(entry: dict[str, Any]) -> None:
    assert signal_of(entry) is None


def test_where_nothing_listens_there_is_no_thread(
    app: Celery, connect: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(lambda **_: None, sender=Celery("another", set_as_current=False))
    signalling_ = Signalling(app)
    monkeypatch.setattr(signalling_._thread, "wake", lambda: pytest.fail("woken"))
    signalling_.send(packed(HIRE))


def test_a_receiver_that_raises_keeps_no_other_from_its_signal(
    app: Celery, connect: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    got = []

    def fail(**_: object) -> None:
        raise ValueError("a receiver's own fault")

    connect(fail)
    connect(lambda after, **_: got.append(after))
    Signalling(app).send(packed(HIRE, {**HIRE, "to": 6}))
    wait_for(lambda: got == [5, 6])
    assert caplog.text.count("a receiver's own fault") >= 2


def test_a_receiver_that_hangs_holds_one_thread_and_is_logged(
    app: Celery,
    connect: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go_on, got = threading.Event(), []

    def hang(after: int, **_: object) -> None:
        got.append(after)
        go_on.wait(60)

    connect(hang)
    its = Signalling(app)
    its.send(packed(HIRE))
    wait_for(lambda: got == [5])
    monkeypatch.setattr(signalling, "SLOW", -1.0)
    for to in range(MOST_WAITING + 50):
        its.send(packed({**HIRE, "to": to}))
    assert [t.name for t in threading.enumerate()].count("mm-signals") == 1
    assert caplog.text.count("has not returned") == 1
    go_on.set()
    # The latest are kept.
    wait_for(lambda: got == [5, *range(50, MOST_WAITING + 50)])


def test_what_the_ledger_has_not_stored_is_not_told() -> None:
    """An evaluation that has lost the lock has done nothing more that counts."""
    ledger = Losing()
    ports: Any = SimpleNamespace(ledger=ledger, clock=lambda: 0.0, able_since=0.0)
    session = Session(Lease("token", 0.0), ports)
    session.changes.history.append("stored")
    session.commit()
    session.changes.history.append("lost")
    ledger.lost = True
    with pytest.raises(LeaseLost):
        session.commit()
    assert session.written == ["stored"]


class Losing:
    """A ledger whose lock is lost."""

    lost = False

    def snapshot(self) -> Snapshot:
        return Snapshot(0.0, {}, {}, (), {})

    def commit(self, lease: Lease, *_: object) -> Lease:
        if self.lost:
            raise LeaseLost
        return lease


def test_the_documentation_names_every_signal_and_its_arguments() -> None:
    page = Path(__file__).parents[2].joinpath("docs", "messages.md").read_text()
    told = {
        name: {*re.findall(r"`(\w+)`", row[-1])}
        for row in (line.split("|")[1:-1] for line in page.splitlines() if line.startswith("| `"))
        for name in re.findall(r"`(\w+)`", row[0])
    }
    sent: Any = {name: {*getattr(signals, name).providing_args} for name in signals.__all__}
    assert told == sent
