"""The samples that reports take, on a ledger in memory: those of minutes, and those of ten."""

from __future__ import annotations

import json
from typing import Any

import pytest

from celery_middle_management.core.batch import FINISHED, PUBLISHED, Batch, Record
from celery_middle_management.core.demand import Held
from celery_middle_management.core.history import COUNTERS, Totals
from celery_middle_management.core.pools import Pool
from celery_middle_management.core.presence import Presence
from celery_middle_management.ledger.memory import MemoryLedger
from celery_middle_management.ledger.memory_store import Store
from celery_middle_management.ledger.model import MOST_TENS
from celery_middle_management.ledger.sampling import sampling_of
from celery_middle_management.views.timeline import timeline_of
from tests.unit.snapshots import settings

#: The beginning of ten minutes.
START = 1_800_000_000.0
GIVEN = settings(Pool("worker", None, 0, 10, 10), Pool("pdf", ("pdf",), 0, 10, 10))


class App:
    """An app whose only worker reports when it is told to."""

    def __init__(self) -> None:
        self.now = START
        self.store = Store(lambda: self.now)
        self.ledger = MemoryLedger(GIVEN, self.store)

    def report(self, minute: float, tasks: int = 0, finished: int = 0, running: int = 0) -> None:
        """Report so many minutes after the start that this many tasks were published."""
        before, self.now = self.now, START + minute * 60
        if self.now - before <= 60:
            # A worker reports every second.
            for name, (_, its) in self.store.workers.items():
                self.store.workers[name] = round(self.now * 1000) - 500, its
        batch, clocks = Batch(GIVEN.pool_name), self.ledger._clocks
        for kind, number in ((PUBLISHED, tasks), (FINISHED, finished)):
            for _ in range(number):
                batch.add(Record(kind, "celery", clocks.monotonic(), 0.0), clocks.now())
        held = {"celery": Held(running=running)}
        its = Presence("worker.1", "worker.1", "worker", since=START, seen=0.0, held=held)
        self.ledger.report(batch, its.id, its)

    def hire(self, quantity: int) -> None:
        self.store.state["worker/quantity"] = str(quantity)

    def tens(self) -> list[tuple[float, Totals]]:
        """The samples of ten minutes, by the minute after the start; the oldest first."""
        page = self.ledger.page()
        return [((s.at - START) / 60, s.pools.get("worker", Totals())) for s in page.tens[::-1]]

    def week(self) -> dict[str, Any]:
        page = self.ledger.page()
        now = page.minutes[0]
        made = timeline_of(("worker",), now, page.minutes, page.tens)
        return dict(made["week"]["pools"]["worker"])


def gauges(totals: Totals) -> tuple[Any, ...]:
    return totals[5:]


def test_the_tenth_minute_sums_up_those_before_it() -> None:
    app = App()
    app.report(0, tasks=5)
    app.hire(1)
    for minute in range(1, 10):
        app.hire(7 if minute == 4 else 2)
        app.report(minute, tasks=1, running=6 if minute == 5 else 1)
    app.report(10, tasks=100)
    app.report(10.7, tasks=100)
    first, second = app.tens()
    assert (first[0], gauges(first[1])) == (0, (0, None, None, None, None))
    assert second[0] == 10
    # The five and nine tasks, some of which ran; the hundreds came later.
    assert second[1].published == 14
    assert gauges(second[1]) == (2, 13, 6, 0, 7)


def test_the_highest_number_is_kept_of_each() -> None:
    app = App()
    at_work = [(9, 0, 0), (0, 5, 4), (0, 4, 0), (2, 0, 1), (0, 2, 0)]
    for minute, (tasks, finished, running) in enumerate(at_work):
        app.report(minute, tasks, finished, running)
    app.report(10)
    assert gauges(app.tens()[-1][1])[1:4] == (9, 4, 0)


