"""What is wrong, since when, and when it is over."""

from __future__ import annotations

from celery_middle_management.core.trouble import Trouble, renewed
from celery_middle_management.ledger.codec import pack_troubles, unpack_troubles

OLD = {
    "platform": Trouble("the key is refused", 10.0),
    "count": Trouble("the broker is away", 20.0),
    "count queue mail": Trouble("no permission", 30.0),
}


def test_what_is_met_again_goes_on_since_it_was_first_met() -> None:
    met = {"platform": Trouble("Heroku does not answer", 60.0)}
    found = renewed(OLD, met, {"platform"})
    assert found["platform"] == Trouble("Heroku does not answer", 10.0)


def test_what_was_tried_without_trouble_is_over() -> None:
    assert renewed(OLD, {}, {"count"}) == {"platform": OLD["platform"]}


def test_what_nobody_tried_is_as_it_was() -> None:
    assert renewed(OLD, {}, {"refused"}) == OLD
    assert renewed(OLD, {}, ()) == OLD


def test_new_trouble_begins_now() -> None:
    new = Trouble("a limit", 60.0, "worker")
    assert renewed(OLD, {"refused worker": new}, {"refused"}) == {**OLD, "refused worker": new}


def test_the_ledger_keeps_it() -> None:
    told = {**OLD, "refused pdf": Trouble("no such type", 1.0, "pdf")}
    assert unpack_troubles(pack_troubles(told)) == told
    assert unpack_troubles(None) == {}


def test_a_later_release_may_say_more() -> None:
    assert unpack_troubles('{"new thing": {"what": "odd", "more": 1}}') == {
        "new thing": Trouble("odd", 0.0)
    }
