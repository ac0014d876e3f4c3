"""Requests by hand at the same moment, and to a Redis that answers late or not at all."""

from __future__ import annotations

import json
import math
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import redis

from celery_middle_management.demo.redis_server import RedisServer
from celery_middle_management.ledger import connection
from celery_middle_management.ledger.manual_scaling import (
    NotDone,
    OutcomeUnknown,
    QuantityUnknown,
    ask_for,
    pause,
    resume,
)
from celery_middle_management.ledger.pool_reading import read_pool
from celery_middle_management.ledger.redis import RedisLedger
from tests.integration.office import Office

PEOPLE = 12
HOUR = 3600.0


class Ours(Office):
    """One pool, of which the ledger says that it has one worker."""

    def __init__(self, url: str) -> None:
        super().__init__(url, max_workers=30)
        [self.pool] = self.settings.pools
        self.has(1)

    def has(self, workers: int) -> None:
        state = self.ledger.keys["state"]
        self.redis.hset(state, "worker/quantity", workers)
        self.redis.expire(state, 600)

    def hire(self, more: int, who: str, lasts: float = HOUR, **others: RedisLedger) -> Any:
        return ask_for(others.get("ledger", self.ledger), self.pool, more, who, lasts)

    @property
    def wish(self) -> tuple[int | None, int | None]:
        wish = read_pool(self.ledger.snapshot(), self.pool).wish
        return (wish.least, wish.most) if wish else (None, None)

    def log(self) -> list[tuple[str, int | None, int | None]]:
        """What was asked for, the oldest first."""
        entries = map(json.loads, reversed(self.ledger.actions()))
        return [(e["action"], e.get("from"), e.get("to")) for e in entries]

    def meanwhile(self, act: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
        """Let another act between the next reading of the ledger and the write that follows."""
        read = self.ledger.snapshot

        def snapshot() -> Any:
            monkeypatch.undo()
            found = read()
            act()
            return found

        monkeypatch.setattr(self.ledger, "snapshot", snapshot)


@pytest.fixture
def ours(redis_url: str) -> Iterator[Ours]:
    it = Ours(redis_url)
    yield it
    it.ledger.close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisServer]:
    """A Redis of its own, for which clients wait two seconds, twice."""
    monkeypatch.setattr(connection, "TIMEOUT", 2.0)
    with RedisServer() as it:
        yield it


def test_those_who_hire_at_once_get_what_each_asked_for(ours: Ours) -> None:
    ledgers = [RedisLedger(ours.settings) for _ in range(PEOPLE)]
    at_once = threading.Barrier(PEOPLE)

    def hire(number: int) -> Any:
        at_once.wait(30)
        return ours.hire(2, f"person-{number}", ledger=ledgers[number])

    with ThreadPoolExecutor(PEOPLE) as people:
        entries = list(people.map(hire, range(PEOPLE)))
    for ledger in ledgers:
        ledger.close()
    assert sorted((e["from"], e["to"]) for e in entries) == [
        (1 + 2 * n, 3 + 2 * n) for n in range(PEOPLE)
    ]
    assert ours.wish == (1 + 2 * PEOPLE, None)
    assert sorted(ours.log()) == sorted((e["action"], e["from"], e["to"]) for e in entries)


