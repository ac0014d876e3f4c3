"""What the page's data costs: a week of ten pools, read in one Redis call, and compressed."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

from celery import Celery

from celery_middle_management import inspection
from celery_middle_management.demo.redis_server import RedisServer
from celery_middle_management.ledger.redis import RedisLedger
from celery_middle_management.managed_app import ManagedApp
from celery_middle_management.settings.reading import read_settings
from celery_middle_management.views.look import Look
from tests.benchmarks.figures import Figure, command, median
from tests.benchmarks.week import SETTINGS, week


def measure(rounds: int) -> Iterator[Figure]:
    with RedisServer() as server:
        app = Celery(broker=server.url, set_as_current=False)
        app.conf.update(SETTINGS)
        settings = read_settings(app)
        assert settings is not None
        ledger = RedisLedger(settings)
        made = week(settings, time.time(), trouble=True)
        made.write(ledger)
        managed = ManagedApp(app, settings)
        look = inspection.look(managed)
        first = _times(rounds, lambda: inspection.page_document(_first(managed), look))
        again = _times(rounds, lambda: inspection.page_document(managed, look))
        processor = _times(rounds, lambda: _compressed(managed, look), time.process_time)
        whole = _times(rounds, lambda: _compressed(managed, look))
        ledger.redis.config_resetstat()
        size = len(_compressed(managed, look))
        stats: Any = ledger.redis.info("commandstats")
        one = stats["cmdstat_evalsha"]
        managed.ledger().close()
        ledger.close()
    yield median("the document, the first time", first, "ms")
    yield median("the document", again, "ms", limit="<= 50")
    yield median("the document, as JSON, compressed", whole, "ms", limit="<= 50")
    yield median("the same, processor time without Redis's", processor, "ms")
    yield Figure("compressed", size / 1000, "kB", limit="<= 200")
    yield Figure("calls of Redis", one["calls"], limit="== 1")
    yield Figure("Redis's time for it", one["usec_per_call"] / 1000, "ms")


def _first(managed: ManagedApp) -> ManagedApp:
    """Forget what was read before."""
    managed.ledger()._tails = {}
    return managed


def _compressed(managed: ManagedApp, look: Look) -> bytes:
    document = inspection.page_document(managed, look)
    return gzip.compress(json.dumps(document, separators=(",", ":")).encode(), 5)


def _times(
    rounds: int, do: Callable[[], object], clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    times = []
    for _ in range(rounds):
        began = clock()
        do()
        times.append((clock() - began) * 1000)
    return times


if __name__ == "__main__":
    command(__doc__, measure, rounds=30)
