"""What is sent of the page's document, and which trouble is kept back."""

from __future__ import annotations

from typing import Any

import pytest

from celery_middle_management import inspection
from celery_middle_management.views.look import Look
from celery_middle_management.web.document import (
    FRESH,
    LOOK_LASTS,
    PageData,
    Patience,
    Read,
    sent,
    tags_of,
)

SPAN = {"start": "2026-11-29T10:00:00+00:00", "step": 60, "pools": {"pdf": {"waiting": [1, 2, 3]}}}
DOCUMENT: dict[str, Any] = {
    "status": {"at": "now"},
    "history": {"hour": SPAN, "day": {**SPAN, "step": 600}, "week": {**SPAN, "step": 600}},
    "events": [{"action": "hire"}],
    "money": None,
}


def trouble(kind: str, since: str | None = None) -> dict[str, Any]:
    return {"pool": None, "what": kind, "since": since, "kind": kind}


def test_a_page_that_has_nothing_gets_everything() -> None:
    tags = tags_of(DOCUMENT)
    assert sent(Read(DOCUMENT, tags), []) == {**DOCUMENT, "tags": tags}


def test_a_page_gets_the_last_interval_of_what_it_has() -> None:
    tags = tags_of(DOCUMENT)
    told = sent(Read(DOCUMENT, tags), [tags["hour"], tags["events"]])
    assert told["history"]["hour"] == {
        **SPAN,
        "pools": {"pdf": {"waiting": [3]}},
        "only_last": True,
    }
    assert told["history"]["day"] == DOCUMENT["history"]["day"]
    assert told["events"] is None
    assert told["status"] == DOCUMENT["status"]


def test_the_tags_change_with_what_they_stand_for() -> None:
    before = tags_of(DOCUMENT)
    now = {**SPAN, "pools": {"pdf": {"waiting": [1, 2, 4]}}}
    assert tags_of({**DOCUMENT, "history": {**DOCUMENT["history"], "hour": now}}) == before
    for changed in (
        {**SPAN, "pools": {"pdf": {"waiting": [1, 1, 3]}}},
        {**SPAN, "start": "2026-11-29T10:01:00+00:00"},
    ):
        after = tags_of({**DOCUMENT, "history": {**DOCUMENT["history"], "hour": changed}})
        assert {name for name in before if before[name] != after[name]} == {"hour"}
    after = tags_of({**DOCUMENT, "events": []})
    assert {name for name in before if before[name] != after[name]} == {"events"}


def test_trouble_that_may_pass_is_shown_after_two_documents_and_two_looks() -> None:
    patience, passing, lasting = Patience(), trouble("unserved"), trouble("silent", "since then")
    assert patience.shown([passing, lasting], 1, 0.0) == [lasting]
    assert patience.shown([passing, lasting], 1, 9.0) == [lasting]
    assert patience.shown([passing, lasting], 2, FRESH - 0.1) == [lasting]
    assert patience.shown([passing, lasting], 2, 10.0) == [passing, lasting]
    assert patience.shown([lasting], 3, 12.0) == [lasting]
    assert patience.shown([passing], 4, 14.0) == []


def test_a_document_without_a_look_is_not_one_after_a_later_look() -> None:
    patience, passing = Patience(), trouble("unserved")
    assert patience.shown([passing], 5, 0.0) == []
    assert patience.shown([passing], 0, 30.0) == []
    assert patience.shown([passing], 6, 60.0) == [passing]


def test_a_page_that_asks_rarely_gets_a_fresh_look_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, looks = [0.0], [Look(ready={"celery": n}) for n in range(3)]
    given: list[Look] = []
    monkeypatch.setattr("celery_middle_management.web.latest.monotonic", lambda: now[0])
    monkeypatch.setattr(inspection, "look", lambda _: looks[len(given)])
    monkeypatch.setattr(
        inspection,
        "page_document",
        lambda _, look: given.append(look) or {**DOCUMENT, "status": {"trouble": []}},
    )
    app: Any = object()
    data = PageData(lambda: app)
    for now[0] in (0.0, LOOK_LASTS + 1, 2 * LOOK_LASTS + 2):
        assert data.get().value
    assert given == looks


def test_trouble_that_is_known_to_last_is_shown_at_once() -> None:
    known = trouble("unserved", "2026-11-29T10:00:00+00:00")
    assert Patience().shown([known], 1, 0.0) == [known]
