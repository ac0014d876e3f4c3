"""The ledger's lines are cut one by one, and its clock steps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from celery_middle_management.demo.redis_server import RedisServer
from tests.chaos.lines import Exchange, own_url
from tests.redis_clock import RedisClock
from tests.servers import wait_for

#: Process ids.
ONE, OTHER = 70_001, 70_002


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    with RedisServer() as server, Exchange(server.port) as exchange:
        yield exchange


def answers(exchange: Exchange, pid: int) -> bool:
    url = own_url(exchange.url, pid)
    once = Retry(NoBackoff(), 0)
    try:
        with redis.Redis.from_url(url, socket_timeout=0.3, retry=once) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


@pytest.mark.parametrize("how", ["refused", "silent"])
def test_the_line_of_one_process_is_cut_and_no_other(exchange: Exchange, how: str) -> None:
    with redis.Redis.from_url(own_url(exchange.url, ONE), socket_timeout=0.3) as connected:
        assert connected.ping()
        exchange.cut(ONE, "refused" if how == "refused" else "silent")
        wait_for(lambda: not answers(exchange, ONE))
        with pytest.raises(redis.RedisError):
            connected.ping()
    assert answers(exchange, OTHER)

    exchange.heal({own_url(exchange.url, ONE).split("//")[1].split(":")[0]})
    wait_for(lambda: answers(exchange, ONE))


def test_connections_die_and_new_ones_are_carried(exchange: Exchange) -> None:
    once = Retry(NoBackoff(), 0)
    url = own_url(exchange.url, ONE)
    with redis.Redis.from_url(url, socket_timeout=0.3, retry=once) as connected:
        assert connected.ping()
        exchange.die(ONE)
        wait_for(lambda: answers(exchange, ONE))
        with pytest.raises(redis.TimeoutError):
            connected.ping()
        assert connected.ping()  # over a new connection


def test_newcomers_are_cut_from_their_first_word_on(exchange: Exchange) -> None:
    assert answers(exchange, ONE)
    exchange.cut_newcomers("refused", 1, lambda line: line.endswith(".9"))
    assert answers(exchange, ONE)
    assert not answers(exchange, OTHER)
    assert answers(exchange, 9)
    assert answers(exchange, OTHER + 1)
    assert exchange.heal_newcomers() == {"lines": ["127.2.17.114"]}
    wait_for(lambda: answers(exchange, OTHER))


@pytest.mark.skipif(not RedisClock.available(), reason="no C compiler")
def test_the_clock_of_redis_steps_and_all_that_expires_with_it(tmp_path: Path) -> None:
    clock = RedisClock(tmp_path)
    with clock.server() as server, redis.Redis.from_url(server.url) as client:
        client.set("lock", 1, px=10_000)
        clock.step(-300)
        assert abs(client.time()[0] - time.time() + 300) < 60
        assert client.pttl("lock") > 250_000
        clock.step(600)
        assert client.get("lock") is None
        server.restart()
        assert abs(client.time()[0] - time.time() - 300) < 60
