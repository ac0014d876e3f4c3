"""A stage with servers of its own, whose tasks run until the test lets them go."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import celery
import redis

from celery_middle_management.core.cordon import Cordon
from celery_middle_management.core.pool_state import PoolState
from celery_middle_management.core.pools import Pool
from celery_middle_management.demo.redis_server import RedisServer
from celery_middle_management.ledger.model import Changes
from celery_middle_management.ledger.pool import PoolWriter
from tests.integration.apps.journal import Journal, Run
from tests.integration.stage import Stage, stage
from tests.servers import wait_for

RELEASE = (celery.VERSION.major, celery.VERSION.minor)
#: Celery before 5.5 cannot consume RabbitMQ's quorum queues.
CONSUMES_QUORUM_QUEUES = RELEASE >= (5, 5)
#: Seconds in which a wrong evaluation would have done harm.
A_WHILE = 5.0
PREFIX = "{middle-management:myapp}"
#: A program that carries out what it reads, an expression or statements a line, as JSON.
LISTENER = """
    import json, logging, os, sys
    if "LOG" in os.environ: logging.basicConfig(filename=os.environ["LOG"], level="INFO")
    for line in sys.stdin:
        result = None
        exec(json.loads(line))
        print(json.dumps(result), flush=True)
"""


class Program:
    """A process of the app that does as it is told."""

    def __init__(self, process: Any) -> None:
        self.pid: int = process.pid
        self._process = process

    def say(self, code: str) -> Any:
        """Have it do *code*, and return what that left in the variable ``result``."""
        self.order(code)
        answer = self._process.stdout.readline()
        assert answer, f"the program ended while it did: {code}"
        return json.loads(answer)

    def order(self, code: str) -> None:
        """Have it do *code*; do not wait for it."""
        print(json.dumps(code), file=self._process.stdin, flush=True)


class Scene:
    """A stage, what its tasks wrote down, and its servers."""

    def __init__(self, on: Stage, directory: Path, broker: RedisServer | None) -> None:
        self.on = on
        self.directory = directory
        self.journal = Journal(directory)
        self.emulator = on.emulator
        self.redis = on.redis
        self._broker = broker
        self._ledger: RedisServer | None = None
        self._exits = ExitStack()

    @property
    def broker(self) -> RedisServer:
        assert self._broker is not None
        return self._broker

    @property
    def ledger(self) -> RedisServer:
        assert self._ledger is not None
        return self._ledger

    def program(self, **env: str) -> Program:
        """A process of the app, until the end of the scene."""
        return Program(self._exits.enter_context(self.on.program(LISTENER, **env)))

    # -- what there is to see

    @property
    def changes(self) -> list[tuple[int, int]]:
        return [(c.before, c.after) for c in self.emulator.changes]

    @property
    def running(self) -> list[Run]:
        return [run for run in self.journal.runs() if run.end is None]

    @property
    def at_work(self) -> list[str]:
        """The dynos that run a task, one by one."""
        return sorted(run.dyno for run in self.running)

    @property
    def count(self) -> dict[str, Any]:
        """The last count."""
        found: dict[str, Any] = json.loads(self.on.state().get("worker/count", "{}"))
        return found

    @property
    def cordon(self) -> dict[str, Any]:
        """The present one; empty if there is none."""
        found: dict[str, Any] = json.loads(self.on.state().get("worker/cordon", "{}"))
        return found

    def presence(self, name: str) -> dict[str, Any]:
        """What the newest worker of that name said; empty if there is none."""
        found = [p for p in self.on.presences() if p["name"] == name]
        return max(found, key=lambda p: float(p["since"]), default={})

    def has_stopped(self, name: str) -> bool:
        """Whether the worker has confirmed the present cordon and runs nothing."""
        told, cordon = self.presence(name), self.cordon
        return bool(told and cordon) and told["stopped"] == cordon["at"] and not told["busy"]

    def told(self) -> str:
        """All that helps to understand a failure."""
        return (
            f"changes {self.changes}, at work {self.at_work}, state {self.on.state()}, "
            f"presences {self.on.presences()}; logs in {self.directory}"
        )

    # -- what to wait for

    def wait(self, condition: Callable[[], object], timeout: float = 45.0) -> None:
        wait_for(condition, timeout, self.told)

    def wait_at_work(self, *dynos: str) -> None:
        """Until exactly these run tasks."""
        self.wait(lambda: self.at_work == sorted(dynos))

    def wait_for_quantity(self, quantity: int) -> None:
        self.wait(lambda: self.on.quantity == quantity)

    def let_go(self, *dynos: str) -> None:
        """Let each end a task, and wait until it has."""
        for dyno in dynos:
            ended = sum(r.end is not None and r.dyno == dyno for r in self.journal.runs())
            self.journal.let_go(dyno)
            self.wait(lambda d=dyno, n=ended: self._ended(d) > n)  # type: ignore[misc]

    def _ended(self, dyno: str) -> int:
        return sum(run.end is not None and run.dyno == dyno for run in self.journal.runs())

    # -- the cordon and the lock, as a scaler has them

    def note_count(self) -> None:
        """As if an evaluation had just counted, which says that the broker answers."""
        seconds, _ = self.redis.time()  # type: ignore[misc]
        self.redis.hset(f"{PREFIX}:state", "worker/counted_at", seconds * 1000)

    def draw_cordon(self, above: int | None) -> None:
        """Cordon the workers numbered higher; None lifts it."""
        seconds, micros = self.redis.time()  # type: ignore[misc]
        changes = Changes()
        pool = Pool("worker", None, 0, 5, 1)
        cordon = Cordon(above=above, at=seconds + micros / 1e6)
        PoolWriter(PoolState(pool, now=cordon.at), changes).cordon(cordon)
        with self.redis.pipeline() as pipe:
            for name, value in changes.set.items():
                pipe.hset(f"{PREFIX}:state", name, value)
            for name in changes.unset:
                pipe.hdel(f"{PREFIX}:state", name)
            pipe.expire(f"{PREFIX}:state", 600)
            pipe.execute()

    def forbid_evaluations(self) -> Callable[[], object]:
        """Hold the lock until the scene ends, so that no other process does.

        Returns what ends it sooner.
        """
        lock = f"{PREFIX}:lock"
        # For longer than any scaler would: only without an expiry is it left alone.
        self.redis.set(lock, "the test's")
        return self._exits.callback(partial(self.redis.delete, lock))

    def assert_no_worker_was_killed(self) -> None:
        """No dyno was stopped by a fire while it ran a task, and every task has ended."""
        runs = self.journal.runs()
        assert all(run.end is not None for run in runs), self.told()
        for stop in self.emulator.stops:
            assert not stop.sigkilled
            for run in runs:
                assert (
                    stop.reason != "scale"
                    or run.dyno != stop.name
                    or not run.begin < stop.asked_at < (run.end or 0)
                ), self.told()


@contextmanager
def scene(
    directory: Path,
    *,
    broker_url: str | None = None,
    own_ledger: bool = False,
    ledger_url: str | None = None,
    settings: Mapping[str, object] | None = None,
    env: Mapping[str, str] | None = None,
    **emulator: Any,
) -> Iterator[Scene]:
    """Set it up, with a Redis of its own for broker and ledger, or one for each; or the ledger's is
    given.
    """
    with ExitStack() as servers:
        redis_server = servers.enter_context(RedisServer())
        broker = redis_server if broker_url is None else None
        ledger = servers.enter_context(RedisServer()) if own_ledger else redis_server
        on = servers.enter_context(
            stage(
                broker_url or redis_server.url,
                ledger_url or ledger.url,
                log_dir=directory / "dynos",
                settings={"call_interval": 1, "jobs_per_worker": 1, **(settings or {})},
                boot_delay=0.1,
                **emulator,
            )
        )
        on.env.update({"JOURNAL": str(directory), **(env or {})})
        played = Scene(on, directory, broker)
        played._ledger = ledger
        with played._exits:
            yield played
        assert_keys_expire(on.redis)


def assert_keys_expire(client: redis.Redis) -> None:
    """No key of ours stays for ever."""
    keys: list[str] = list(client.scan_iter("{middle-management:*"))
    # One that is gone meanwhile has a TTL of -2.
    assert [key for key in keys if client.ttl(key) == -1] == []
