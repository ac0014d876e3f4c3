"""What becomes of a request of the page's buttons, and how it is answered."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import bottle
import pytest
import redis
from celery import Celery

from celery_middle_management.ledger.manual_scaling import NotDone, OutcomeUnknown, QuantityUnknown
from celery_middle_management.settings.secret import Secret
from celery_middle_management.web import Page, Visitor, site
from celery_middle_management.web.document import PageData, Read
from celery_middle_management.web.forgery import new_token
from celery_middle_management.web.latest import Reading
from celery_middle_management.web.page import VISITOR
from tests.unit.web.wsgi import Answer, ask, environ_of

pytestmark = pytest.mark.usefixtures("plotting")
ANN = Visitor("ann@example.com", may_act=True)


class Managed:
    """An app whose ledger answers every request with *outcome*."""

    in_reach = True
    settings = SimpleNamespace(web_actions=True, redis_url=Secret("redis://here"))

    def __init__(self, outcome: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.outcome = outcome
        self.evaluations = 0
        self.found = 0
        monkeypatch.setattr(site, "enabled_app_of", self.find)
        monkeypatch.setattr(site, "ACTIONS", {"hire": self.hire})

    def find(self, _: Celery) -> Any:
        self.found += 1
        return self

    def hire(self, *_: object) -> Any:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def have_evaluated(self) -> None:
        self.evaluations += 1

    def asked(self) -> Answer:
        page, token = Page(Celery(set_as_current=False), lambda _: ANN), new_token()
        ours = {"HTTP_COOKIE": f"mm-page={token}", "HTTP_X_MM_TOKEN": token}
        return ask(page, "/hire", "POST", b"{}", CONTENT_TYPE="application/json", **ours)


def test_the_data_are_for_the_visitor_who_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where gevent has patched Python late, Bottle has another request after a wait."""
    managed = Managed({}, monkeypatch)
    page = Page(Celery(set_as_current=False), lambda _: ANN)

    def get(_: object) -> Reading[Read]:
        bottle.request.bind(environ_of("/data?has=x", **{VISITOR: Visitor("bob")}))
        document = {"history": {}, "events": [], "status": {}}
        return Reading(Read(document, {"events": "tag"}), 0.0, None, 0.0)

    monkeypatch.setattr(PageData, "get", get)
    told = json.loads(ask(page, "/data?has=tag").body)
    assert (told["visitor"], told["may_act"], told["events"]) == (ANN.name, True, None)
    assert managed.evaluations == 0


def test_the_settings_are_read_once_and_not_for_each_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    managed = Managed({}, monkeypatch)
    reading: Reading[Read] = Reading(None, 0.0, None, 0.0)
    monkeypatch.setattr(PageData, "get", lambda _: reading)
    page = Page(Celery(set_as_current=False), lambda _: ANN)
    assert [ask(page, "/data").status for _ in range(3)] == [503] * 3
    assert managed.found == 1


@pytest.mark.parametrize(
    ("outcome", "status", "unknown", "evaluations"),
    [
        ({"action": "ask to hire"}, 200, False, 1),
        (NotDone("the limit is reached"), 409, False, 0),
        (QuantityUnknown("it is not known yet"), 409, False, 1),
        (redis.ResponseError("it is full"), 503, False, 0),
        (OutcomeUnknown("no answer"), 503, True, 1),
        (KeyError("a fault of ours"), 500, True, 0),
    ],
)
def test_an_evaluation_follows_whatever_may_have_been_written_or_needs_one(
    outcome: Any,
    status: int,
    unknown: bool,
    evaluations: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    managed = Managed(outcome, monkeypatch)
    answer = managed.asked()
    told = json.loads(answer.body)
    assert (answer.status, told.get("unknown", False)) == (status, unknown)
    assert managed.evaluations == evaluations
