"""What simulated workers report of their tasks, computed by hand."""

from __future__ import annotations

from array import array

import pytest

from celery_middle_management.core.presence import Presence
from celery_middle_management.ledger.memory_store import Store
from celery_middle_management.sim import Model, Trace
from celery_middle_management.sim.books import EPOCH
from celery_middle_management.sim.cluster import Cluster
from celery_middle_management.sim.managed import Managed

#: One worker is always up. It has two slots and holds no task that it cannot begin.
ALONE = Model(minimum=1, maximum=1, concurrency=2)


class Watched:
    """A simulation whose ledger can be read."""

    def __init__(
        self, tasks: list[tuple[float, float]], *, max_wait: float | None, every_report: bool
    ) -> None:
        """*tasks* are published at some times (s), and take some (s)."""
        published, runtimes = (array("d", numbers) for numbers in zip(*tasks, strict=True))
        self.cluster = Cluster(Trace("", published, runtimes), ALONE, managed=True)
        self.managed = Managed(self.cluster, 10, max_wait=max_wait, every_report=every_report)

    def until(self, at: float) -> None:
        """Let time pass."""
        while self.managed.next_at <= at:
            self.cluster.advance(self.managed.next_at)
            self.managed.act()
        self.cluster.advance(at)

    @property
    def presence(self) -> Presence:
        """The last report of the worker."""
        (process,) = self.managed._books.workers.values()
        return process.catch_up(EPOCH + self.cluster.second)

    @property
    def ledger(self) -> Store:
        """The ledger, brought up to date."""
        self.managed._books.report(self.managed._publisher)
        return self.managed._books.store


@pytest.fixture(params=[False, True], ids=["left-out", "every-report"])
def every_report(request: pytest.FixtureRequest) -> bool:
    chosen: bool = request.param
    return chosen


def test_how_long_its_tasks_have_run(every_report: bool) -> None:
    """The first runs 0..8, the second (published at 2.5) 2.5..4.5, the third (at 3) 4.5..5.5."""
    it = Watched([(0.0, 8.0), (2.5, 2.0), (3.0, 1.0)], max_wait=None, every_report=every_report)
    elapsed = {}
    for at in (0.5, 1.5, 2.9, 3.5, 4.9, 5.0, 5.9, 6.5, 8.5, 9.5):
        it.until(at)
        assert (it.presence.slots, it.presence.runs) == (2, ())
        elapsed[at] = it.presence.elapsed
    assert elapsed == pytest.approx(
        {
            # At the last full second, the time that each has run.
            **{0.5: 0.0, 1.5: 1.0, 2.9: 2.0, 3.5: 3.0 + 0.5, 4.9: 4.0 + 1.5, 5.0: 5.0 + 0.5},
            **{5.9: 5.0 + 0.5, 6.5: 6.0, 8.5: 0.0, 9.5: 0.0},
        }
    )


def test_waits_and_late_starts(every_report: bool) -> None:
    """Two run 0..4, so that those published at 1 and 2 wait 3 and 2 s; that of 9 does not wait."""
    tasks = [(0.0, 4.0), (0.0, 4.0), (1.0, 3.0), (2.0, 3.0), (9.0, 1.0)]
    it = Watched(tasks, max_wait=2.5, every_report=every_report)
    counters = {}
    for at in (1.5, 4.5, 5.5, 7.5, 20.5):
        it.until(at)
        state = it.ledger.state
        counters[at] = tuple(
            float(state.get(f"worker/{name}", 0))
            for name in ("started", "waits", "late", "finished", "runtime")
        )
    assert counters == {
        1.5: (2, 0, 0, 0, 0),
        4.5: (4, 5, 1, 2, 8),
        5.5: (4, 5, 1, 2, 8),
        7.5: (4, 5, 1, 4, 14),
        20.5: (5, 5, 1, 5, 15),
    }


def test_without_a_longest_wait_no_start_is_late(every_report: bool) -> None:
    tasks = [(0.0, 9.0), (0.0, 9.0), (0.0, 1.0)]
    it = Watched(tasks, max_wait=None, every_report=every_report)
    it.until(30.5)
    state = it.ledger.state
    assert (state["worker/started"], float(state["worker/waits"])) == ("3", 9.0)
    assert "worker/late" not in state
