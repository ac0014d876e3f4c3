"""Many processes publish at once: the counters are exact and the platform is left in peace."""

from __future__ import annotations

from tests.benchmarks.burst import burst

TASKS = 1500
CALL_INTERVAL = 10.0


def test_a_burst_is_counted_exactly_with_few_calls() -> None:
    result = burst(processes=6, tasks=TASKS, seconds=4.0, timeout=90.0)
    assert result.number("published") == result.number("finished") == TASKS
    # On a slow machine it lasts longer: one more for each call interval.
    more = int(result.seconds / CALL_INTERVAL)
    assert 1 <= result.changes <= 2 + more
    assert result.reads <= 3 + more
    # Nobody reports a task by itself.
    assert result.sent.total() < TASKS / 2
