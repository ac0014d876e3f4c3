"""Many processes publish at once: the counters are exact and the platform is left in peace."""

from __future__ import annotations

import pytest

from celery_middle_management.core.timing import LOCK_SECONDS, STAND_BY
from tests.benchmarks.burst import burst
from tests.integration.office import office
from tests.servers import wait_for

TASKS = 1500
CALL_INTERVAL = 10.0


@pytest.mark.slow
def test_a_burst_is_counted_exactly_with_few_calls() -> None:
    result = burst(processes=6, tasks=TASKS, seconds=4.0, timeout=90.0)
    assert result.number("published") == result.number("finished") == TASKS
    # On a slow machine it lasts longer: one more for each call interval.
    more = int(result.seconds / CALL_INTERVAL)
    assert 1 <= result.changes <= 2 + more
    assert result.reads <= 3 + more
    # No process reports a task on its own.
    assert result.sent.total() < TASKS / 2


def test_of_many_publishers_one_looks_in_when_an_evaluation_is_due(redis_url: str) -> None:
    with office(redis_url, call_interval=30) as first, office(redis_url) as second:
        first.publish()
        first.scaler.evaluate(first.lease())
        first.publish()
        waits = [it.report().wait for it in (first, second, first, second)]
        assert sum(wait < STAND_BY for wait in waits) == 1
        # The process that was due to come has ended: the next one that reports comes instead.
        wait_for(lambda: (not second.leases and second.report().wait < STAND_BY) or second.leases)


def test_a_process_comes_when_a_dead_scalers_lock_runs_out(redis_url: str) -> None:
    with office(redis_url) as dead, office(redis_url) as other:
        dead.publish()
        dead.lease()  # and does nothing
        waits = [other.report().wait for _ in range(3)]
        assert min(waits) <= min(LOCK_SECONDS, STAND_BY)
