"""How long one ``delay()`` takes while the ledger or Heroku is down, compared with plain Celery.

The broker works all the time. Both processes start during the outage and publish in turns, a batch
each, so that the cost of a process's first task is included. They run as on a dyno, where the
package imports everything; elsewhere the first ``delay()`` may import some of it.
"""

from __future__ import annotations

from collections.abc import Iterator

from celery_middle_management.demo.redis_server import RedisServer
from tests.benchmarks.figures import Figure, abba, command
from tests.benchmarks.publisher import Publisher
from tests.integration.stage import stage


def measure(rounds: int, tasks: int) -> Iterator[Figure]:
    with (
        RedisServer() as broker,
        RedisServer() as ledger,
        stage(broker.url, ledger.url, command=None) as on,
    ):
        env = {**on.env, "DYNO": "web.1"}
        outages = {
            "the ledger hangs": (ledger.pause, ledger.resume),
            "the ledger is gone": (ledger.kill, ledger.restart),
            "Heroku hangs": (lambda: on.emulator.fault("hang"), on.emulator.clear_faults),
        }
        for name, (begin, end) in outages.items():
            begin()
            with Publisher(env) as ours, Publisher({**env, "MM_OFF": "1"}) as plain:
                with_it, without = abba(
                    rounds,
                    lambda p=ours: _longest(p, tasks),  # type: ignore[misc]
                    lambda p=plain: _longest(p, tasks),  # type: ignore[misc]
                )
            end()
            longest = max(with_it), max(without)
            yield Figure(f"{name}: the longest delay() of {rounds * tasks:,}", longest[0], "ms")
            yield Figure(f"{name}: the longest of plain Celery's", longest[1], "ms")
            longer = longest[0] - longest[1]
            yield Figure(f"{name}: how much longer", longer, "ms", limit="<= 50")


def _longest(publisher: Publisher, tasks: int) -> float:
    return publisher.publish(tasks).longest * 1000


if __name__ == "__main__":
    command(__doc__, measure, rounds=50, tasks=200)
