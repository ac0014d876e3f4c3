"""The release before and the release after can read what a release writes into the ledger."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from celery_middle_management.core.cordon import Cordon
from celery_middle_management.core.demand import Count, Held
from celery_middle_management.core.pool_state import Parked, Refusal, Sent
from celery_middle_management.core.presence import Presence, Run
from celery_middle_management.ledger.codec import (
    filled,
    pack_cordon,
    pack_count,
    pack_presence,
    unpack_cordon,
    unpack_count,
    unpack_presence,
)

#: As release 7d5663f wrote them.
OLD_PRESENCE = (
    '{"name":"worker.1","pool":"worker","since":12.5,"stopped":0.0,"closing":false,"busy":1,'
    '"returning":0,"queues":["celery"],"held":{"celery":[1,1,2,4]},'
    '"due":{"celery":{"1700000000":2}},"recent":{}}'
)
OLD_CORDON = '{"above":2,"names":["worker.1"],"at":12.5,"since":{"worker.3":12.5}}'
OLD_COUNT = (
    '{"at": 12.5, "waiting": 3, "running": 1, "scheduled": 2, "restore_at": null, "drift": -1}'
)
PRESENCE = Presence(
    *("a", "worker.1", "worker", 12.5, 20.0),
    busy=1,
    queues=("celery",),
    held={"celery": Held(1, 1, 2, 4)},
    due={"celery": {1_700_000_000: 2}},
)
CORDON = Cordon(2, frozenset({"worker.1"}), 12.5, {"worker.3": 12.5})
COUNT = Count(12.5, 3, 1, 2)


def test_documents_of_the_release_before_are_read() -> None:
    assert unpack_presence(json.loads(OLD_PRESENCE), "a", 20.0) == PRESENCE
    assert unpack_cordon(OLD_CORDON) == CORDON
    assert unpack_count(json.loads(OLD_COUNT)) == COUNT


def test_the_release_before_finds_all_fields_that_it_knows() -> None:
    """It reads some fields without a default, and fails on a value that it does not expect."""
    old, new = json.loads(OLD_PRESENCE), json.loads(pack_presence(PRESENCE))
    assert {name: new[name] for name in old} == old
    assert json.loads(pack_cordon(CORDON)) == json.loads(OLD_CORDON)
    assert json.loads(pack_count(COUNT, -1)) == json.loads(OLD_COUNT)


def test_fields_that_the_release_after_adds_are_ignored() -> None:
    more = {"added": [1]}
    later = json.loads(OLD_PRESENCE) | more
    later["held"] = {"celery": [1, 1, 2, 4, 9]}
    assert unpack_presence(dict(later), "a", 20.0) == PRESENCE
    assert not unpack_presence(later | {"silent": True}, "a", 20.0).silent(now=20.0)
    runs = unpack_presence(later | {"runs": [["app.encode", 12.5, "more"]]}, "a", 20.0).runs
    assert runs == (Run("app.encode", 12.5),)
    assert unpack_cordon(json.dumps(json.loads(OLD_CORDON) | more)) == CORDON
    assert unpack_count(json.loads(OLD_COUNT) | more) == COUNT
    assert filled(Sent, {"to": 1, "until": 2.0} | more) == Sent(1, 2.0)
    assert filled(Parked, more) == Parked()
    refusal = {"why": "full", "at": 1.0, "until": 2.0}
    assert filled(Refusal, refusal | more) == Refusal("full", 1.0, 2.0)


def test_missing_fields_have_a_default() -> None:
    assert unpack_presence({"name": "worker.1"}, "a", 20.0) == Presence(
        "a", "worker.1", None, 0.0, 20.0
    )
    assert unpack_cordon('{"above": 1}') == Cordon(1)
    assert unpack_count({"at": 12.5}) == Count(12.5, 0, 0, 0)
    assert unpack_count({}) is None
    # The cordons that report.lua makes when the ledger has lost its data have no or empty names.
    assert unpack_cordon('{"above": 1, "names": {}}') == Cordon(1)


@pytest.mark.parametrize("cordon", [Cordon(), Cordon(0), CORDON])
def test_a_cordon_is_read_as_it_was_written(cordon: Cordon) -> None:
    assert unpack_cordon(pack_cordon(cordon)) == cordon


def test_a_presence_is_read_as_it_was_written() -> None:
    presence = replace(
        PRESENCE,
        runs=(Run("app.encode", 12.5), Run("app.thumb", 13.0)),
        slots=4,
        elapsed=14.5,
    )
    assert unpack_presence(json.loads(pack_presence(presence)), "a", 20.0) == presence
