"""Counting what is in a Redis broker."""

from __future__ import annotations

import json
from collections.abc import Mapping
from time import time
from types import MappingProxyType
from typing import Any

import pytest
import redis
from celery import Celery

from celery_middle_management.brokers.base import CountFailed
from celery_middle_management.brokers.kombu import KombuBroker
from celery_middle_management.brokers.redis import RedisBroker
from celery_middle_management.core.demand import Backlog


def take(
    client: redis.Redis,
    tag: str,
    queue: str,
    at: float,
    *,
    headers: Mapping[str, Any] = MappingProxyType({"eta": None}),
    prefix: str = "",
) -> None:
    """Store a message as kombu does when a worker has taken it."""
    client.zadd(f"{prefix}unacked_index", {tag: at})
    client.hset(f"{prefix}unacked", tag, json.dumps([{"headers": {**headers}}, "", queue]))


def test_all_priorities_of_all_queues_count(redis_url: str) -> None:
    client = redis.Redis.from_url(redis_url)
    for name, tasks in {"a": 2, "a\x06\x163": 1, "a\x06\x169": 4, "b": 1}.items():
        client.rpush(name, *range(tasks))
    counted = RedisBroker(client, {}).backlogs(["a", "b", "c"], {})
    assert counted == {
        "a": Backlog(7, returned=0),
        "b": Backlog(1, returned=0),
        "c": Backlog(returned=0),
    }


def test_a_prefix_a_separator_and_other_steps_are_read_from_kombus_options(redis_url: str) -> None:
    client = redis.Redis.from_url(redis_url)
    client.rpush("app:a:5", "x")
    options = {"global_keyprefix": "app:", "sep": ":", "priority_steps": [0, 5]}
    assert RedisBroker(client, options).backlogs(["a"], {}) == {"a": Backlog(1, returned=0)}


def test_what_was_taken_just_now_still_waits_and_what_the_dead_took_comes_back(
    redis_url: str,
) -> None:
    client = redis.Redis.from_url(redis_url)
    long_ago = time() - 600
    take(client, "1", "a", long_ago)
    take(client, "2", "a", time())
    take(client, "3", "b", time())
    take(client, "4", "c", long_ago)
    take(client, "5", "d", time(), headers={"eta": "2100-01-01T00:00:00+00:00"})
    broker = RedisBroker(client, {"visibility_timeout": 1000})
    counted = broker.backlogs(["a", "b", "c", "d"], {"c": 1})
    assert counted["a"] == Backlog(1, 0, 1, pytest.approx(400, abs=30), 0, untold=1)
    assert (counted["b"].ready, counted["b"].orphans) == (1, 0)
    assert (counted["c"].ready, counted["c"].orphans) == (0, 0)
    assert (counted["d"].ready, counted["d"].scheduled) == (0, 1)
    reported = broker.backlogs(["a", "b", "c", "d"], {"a": 2, "b": 1, "c": 1, "d": 1})
    assert reported == dict.fromkeys("abcd", Backlog(returned=0))
    # Two of those that they reported have been put back or finished since.
    reported = broker.backlogs(["a", "b"], {"a": 4, "b": 1, "c": 1, "d": 1})
    assert reported == dict.fromkeys("ab", Backlog(returned=2))


@pytest.mark.parametrize(("startable", "scheduled"), [(60, True), (-1, False), (None, False)])
def test_a_scheduled_task_of_protocol_1_does_not_wait_while_it_is_on_its_way(
    redis_url: str, startable: int | None, scheduled: bool
) -> None:
    client = redis.Redis.from_url(redis_url)
    headers = {} if startable is None else {"mm_startable": time() + startable}
    take(client, "1", "a", time(), headers=headers)
    [counted] = RedisBroker(client, {}).backlogs(["a"], {}).values()
    assert isinstance(counted, Backlog)
    assert (counted.ready, counted.scheduled) == (not scheduled, scheduled)


def test_what_was_taken_just_now_still_waits_behind_many_that_are_held(redis_url: str) -> None:
    client = redis.Redis.from_url(redis_url)
    for n in range(300):
        take(client, f"held-{n}", "a", time() - 600 + n)
    take(client, "1", "b", time())
    take(client, "2", "b", time())
    counted = RedisBroker(client, {}).backlogs(["a", "b"], {"a": 300})
    assert (counted["a"].ready, counted["b"].ready) == (0, 2)
    assert RedisBroker(client, {}).backlogs(["a", "b"], {"a": 300, "b": 2})["b"] == Backlog(
        returned=0
    )


def test_a_queue_that_cannot_be_read_hides_no_other(redis_url: str) -> None:
    client = redis.Redis.from_url(redis_url)
    client.set("b\x06\x163", "not a list")
    client.rpush("a", "x")
    counted = RedisBroker(client, {}).backlogs(["a", "b", "c"], {})
    assert (counted["a"], counted["c"]) == (Backlog(1, returned=0), Backlog(returned=0))
    assert "'b' could not be read: ResponseError: WRONGTYPE" in str(counted["b"])


def test_a_queue_that_the_user_may_not_read_hides_no_other(redis_url: str) -> None:
    admin = redis.Redis.from_url(redis_url)
    admin.rpush("a", "x")
    admin.acl_setuser(
        "narrow", enabled=True, nopass=True, keys=["a*", "unacked*"], categories=["+@all"]
    )
    try:
        client = redis.Redis.from_url(redis_url, username="narrow", password="any")
        counted = RedisBroker(client, {}).backlogs(["a", "b"], {})
        assert counted["a"] == Backlog(1, returned=0)
        assert isinstance(counted["b"], CountFailed)
    finally:
        admin.acl_deluser("narrow")


def test_a_prefix_is_read_from_kombus_options_in_a_redis_other_than_the_ledgers(
    redis_url: str,
) -> None:
    app = Celery(broker=redis_url)
    app.conf.broker_transport_options = {"global_keyprefix": "app:"}
    for priority in (0, 9, 9):
        app.send_task("t", queue="a", priority=priority)
    client = redis.Redis.from_url(redis_url)
    assert client.llen("app:a") == 1
    take(client, "1", "b", time(), prefix="app:")
    counted = KombuBroker(app).backlogs(["a", "b"], {})
    assert counted["a"] == Backlog(3, returned=0)
    assert isinstance(counted["b"], Backlog)
    assert counted["b"].ready == 1


def test_a_broker_that_fails_or_answers_nonsense_is_unknown(redis_url: str) -> None:
    client = redis.Redis.from_url(redis_url)
    client.set("unacked_index", "no index")
    with pytest.raises(CountFailed, match="could not be read"):
        RedisBroker(client, {}).backlogs(["a"], {})
    client.delete("unacked_index")
    client.zadd("unacked_index", {"1": time()})
    client.hset("unacked", "1", "not JSON")
    with pytest.raises(CountFailed):
        RedisBroker(client, {}).backlogs(["a"], {})
    unreachable = redis.Redis(port=1, retry=None)
    with pytest.raises(CountFailed):
        RedisBroker(unreachable, {}).backlogs(["a"], {})
