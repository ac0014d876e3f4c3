"""`mm doctor` finds what is wrong with the ledger's Redis."""

from __future__ import annotations

import json
import queue
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from celery_middle_management.demo.redis_server import RedisServer, free_port
from tests.integration.doctor.examine import doctor, wrong
from tests.integration.scenes import PREFIX
from tests.integration.stage import Stage, stage
from tests.redis_clock import RedisClock
from tests.servers import SlowLine


@pytest.mark.slow
def test_redis_is_away(on: Stage) -> None:
    url = f"redis://:hunter2@127.0.0.1:{free_port()}"
    findings, status = doctor(on, MIDDLE_MANAGEMENT_REDIS_URL=url)
    assert (findings["redis"][0]["level"], status) == ("failure", 1)
    assert "hunter2" not in json.dumps(findings)
    # The checks that do not need it are made nevertheless.
    assert findings["process-types"][0]["level"] == "ok"


@pytest.mark.slow
def test_the_database_does_not_exist(on: Stage) -> None:
    url = on.env["MIDDLE_MANAGEMENT_REDIS_URL"].rpartition("/")[0] + "/9999"
    findings, status = doctor(on, MIDDLE_MANAGEMENT_REDIS_URL=url)
    assert ([f["level"] for f in findings["redis"]], status) == (["failure"], 1)
    assert "such as /0" in findings["redis"][0]["mend"]


@pytest.mark.slow
def test_redis_speaks_no_tls(on: Stage) -> None:
    url = on.env["MIDDLE_MANAGEMENT_REDIS_URL"].replace("redis:", "rediss:")
    findings, status = doctor(on, MIDDLE_MANAGEMENT_REDIS_URL=url)
    assert ([f["level"] for f in findings["redis"]], status) == (["failure"], 1)


@pytest.mark.slow
def test_something_else_is_where_the_ledger_should_be(on: Stage) -> None:
    on.redis.set(f"{PREFIX}:state", "no hash", ex=60)
    findings, status = doctor(on)
    assert "WRONGTYPE" in findings["redis"][0]["what"]
    assert "ACL" not in findings["redis"][0]["mend"]
    assert status == 1


def test_redis_hangs() -> None:
    with RedisServer() as server, stage(server.url, command=None) as on:
        server.pause()
        try:
            findings, status = doctor(on, MIDDLE_MANAGEMENT_COUNT_INTERVAL="5")
        finally:
            server.resume()
    # Not every check has waited for it.
    assert [
        f["check"] for found in findings.values() for f in found if f["level"] == "failure"
    ] == ["redis"]
    assert status == 1


class AgedLine(SlowLine):
    """Makes the server look like one of a very old release."""

    def _read(self, end: socket.socket, on_the_way: queue.SimpleQueue[tuple[float, bytes]]) -> None:
        super()._read(end, Ageing(on_the_way))


class Ageing(queue.SimpleQueue[tuple[float, bytes]]):
    """Changes the release in what is put into another queue."""

    def __init__(self, into: queue.SimpleQueue[tuple[float, bytes]]) -> None:
        self._into = into

    def put(self, item: tuple[float, bytes], *_: Any, **__: Any) -> None:
        self._into.put((item[0], re.sub(rb"redis_version:\d", b"redis_version:4", item[1])))


@pytest.mark.slow
def test_redis_is_old() -> None:
    with (
        RedisServer() as server,
        AgedLine(server.port) as line,
        stage(line.url(server.url), command=None) as on,
    ):
        wrong(on, "redis-version", "failure", "Redis is 4.")


@contextmanager
def own_redis() -> Iterator[tuple[Stage, redis.Redis]]:
    with (
        RedisServer() as server,
        redis.Redis.from_url(server.url) as client,
        stage(server.url, command=None) as on,
    ):
        yield on, client


def test_redis_evicts() -> None:
    with own_redis() as (on, client):
        client.config_set("maxmemory-policy", "allkeys-lru")
        wrong(on, "eviction", "failure", "allkeys-lru")


@pytest.mark.slow
def test_redis_is_full() -> None:
    with own_redis() as (on, client):
        for n in range(200):
            client.set(f"result-{n}", "x" * 100_000)
        used = int(client.info("memory")["used_memory"])
        client.config_set("maxmemory", int(used * 1.07))
        wrong(on, "memory", "warning", "of Redis' memory is in use")
        client.config_set("maxmemory", used // 2)
        findings, status = doctor(on)
        assert (findings["memory"][0]["level"], status) == ("failure", 1)
        assert "It refuses" in findings["memory"][0]["what"]


@pytest.mark.slow
def test_redis_has_few_connections() -> None:
    with own_redis() as (on, client):
        client.config_set("maxclients", 20)
        wrong(on, "connections", "failure", "of 20 connections", MIDDLE_MANAGEMENT_MAX_WORKERS="3")
        few = "app.conf.worker_enable_remote_control = False"
        on.emulator.show_command("worker", "celery worker --without-gossip --without-heartbeat")
        findings, _ = doctor(on, few, MIDDLE_MANAGEMENT_MAX_WORKERS="3")
        assert findings["connections"][0]["level"] == "ok"


def test_redis_keeps_us_out_by_an_acl() -> None:
    with own_redis() as (on, client):
        client.execute_command("ACL", "SETUSER", "app", "on", ">word", "~celery*", "+@all")
        url = on.env["MIDDLE_MANAGEMENT_REDIS_URL"].replace("redis://", "redis://app:word@")
        findings, status = doctor(on, MIDDLE_MANAGEMENT_REDIS_URL=url)
        assert status == 1
        assert "ACL" in findings["redis"][0]["mend"]
        client.execute_command("ACL", "SETUSER", "app", "~{middle-management:*}:*")
        findings, _ = doctor(on, MIDDLE_MANAGEMENT_REDIS_URL=url)
        assert findings["redis"][0]["level"] == "ok", findings["redis"]


@pytest.mark.slow
@pytest.mark.skipif(not RedisClock.available(), reason="no C compiler")
def test_the_clocks_are_apart(tmp_path: Path) -> None:
    clock = RedisClock(tmp_path)
    with clock.server() as server, stage(server.url, command=None) as on:
        clock.step(-60)
        wrong(on, "clocks", "warning", "60 s ahead")
