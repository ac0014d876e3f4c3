"""Connections are scarce: at most one to Redis for each process that needs one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from subprocess import Popen

import pytest
import redis

from celery_middle_management.demo.redis_server import RedisServer
from tests.integration.stage import Stage, stage
from tests.servers import wait_for

CONCURRENCY = 8
WORKER = (
    *("--pool", "prefork", "--concurrency", str(CONCURRENCY)),
    *("--without-gossip", "--without-mingle", "--without-heartbeat"),
)
#: Each child runs a task, and publishes the one that follows: none is done before all have begun.
EVERY_CHILD = f"for _ in range({CONCURRENCY}): (work.si(3) | noop.si()).delay()"


@pytest.fixture
def broker() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def ledger() -> Iterator[RedisServer]:
    """A server that only this test connects to."""
    with RedisServer() as server:
        yield server


def connections(server: RedisServer) -> int:
    """All but the one that asks."""
    with redis.Redis.from_url(server.url) as client:
        return len(client.client_list()) - 1


def settled(server: RedisServer) -> int:
    """The number when it has not changed for two seconds."""
    seen, since = connections(server), time.monotonic()

    def unchanged() -> bool:
        nonlocal seen, since
        now = connections(server)
        if now != seen:
            seen, since = now, time.monotonic()
        return time.monotonic() - since >= 2.0

    wait_for(unchanged, message="the number of connections keeps changing")
    return seen


def most(server: RedisServer, until: Callable[[], object]) -> int:
    """The highest number seen until then."""
    highest = 0

    def done() -> bool:
        nonlocal highest
        highest = max(highest, connections(server))
        return bool(until())

    wait_for(done, 60.0)
    return highest


def all_finished(ledger: RedisServer) -> bool:
    with redis.Redis.from_url(ledger.url) as client:
        done = client.hget("{middle-management:myapp}:state", "worker/finished")
    return int(done or 0) >= 2 * CONCURRENCY  # type: ignore[arg-type]


def told(program: Popen[str]) -> str:
    """The next line that a program prints."""
    assert program.stdout is not None
    return program.stdout.readline().strip()


def worker_connections(on: Stage, broker: RedisServer, **env: str) -> tuple[int, int]:
    """Of a worker that has just started, and when each of its children has published a task."""
    on.redis.close()
    with on.worker(*WORKER, **env) as worker:
        idle = settled(broker)
        on.script(EVERY_CHILD, **env)
        wait_for(lambda: worker.log.count("noop") >= 2 * CONCURRENCY, 60.0)
        return idle, settled(broker)


@pytest.mark.slow
def test_a_worker_adds_one_to_its_broker(broker: RedisServer) -> None:
    with stage(broker.url, command=None, process_types={"worker": 1}) as on:
        plain = worker_connections(on, broker, MM_OFF="1")
        wait_for(lambda: connections(broker) == 0, message="the worker's are still there")
        ours = worker_connections(on, broker, DYNO="worker.1")
    assert plain[1] >= plain[0] + CONCURRENCY
    assert ours[0] <= plain[0] + 1
    assert ours[1] <= plain[1] + 1


@pytest.mark.slow
def test_a_worker_has_one_to_the_ledger_and_its_children_none(
    broker: RedisServer, ledger: RedisServer
) -> None:
    with stage(broker.url, ledger.url, command=None, process_types={"worker": 1}) as on:
        on.redis.close()
        with on.worker(*WORKER, DYNO="worker.1"):
            assert settled(ledger) == 1
            on.script(EVERY_CHILD)
            assert most(ledger, lambda: all_finished(ledger)) == 1
            assert settled(ledger) == 1


def test_an_import_adds_nothing(broker: RedisServer) -> None:
    code = """
        import sys, threading
        app.finalize()
        print(threading.active_count(), flush=True)
        sys.stdin.read()
    """
    with stage(broker.url, command=None) as on, on.program(code) as program:
        assert told(program) == "1"
        assert connections(broker) == 0


def test_a_publisher_adds_one(broker: RedisServer) -> None:
    code = "import sys; noop.delay(); print('published', flush=True); sys.stdin.read()"
    with stage(broker.url, command=None) as on:
        with on.program(code) as program:
            told(program)
            on.wait_for_quantity(1)
            on.redis.close()
            ours = settled(broker)
        wait_for(lambda: connections(broker) == 0, message="the publisher's are still there")
        with on.program(code, MM_OFF="1") as program:
            told(program)
            assert ours == settled(broker) + 1


def test_threads_share_one_while_an_evaluation_is_under_way(
    broker: RedisServer, ledger: RedisServer
) -> None:
    code = """
        import sys, threading
        def publish():
            while True:
                noop.delay()
                time.sleep(0.01)
        for _ in range(4): threading.Thread(target=publish, daemon=True).start()
        print("publishing", flush=True)
        sys.stdin.read()
    """
    with stage(broker.url, ledger.url, command=None) as on:
        on.redis.close()
        on.emulator.fault("hang")
        with on.program(code) as program:
            told(program)
            assert most(ledger, lambda: len(on.emulator.requests) >= 1) <= 1
            enough = time.monotonic() + 6.0
            assert most(ledger, lambda: time.monotonic() > enough) == 1
            on.emulator.clear_faults()
            assert most(ledger, lambda: on.quantity > 0) == 1
