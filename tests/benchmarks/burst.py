"""Many processes publish at once, while the dynos of the emulator run the tasks.

The ledger has its own Redis here, so that every command there is ours; the commands of counts are
read from the broker's Redis. Commands that run within a script are counted apart, since no client
sends them.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import redis

from celery_middle_management.demo.redis_server import RedisServer
from tests.benchmarks.figures import Figure, command
from tests.benchmarks.publisher import Publisher
from tests.integration.stage import Stage, stage
from tests.servers import wait_for

_WORKER = (
    *(sys.executable, "-m", "celery", "-A", "tests.benchmarks.app", "worker"),
    *("--concurrency", "1", "--loglevel", "WARNING", "--hostname", "$DYNO@burst"),
    *("--without-gossip", "--without-mingle", "--without-heartbeat"),
)


@dataclass
class Burst:
    """The result. *changes* and *reads* of the formation are those during publishing."""

    seconds: float
    changes: int
    reads: int
    state: dict[str, str]
    #: Commands on the ledger's server by name: sent by clients, and run within scripts.
    sent: Counter[str] = field(default_factory=Counter)
    within: Counter[str] = field(default_factory=Counter)
    #: Counts of the broker, and the time (s) until the last task had finished.
    counts: int = 0
    drained: float = 0.0

    def number(self, name: str) -> int:
        """A number of the pool in the ledger."""
        return int(self.state.get(f"worker/{name}", 0))

    @property
    def outstanding(self) -> int:
        """Published minus finished."""
        return self.number("published") - self.number("finished")


def burst(processes: int, tasks: int, seconds: float, timeout: float = 120.0) -> Burst:
    """Publish, and wait until all tasks have run and are counted."""
    with ExitStack() as stack:
        broker, ledger = (stack.enter_context(RedisServer()) for _ in range(2))
        on = stack.enter_context(stage(broker.url, ledger.url, command=_WORKER))
        watch = stack.enter_context(Watch(ledger))
        publishers = [stack.enter_context(Publisher(on.env)) for _ in range(processes)]
        for publisher in publishers:
            publisher.publish(0)
        counts = _counts(broker)
        for i, publisher in enumerate(publishers):
            share = tasks // processes + (i < tasks % processes)
            publisher.begin(share, over=seconds)
        told = [publisher.published() for publisher in publishers]
        began, ended = min(t.began for t in told), max(t.began + t.seconds for t in told)
        wait_for(
            lambda: min(watch.number(f"worker/{n}") for n in ("published", "finished")) >= tasks,
            timeout,
            lambda: f"not all is counted: {watch.state()}",
        )
        return Burst(
            seconds=ended - began,
            changes=sum(c.at <= ended for c in on.emulator.changes),
            reads=_reads(on, ended),
            state=watch.state(),
            # Without the last reports of publishers.
            sent=watch.sent.copy(),
            within=watch.within.copy(),
            counts=_counts(broker) - counts,
            drained=time.monotonic() - began,
        )


class Watch:
    """Counts the commands that other clients send to a server, until it is closed."""

    def __init__(self, server: RedisServer) -> None:
        self.sent: Counter[str] = Counter()
        self.within: Counter[str] = Counter()
        self._client = redis.Redis.from_url(
            server.url, single_connection_client=True, decode_responses=True
        )
        self._address = self._client.client_info()["addr"]
        # For a long time, nothing may be sent.
        self._monitor = redis.Redis.from_url(server.url, socket_timeout=None).monitor()
        self._closing = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def state(self) -> dict[str, str]:
        """The scalars of the ledger, read by a client that is not counted."""
        return dict(self._client.hgetall("{middle-management:myapp}:state"))

    def number(self, name: str) -> int:
        """A number of the ledger."""
        return int(self.state().get(name, 0))

    def __enter__(self) -> Watch:
        self._monitor.__enter__()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        self._client.ping()
        self._thread.join(10.0)
        self._monitor.__exit__(None, None, None)
        self._client.close()

    def _run(self) -> None:
        while not self._closing:
            seen = self._monitor.next_command()
            if f"{seen['client_address']}:{seen['client_port']}" == self._address:
                continue
            counter = self.within if seen["client_type"] == "lua" else self.sent
            counter[seen["command"].split()[0].lower()] += 1


def _reads(on: Stage, until: float) -> int:
    return sum(
        r.method == "GET" and r.path.endswith("/formation") and r.at <= until
        for r in on.emulator.requests
    )


def _counts(broker: RedisServer) -> int:
    """Our counts so far, recognized by ZCARD, which Celery does not send."""
    with redis.Redis.from_url(broker.url) as client:
        stats = client.info("commandstats")
    return int(stats.get("cmdstat_zcard", {}).get("calls", 0))


def measure(processes: int, tasks: int, seconds: int) -> Iterator[Figure]:
    result = burst(processes, tasks, seconds)
    yield Figure("published in", result.seconds, "s")
    yield Figure("all run after", result.drained, "s")
    yield Figure("changes of the formation meanwhile", result.changes, limit="<= 2")
    yield Figure("reads of the formation meanwhile", result.reads, limit="<= 3")
    yield Figure("published", result.number("published"), limit=f"== {tasks}")
    yield Figure("finished", result.number("finished"), limit=f"== {tasks}")
    sent, per = result.sent.total(), 1000 / tasks
    yield Figure("commands on the ledger", sent * per, "/1,000 tasks", limit="<= 20")
    # A count is one script, and so one command.
    both = (sent + result.counts) * per
    yield Figure("commands with the counts on the broker", both, limit="<= 20")
    for name, calls in result.sent.most_common():
        yield Figure(f"  {name}", calls)
    yield Figure("commands within scripts", result.within.total() * per, "/1,000 tasks")
    yield Figure("counts", result.counts)


if __name__ == "__main__":
    command(__doc__, measure, processes=20, tasks=10_000, seconds=10)
