"""Samples taken while real workers run real tasks tell what there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from celery_middle_management.core.history import Totals
from celery_middle_management.ledger.codec import unpack_samples
from tests.integration.scenes import PREFIX, Scene, scene

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

#: Tasks that run until the test lets them go, and tasks of later.
PUBLISH = """
for _ in range(9): hold.delay()
for _ in range(4): work.apply_async(countdown=3600)
"""


def sampled(it: Scene) -> Totals:
    """Have the next report of the worker take a sample, as if another minute had begun."""
    it.redis.hset(f"{PREFIX}:state", "minute", "0")
    it.wait(lambda: it.redis.hget(f"{PREFIX}:state", "minute") != "0")
    entries: Any = it.redis.xrevrange(f"{PREFIX}:samples", count=1)
    [sample] = unpack_samples([entries[0][1]["entry"]])
    return sample.pools["worker"]


def tasks(told: Totals) -> tuple[Any, ...]:
    return told.waiting, told.running, told.scheduled


def test_samples_tell_what_waits_and_runs_and_is_scheduled(tmp_path: Path) -> None:
    limits = {"min_workers": 2, "max_workers": 2}
    with scene(tmp_path, settings=limits, process_types={"worker": 2}) as it:
        it.wait(lambda: len(it.on.presences()) == 2)
        it.on.publish(PUBLISH)
        it.wait_at_work("worker.1", "worker.2")
        # Nothing moves until the test lets it: only reports have to come in.
        it.wait(lambda: tasks(sampled(it)) == (7, 2, 4))
        it.let_go("worker.1", "worker.1", "worker.2")
        it.wait(lambda: tasks(sampled(it)) == (4, 2, 4))
        assert sampled(it).quantity == 2
        for _ in range(3):
            it.let_go("worker.1", "worker.2")
        it.wait(lambda: tasks(sampled(it)) == (0, 0, 4))
        assert sampled(it)[:3] == (9, 9, 9)
        status = it.on.status()["tasks"]
        assert (status["waiting"], status["running"], status["scheduled"]) == (0, 0, 4)
