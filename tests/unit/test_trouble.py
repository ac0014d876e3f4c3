"""What is wrong, since when, and when it is over."""

from __future__ import annotations

import json
from typing import Any

from celery_middle_management.cli.log import told
from celery_middle_management.core.pool_state import PoolState
from celery_middle_management.core.pools import Pool
from celery_middle_management.core.trouble import (
    MOST_TOLD,
    TELL_AGAIN,
    Told,
    Trouble,
    renewed,
    retold,
)
from celery_middle_management.evaluation.troubles import Troubles
from celery_middle_management.ledger.codec import (
    pack_told,
    pack_troubles,
    unpack_told,
    unpack_troubles,
)
from celery_middle_management.ledger.model import Changes, Snapshot

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


def test_what_was_not_tried_is_as_it_was() -> None:
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


# -- what the history says of it

REFUSED = {"platform": Trouble("the key is refused", 100.0)}


def told_through(*course: tuple[float, dict[str, Trouble]]) -> list[tuple[str, bool, float]]:
    """What the history gets while it is so from these times on: kind, whether over, since when."""
    known: dict[str, Told] = {}
    entries = []
    for now, troubles in course:
        known, turns = retold(unpack_told(pack_told(known)), troubles, now)
        entries += [(kind, turn.over, turn.since) for kind, turn in turns.items()]
    return entries


def test_a_trouble_is_told_when_it_begins_and_when_it_is_over() -> None:
    course = [(100.0, REFUSED), (101.0, REFUSED), (160.0, {}), (161.0, {})]
    assert told_through(*course) == [("platform", False, 100.0), ("platform", True, 100.0)]


def test_one_whose_words_change_is_told_once() -> None:
    course = [(t, {"count": Trouble(f"{t} queues fail", 100.0)}) for t in range(100, 160)]
    assert told_through(*course) == [("count", False, 100.0)]


def test_one_that_comes_and_goes_does_not_flood_the_history() -> None:
    course = [(float(t), REFUSED if t % 2 else {}) for t in range(3600)]
    assert 2 <= len(told_through(*course)) <= 2 * 3600 / TELL_AGAIN


def test_one_that_comes_again_and_stays_is_told_late_rather_than_never() -> None:
    again = {"platform": Trouble("the key is refused", 120.0)}
    course = [(100.0, REFUSED), (110.0, {}), (120.0, again), (90.0 + TELL_AGAIN, again)]
    assert told_through(*course) == [("platform", False, 100.0), ("platform", True, 100.0)]
    late = (100.0 + TELL_AGAIN, again)
    assert told_through(*course, late)[2:] == [("platform", False, 120.0)]
    assert told_through(*course, late, (9999.0, {}))[3:] == [("platform", True, 120.0)]


def test_a_thousand_at_once_do_not_flood_the_history() -> None:
    many = {f"count queue {n}": Trouble("no permission", 100.0) for n in range(1000)}
    course = [(float(t), many if t % 2 else {}) for t in range(100, 400)]
    assert len(told_through(*course)) == 2 * MOST_TOLD


def test_what_another_release_met_or_ended_is_told_by_the_next_one_that_tells() -> None:
    # It knows nothing of what is told, and leaves it as it is.
    assert told_through((500.0, REFUSED)) == [("platform", False, 100.0)]
    assert told_through((100.0, REFUSED), (5000.0, {}))[1:] == [("platform", True, 100.0)]


def written(state: dict[str, str], now: float, *met: str) -> tuple[list[dict[str, Any]], Changes]:
    """What an evaluation adds to the history that tries the platform and meets these."""
    changes = Changes()
    troubles = Troubles(Snapshot(now, state, {}, (), {}), changes, lambda *_: None)
    troubles.tried("platform")
    for what in met:
        troubles.meet("platform", what)
    deaf = PoolState(Pool("worker", None, 0, 5, 1), now=now, deaf={"worker.2": now - 60})
    troubles.write([deaf] if met else [])
    for name in changes.unset:
        state.pop(name, None)
    state |= changes.set
    return [json.loads(entry) for entry in changes.history], changes


def test_it_is_written_together_with_the_history() -> None:
    state: dict[str, str] = {}
    begun, changes = written(state, 1000.0, "the key is refused. Set another")
    assert {"trouble", "told"} == changes.set.keys()
    assert [(e["action"], e["kind"], e["pool"]) for e in begun] == [
        ("trouble", "platform", None),
        ("trouble", "deaf worker.2", "worker"),
    ]
    over, changes = written(state, 1042.0)
    assert "trouble" in changes.unset
    assert [(e["action"], e["lasted"]) for e in over] == [
        ("trouble over", 42.0),
        ("trouble over", 102.0),
    ]
    # `mm log` of the release before reads these, and no `to` where there is none.
    for entry in begun + over:
        assert {"pool", "at", "action", "reason"} <= entry.keys()
        assert "to" not in entry
    assert told(over[0]) == (
        "1970-01-01 00:17:22Z  all pools  trouble over  after 42 s  the key is refused"
    )


def test_the_log_fits_a_narrow_screen() -> None:
    begun, _ = written({}, 1000.0, "the key is refused: " + "set a new one " * 12)
    lines = told(begun[0], 80).splitlines()
    assert len(lines) > 1
    assert max(map(len, lines)) <= 80
    assert all(line.startswith(" " * 22) for line in lines[1:])
    assert told(begun[1], 80).replace("\n" + " " * 22, " ") == told(begun[1])
