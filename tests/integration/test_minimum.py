"""The minimum is kept from the first process on that publishes, works or keeps watch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.integration.stage import Stage, stage

#: No pool serves "theirs".
POOLS = {"worker": {"queues": ["celery"], "min_workers": 2}, "pdf": {"queues": ["pdf"]}}
FOREIGN = "work.apply_async(queue='theirs')"
#: It has nothing to publish, ever.
BEAT = "import tempfile; app.start(['beat', '-s', tempfile.mkdtemp() + '/schedule'])"
LIVES_ON = "; import sys; sys.stdin.read()"


@contextmanager
def pools(redis_url: str, workers: int = 0) -> Iterator[Stage]:
    with stage(
        redis_url,
        command=None,
        process_types={"web": 1, "worker": workers, "pdf": 0},
        settings={"pools": POOLS, "call_interval": 1},
    ) as on:
        yield on


@pytest.mark.parametrize(
    ("code", "workers"),
    [
        (FOREIGN, 0),
        (FOREIGN, 1),
        ("work.apply_async(queue='pdf')", 1),
        ("app.start(['mm', 'run'])", 1),
        (BEAT, 1),
    ],
)
def test_by_a_process_that_has_nothing_for_the_pool(
    code: str, workers: int, redis_url: str
) -> None:
    with pools(redis_url, workers) as on, on.program(code + LIVES_ON):
        on.wait_for_quantity(2)


def test_by_a_script_that_has_nothing_for_any_pool(redis_url: str) -> None:
    with pools(redis_url) as on:
        on.script(FOREIGN)
        assert on.quantity == 2


def test_by_a_worker_of_no_pool_also_when_the_ledger_was_lost(redis_url: str) -> None:
    with pools(redis_url) as on, on.worker("-c", "1", "-Q", "theirs"):
        on.wait_for_quantity(2)
        on.redis.flushall()
        on.emulator.scale_by_hand("worker", 0)
        on.wait_for_quantity(2)