def test_a_hire_rests_on_the_number_of_workers_at_that_moment(
    ours: Ours, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours.meanwhile(lambda: ours.has(4), monkeypatch)
    assert (ours.hire(1, "ann")["from"], ours.wish) == (4, (5, None))


def test_what_was_withdrawn_meanwhile_does_not_come_back(
    ours: Ours, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours.hire(3, "ann")
    ours.meanwhile(lambda: resume(ours.settings, ours.ledger, "bob"), monkeypatch)
    ours.hire(1, "eve")
    assert ours.wish == (2, None)
    assert ours.log() == [
        ("ask to hire", 1, 4), ("resume", None, None), ("ask to hire", 1, 2),
    ]  # fmt: skip


def test_pauses_at_once_both_hold(ours: Ours, monkeypatch: pytest.MonkeyPatch) -> None:
    ours.meanwhile(
        lambda: pause(ours.ledger, "bob", hires=False, fires=True, lasts=60.0), monkeypatch
    )
    told = pause(ours.ledger, "ann", hires=True, fires=False, lasts=None)
    paused = read_pool(ours.ledger.snapshot(), ours.pool).pause
    assert paused is not None
    assert (paused.hires, paused.fires, paused.who) == (True, True, "bob, ann")
    assert paused.then is not None
    assert (paused.then.hires, paused.then.fires, paused.then.until) == (True, False, None)
    assert re.fullmatch(r"bob has paused fires until 20\d\d(-\d\d){2} [\d:]{8}Z", told["reason"])


def test_a_hire_and_a_fire_cancel_out_before_either_took_effect(ours: Ours) -> None:
    assert ours.hire(4, "ann")["to"] == 5
    fired = ours.hire(-4, "bob")
    assert (fired["from"], fired["to"]) == (5, 1)
    taken_back = (
        r"there is 1, and ann has asked for 5; ends the hire of ann, until 20[-\d]{8} [\d:]{8}Z"
    )
    assert re.fullmatch(taken_back, fired["reason"])
    assert ours.wish == (None, 1)
    assert re.fullmatch(
        r"ends the fire of bob, until 20[-\d]{8} [\d:]{8}Z", ours.hire(4, "ann")["reason"]
    )
    assert ours.wish == (5, None)


def test_the_limits_hold_for_all_together(ours: Ours) -> None:
    assert ours.hire(28, "ann")["to"] == 29
    assert ours.hire(5, "bob")["reason"].endswith("; not 5 more: max_workers is 30")
    with pytest.raises(NotDone, match="has 1 worker, bob has asked for 30, and its max_workers"):
        ours.hire(1, "eve")
    assert len(ours.log()) == 2


def test_a_number_that_a_deploy_has_put_outside_the_limits(ours: Ours) -> None:
    ours.has(33)
    fired = ours.hire(-1, "ann")
    assert (fired["to"], fired["reason"]) == (30, "not 1 fewer: max_workers is 30")
    resume(ours.settings, ours.ledger, "ann")
    with pytest.raises(NotDone, match="has 33 workers, and its max_workers is 30"):
        ours.hire(1, "ann")
    ours.pool = replace(ours.pool, min_workers=3)
    ours.has(1)
    hired = ours.hire(1, "ann")
    assert (hired["to"], hired["reason"]) == (3, "not 1 more: min_workers is 3")
    with pytest.raises(NotDone, match="has 1 worker, ann has asked for 3, and its min_workers"):
        ours.hire(-1, "bob")


def test_a_hire_while_hires_are_paused_says_so(ours: Ours) -> None:
    pause(ours.ledger, "ann", hires=True, fires=False, lasts=None)
    assert ours.hire(1, "bob")["reason"] == "ann has paused hires until `mm resume`"
    assert "paused" not in ours.hire(-1, "bob")["reason"], "fires are not"


def test_resume_ends_the_requests_of_another_release(ours: Ours) -> None:
    state = ours.ledger.keys["state"]
    ours.redis.hset(state, "new-pool/wish", '{"until":1e12,"least":3}')
    ours.hire(1, "ann")
    pause(ours.ledger, "ann", hires=True, fires=True, lasts=None)
    resume(ours.settings, ours.ledger, "bob")
    fields: Any = ours.redis.hkeys(state)
    assert not [name for name in fields if name == "pause" or name.endswith("/wish")]


def test_it_says_that_the_number_of_workers_is_not_known(ours: Ours) -> None:
    ours.redis.delete(ours.ledger.keys["state"])
    with pytest.raises(QuantityUnknown):
        ours.hire(1, "ann")
    refusal = {"why": "there is no process type 'worker'", "at": 0.0, "until": 1e12}
    ours.redis.hset(ours.ledger.keys["state"], "worker/refusal", json.dumps(refusal))
    ours.redis.expire(ours.ledger.keys["state"], 600)
    with pytest.raises(NotDone, match="how many workers worker has: there is no process type"):
        ours.hire(1, "ann")
    assert ours.log() == []


@pytest.mark.parametrize("lasts", [0.0, -1.0, math.inf, math.nan, 1e15])
def test_no_duration(ours: Ours, lasts: float) -> None:
    with pytest.raises(ValueError, match="is not a duration in seconds; allowed: more than 0"):
        ours.hire(1, "ann", lasts)
    with pytest.raises(ValueError, match="is not a duration"):
        pause(ours.ledger, "ann", hires=True, fires=True, lasts=lasts)
    assert ours.log() == []


def test_a_request_that_is_sent_again_with_its_id_is_written_once(ours: Ours) -> None:
    ids = ["0" * 32, "0" * 32, "1" * 32]
    first, again, other = (
        ask_for(ours.ledger, ours.pool, more, "ann", HOUR, id=id)
        for id, more in zip(ids, [29, 29, -1], strict=True)
    )
    assert again == first, "though the limit is reached"
    assert (other["from"], other["to"]) == (30, 29)
    assert len(ours.log()) == 2


def test_nothing_to_pause_or_to_hire(ours: Ours) -> None:
    with pytest.raises(ValueError, match="allowed: one of them, or both"):
        pause(ours.ledger, "ann", hires=False, fires=False, lasts=None)
    with pytest.raises(ValueError, match="allowed: 1 and more"):
        ours.hire(0, "ann")
    assert ours.log() == []


@pytest.mark.parametrize(
    ("who", "told"),
    [("ann\nb\x1b[31m", "ann b [31m"), ("", "unknown"), ("x" * 500, "x" * 80)],
)
def test_a_name_is_one_short_line(ours: Ours, who: str, told: str) -> None:
    assert ours.hire(1, who)["by"] == told


def test_a_request_that_redis_answers_late_is_written_once(server: RedisServer) -> None:
    """The client gives up waiting, and sends it again; Redis carries out both."""
    ours = Ours(server.url)
    assert ours.hire(1, "ann")["to"] == 2  # the script is loaded
    with suspended(server, ours, 2.7):
        assert ours.hire(1, "bob")["to"] == 3
    assert ours.log() == [("ask to hire", 1, 2), ("ask to hire", 2, 3)]
    assert ours.wish == (3, None)


def test_without_an_answer_the_outcome_is_unknown(server: RedisServer) -> None:
    ours = Ours(server.url)
    with suspended(server, ours, 30.0), pytest.raises(OutcomeUnknown, match="`mm log` shows it"):
        ours.hire(1, "ann")
    server.resume()
    assert ours.log() in ([], [("ask to hire", 1, 2)])


def test_where_redis_refuses_nothing_was_written(server: RedisServer) -> None:
    ours = Ours(server.url)
    ours.hire(1, "ann")
    ours.redis.config_set("maxmemory", 1)
    with pytest.raises(redis.RedisError) as refused:
        ours.hire(1, "bob")
    assert not isinstance(refused.value, OutcomeUnknown)
    ours.redis.config_set("maxmemory", 0)
    assert (ours.log(), ours.wish) == ([("ask to hire", 1, 2)], (2, None))


def test_where_redis_is_down_nothing_was_written(server: RedisServer) -> None:
    ours = Ours(server.url)
    server.kill()
    with pytest.raises(redis.RedisError) as down:
        resume(ours.settings, ours.ledger, "ann")
    assert not isinstance(down.value, OutcomeUnknown)


class suspended:
    """Suspends a server once a request has been worked out, for some seconds."""

    def __init__(self, server: RedisServer, ours: Ours, seconds: float) -> None:
        self._server, self._ledger = server, ours.ledger
        self._timer = threading.Timer(seconds, server.resume)

    def __enter__(self) -> None:
        send = self._ledger.intend

        def intend(*request: Any) -> bool:
            setattr(self._ledger, "intend", send)  # noqa: B010
            self._server.pause()
            self._timer.start()
            return send(*request)

        setattr(self._ledger, "intend", intend)  # noqa: B010

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
