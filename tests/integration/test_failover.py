"""Another Redis becomes the primary, and the one before keeps its connections open."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from celery_middle_management.brokers.kombu import KombuBroker
from celery_middle_management.core.batch import PUBLISHED
from celery_middle_management.demo.redis_server import RedisServer
from tests.integration.office import office
from tests.integration.scenes import scene
from tests.servers import SlowLine, wait_for

#: As servers of several releases spell it.
ANSWERS = {
    "read only": "READONLY You can't write against a read only replica.",
    "in a script, 7": "READONLY You can't write against a read only replica."
    " script: 61de63f11f, on @user_script:9.",
    "in a script, 6": "ERR Error running script (call to f_61de63f11f): @user_script:9:"
    " -READONLY You can't write against a read only replica.",
    "alone": "NOREPLICAS Not enough good replicas to write.",
    "loading": "LOADING Redis is loading the dataset in memory",
    "without a primary": "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set"
    " to 'no'.",
    "moved": "MOVED 3999 127.0.0.1:6381",
}


class Pair:
    """A primary and another one to be, and an address that leads to the primary."""

    def __init__(self, old: RedisServer, new: RedisServer, line: SlowLine) -> None:
        self.old, self.new, self.line = old, new, line
        self.url = line.url(old.url)
        for server in old, new:
            with redis.Redis.from_url(server.url) as client:
                client.config_set("repl-diskless-sync-delay", 0)

    def fail_over(self) -> None:
        """Swap their parts; nothing closes a connection."""
        with redis.Redis.from_url(self.old.url) as old, redis.Redis.from_url(self.new.url) as new:
            new.replicaof("127.0.0.1", self.old.port)
            self._wait_for_link(new)
            new.replicaof("NO", "ONE")
            self.line.to = self.new.port
            old.replicaof("127.0.0.1", self.new.port)
            self._wait_for_link(old)

    @staticmethod
    def _wait_for_link(replica: redis.Redis) -> None:
        wait_for(lambda: replica.info("replication")["master_link_status"] == "up")


@pytest.fixture
def pair() -> Iterator[Pair]:
    with RedisServer() as old, RedisServer() as new, SlowLine(old.port) as line:
        yield Pair(old, new, line)


@pytest.mark.slow
def test_no_app_is_left_without_workers_by_a_failover(tmp_path: Path, pair: Pair) -> None:
    with scene(tmp_path, ledger_url=pair.url) as it:
        publisher = it.program()
        publisher.say("hold.delay()")
        it.wait_at_work("worker.1")
        pair.fail_over()
        publisher.say("for _ in range(2): hold.delay()")
        it.wait_at_work("worker.1", "worker.2", "worker.3")
        it.let_go("worker.1", "worker.2", "worker.3")
        it.wait_for_quantity(0)
        it.assert_no_worker_was_killed()


def test_no_count_is_taken_of_a_former_primary(pair: Pair, redis_url: str) -> None:
    with office(redis_url) as it:
        it.app.conf.broker_url = pair.url
        broker = KombuBroker(it.app)
        assert broker.backlogs(["celery"], {})["celery"].ready == 0  # type: ignore[union-attr]
        pair.fail_over()
        with redis.Redis.from_url(pair.old.url) as old:
            old.replicaof("127.0.0.1", 1)  # it learns of nothing any more
        with redis.Redis.from_url(pair.new.url) as new:
            new.lpush("celery", "{}")
        assert broker.backlogs(["celery"], {})["celery"].ready == 1  # type: ignore[union-attr]


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_no_connection_is_kept_to_what_is_no_primary(answer: str, redis_url: str) -> None:
    port = int(redis_url.rpartition(":")[2].partition("/")[0])
    with SlowLine(port) as line, answering(answer) as other, office(line.url(redis_url)) as it:
        line.to = other
        it.tally.add(PUBLISHED, "celery", 0.0)
        assert it.reporter.report() is None
        line.to = port
        it.report()
        assert it.ledger.snapshot().state["worker/published"] == "1"


@contextmanager
def answering(error: str) -> Iterator[int]:
    """The port of a server that has only this to say."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while arguments := self.rfile.readline():
                for _ in range(int(arguments[1:])):
                    self.rfile.read(int(self.rfile.readline()[1:]) + 2)
                self.wfile.write(f"-{error}\r\n".encode())

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        address_family = socket.AF_INET

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
