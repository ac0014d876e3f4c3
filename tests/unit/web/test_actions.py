"""What a request may ask for: bad input is refused before anything is written."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from celery_middle_management.core.pools import Pool
from celery_middle_management.ledger.manual_scaling import NotDone, pause
from celery_middle_management.ledger.memory import MemoryLedger
from celery_middle_management.ledger.memory_store import Store
from celery_middle_management.web.actions import ACTIONS, BadInput, read_body
from tests.unit.snapshots import NOW, settings


def managed(*names: str) -> Any:
    """An app whose ledger must not be asked for."""
    pools = [Pool(name, (name,), 0, 5, 10) for name in names]
    return SimpleNamespace(settings=SimpleNamespace(pools=pools), ledger=lambda: None)


def managed_with_ledger(*names: str) -> tuple[Any, MemoryLedger]:
    """An app each of whose pools has one worker, and its ledger."""
    ours = managed(*names)
    ledger = MemoryLedger(settings(*ours.settings.pools), Store(lambda: NOW))
    ledger.store.state |= {f"{name}/quantity": "1" for name in names}
    ours.ledger = lambda: ledger
    return ours, ledger


@pytest.mark.parametrize("raw", [b"", b"[]", b"1", b"{", b"\xff", b"null", b"[" * 4000, b'"x"'])
def test_a_body_that_is_no_object(raw: bytes) -> None:
    with pytest.raises(BadInput, match="not a JSON object"):
        read_body(raw)


@pytest.mark.parametrize(
    ("action", "body", "said"),
    [
        ("pause", {"hires": "yes"}, "'hires' is \"yes\"; allowed: true or false"),
        ("pause", {"fires": None}, "'fires' is null; allowed: true or false"),
        ("pause", {"hires": False, "fires": False}, "neither 'hires' nor 'fires' is true"),
        ("pause", {"for": 0}, "'for' is 0; allowed: seconds, from 1 to"),
        ("pause", {"for": 1e300}, "'for' is 1e+300; allowed"),
        ("pause", {"for": float("nan")}, "'for' is NaN; allowed"),
        ("pause", {"for": True}, "'for' is true; allowed"),
        ("pause", {"for": "1h"}, "'for' is \"1h\"; allowed"),
        ("hire", {"number": 1}, "there is no pool null; allowed: 'worker', 'pdf'"),
        ("hire", {"pool": "x", "number": 1}, "there is no pool \"x\"; allowed: 'worker', 'pdf'"),
        ("hire", {"pool": ["pdf"], "number": 1}, 'there is no pool ["pdf"]'),
        ("fire", {"pool": "pdf"}, "'number' is null; allowed: a whole number from 1"),
        ("fire", {"pool": "pdf", "number": 0}, "'number' is 0; allowed"),
        ("fire", {"pool": "pdf", "number": -1}, "'number' is -1; allowed"),
        ("fire", {"pool": "pdf", "number": 1.5}, "'number' is 1.5; allowed"),
        ("fire", {"pool": "pdf", "number": True}, "'number' is true; allowed"),
        ("hire", {"pool": "pdf", "number": 10**9}, "'number' is 1000000000; allowed"),
        ("hire", {"pool": "pdf", "number": 1, "for": -5}, "'for' is -5; allowed"),
        ("hire", {"pool": "pdf", "number": 1, "id": 7}, "'id' is 7; allowed: 32 of the characters"),
        ("pause", {"id": "hires"}, "'id' is \"hires\"; allowed: 32"),
        ("resume", {"id": ""}, "'id' is \"\"; allowed: 32"),
        ("hire", {"pool": "x" * 10000, "number": 1}, f'there is no pool "{"x" * 59}…; allowed'),
    ],
)
def test_bad_input_is_named_with_what_is_allowed(
    action: str, body: dict[str, Any], said: str
) -> None:
    given = read_body(json.dumps(body).encode())
    with pytest.raises(BadInput) as error:
        ACTIONS[action](managed("worker", "pdf"), given, "ann")
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("action", "body"),
    [("hire", {"number": 4}), ("fire", {"number": 1}), ("pause", {}), ("resume", {})],
)
def test_what_is_sent_again_because_no_answer_came_is_done_once(
    action: str, body: dict[str, Any]
) -> None:
    ours, ledger = managed_with_ledger("worker")
    first, again = (ACTIONS[action](ours, {**body, "id": "0" * 32}, "ann") for _ in range(2))
    assert again == first
    assert len(ledger.actions()) == 1
    ACTIONS["resume"](ours, {"id": "1" * 32}, "ann")
    assert len(ledger.actions()) == 2


HIRE: dict[str, Any] = {"pool": "worker", "number": 1, "for": 60}


@pytest.mark.parametrize(
    ("action", "body"),
    [
        ("fire", HIRE),
        ("pause", {}),
        ("resume", {}),
        ("hire", {**HIRE, "pool": "pdf"}),
        ("hire", {**HIRE, "number": 2}),
        ("hire", {**HIRE, "for": 61}),
    ],
)
def test_an_id_that_another_request_had_is_refused_and_nothing_is_done(
    action: str, body: dict[str, Any]
) -> None:
    ours, ledger = managed_with_ledger("worker", "pdf")
    ACTIONS["hire"](ours, {**HIRE, "id": "0" * 32}, "ann")
    before = dict(ledger.store.state)
    with pytest.raises(NotDone, match=r"^nothing was done, because another request was sent with"):
        ACTIONS[action](ours, {**body, "id": "0" * 32}, "ann")
    assert (len(ledger.actions()), ledger.store.state) == (1, before)


def test_what_is_said_in_other_words_is_the_same_request() -> None:
    ours, ledger = managed_with_ledger("worker")
    for body in ({}, {"hires": True, "for": None}):
        ACTIONS["pause"](ours, {**body, "id": "0" * 32}, "ann")
    for body in ({"number": 2}, {"pool": "worker", "number": 2, "for": 600.0}):
        ACTIONS["hire"](ours, {**body, "id": "1" * 32}, "ann")
    assert len(ledger.actions()) == 2


def test_what_the_release_before_this_one_has_written_is_not_done_again() -> None:
    ours, ledger = managed_with_ledger("worker")
    written = pause(ledger, "ann", hires=True, fires=True, lasts=None, id="0" * 32)
    assert ACTIONS["pause"](ours, {"id": "0" * 32}, "ann") == written
    assert len(ledger.actions()) == 1