def test_a_sample_after_a_silence_sums_up_the_minutes_before_it() -> None:
    """Nothing is said of the silence: it is not known, even if something waits at its end."""
    app = App()
    app.report(0, tasks=3)
    app.report(1)
    app.hire(4)
    app.report(2, finished=3)
    app.hire(0)
    app.report(3, tasks=8)
    app.report(63.5)
    first, late = app.tens()
    assert (first[0], late[0]) == (0, 63)
    assert late[1].published == 11
    # Of the minutes 0 to 3; when the silence ended, eight were waiting.
    assert gauges(late[1]) == (0, 3, 0, 0, 4)
    app.report(71)
    week = app.week()
    assert week["waiting"][-8:] == [3, None, None, None, None, None, 8, 8]
    assert week["workers"][-8:] == [4, 0, 0, 0, 0, 0, 0, 0]
    assert week["arrivals"][-8:] == [11, 0, 0, 0, 0, 0, 0, 0]


def test_the_minutes_of_an_older_release_tell_only_its_counters() -> None:
    app = App()
    app.report(0)
    app.report(1, tasks=2)
    app.report(2)
    app.store.samples[0] = json.dumps([START // 60 + 2, {"worker": [2, 0, 0, 0, 0]}])
    app.report(10)
    assert gauges(app.tens()[-1][1])[1:] == (2, 0, 0, 0)


def test_if_an_older_release_takes_the_tenth_minute_the_next_one_sums_up() -> None:
    app = App()
    app.report(0, tasks=5)
    app.report(1, finished=5)
    for minute in range(2, 10):
        app.report(minute)
    app.store.set("minute", START // 60 + 10)
    app.store.samples.insert(0, json.dumps([START // 60 + 10, {"worker": [5, 0, 5, 0, 0, 3]}]))
    app.report(10)
    assert len(app.tens()) == 1
    app.report(11)
    assert [at for at, _ in app.tens()] == [0, 11]
    # The five of the first minute, and the three workers that the older release told of.
    assert gauges(app.tens()[-1][1]) == (0, 5, 0, 0, 3)


def test_an_older_release_can_read_every_sample() -> None:
    """It takes the first numbers, and cannot do with one that is missing."""
    app = App()
    for minute in (0, 1, 11):
        app.report(minute, tasks=1)
    for told in app.store.samples:
        for numbers in json.loads(told)[1].values():
            assert all(isinstance(n, (int, float)) for n in numbers[: len(COUNTERS)])
            assert len(numbers) == len(COUNTERS) + 3


def test_lost_data_begins_anew() -> None:
    app = App()
    for minute in range(12):
        app.report(minute, tasks=9)
    app.store.flush()
    for minute in range(12, 31):
        app.report(minute, tasks=1)
    assert [at for at, _ in app.tens()] == [12, 20, 30]
    assert min(app.week()["arrivals"]) == 0
    app.store.state.clear()  # a server that evicts keys may leave the streams
    for minute in range(31, 42):
        app.report(minute, tasks=1)
    assert [at for at, _ in app.tens()] == [12, 20, 30, 31, 40]
    # All but those of the minute in which the counters were lost.
    assert app.week()["arrivals"][-5:] == [0, 8, 10, 9, 1]


def test_no_more_than_a_week_is_kept() -> None:
    app = App()
    for ten in range(MOST_TENS + 5):
        app.report(ten * 10)
    assert len(app.tens()) == MOST_TENS
    assert app.tens()[0][0] == 50


@pytest.mark.parametrize(
    ("pools", "named", "rest"),
    [
        ([Pool("worker", None, 0, 1, 1)], {}, "worker"),
        ([Pool("pdf", ("a", "b"), 0, 1, 1)], {"a": "pdf", "b": "pdf"}, None),
        (
            [Pool("pdf", ("a",), 0, 1, 1), Pool("worker", None, 0, 1, 1)],
            {"a": "pdf"},
            "worker",
        ),
    ],
)
def test_a_sample_knows_the_pool_of_each_queue(
    pools: list[Pool], named: dict[str, str], rest: str | None
) -> None:
    given = settings(*pools)
    sampling = sampling_of(given)
    assert (sampling["pools"], sampling.get("rest")) == (named, rest)
    assert [given.pool_name(queue) for queue in ("a", "else")] == [named.get("a", rest), rest]
