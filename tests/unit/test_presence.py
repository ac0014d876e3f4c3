"""The presence of a worker, and sums over several."""

from __future__ import annotations

import json
from typing import Any

import pytest

from celery_middle_management.core.demand import Held
from celery_middle_management.core.presence import (
    LONGEST_NAME,
    Run,
    due_in,
    held_in,
    longest_runs,
    recent_in,
)
from celery_middle_management.core.timing import SILENT
from celery_middle_management.ledger.codec import pack_presence, unpack_presence

from .pools import DRAWN, NOW, presence


@pytest.mark.parametrize(
    ("reported", "takes"),
    [
        ({}, True),
        ({"stopped": DRAWN}, False),
        ({"closing": True}, False),
        ({"full": True}, False),
        ({"seen": NOW - SILENT - 1}, False),
        ({"queues": ("other",)}, False),
        ({"queues": ()}, False),
    ],
)
def test_which_workers_take_tasks(reported: dict[str, Any], takes: bool) -> None:
    assert (
        presence("worker.1", **{"queues": ("other", "celery")} | reported).takes(("celery",), NOW)
        is takes
    )


def test_what_workers_hold_of_some_queues() -> None:
    one = presence("worker.1", held={"a": Held(1, 1), "x": Held(9)}, due={"a": {10: 1}})
    two = presence(
        "worker.2",
        held={"b": Held(0, 2, 3, 4)},
        due={"b": {10: 2, 20: 1}, "x": {5: 1}},
        recent={"b": {10: 1}, "x": {5: 1}},
    )
    assert held_in((one, two), ("a", "b")) == Held(1, 3, 3, 4)
    assert due_in((one, two), ("a", "b")) == {10: 3, 20: 1}
    assert recent_in((one, two), ("a", "b")) == {10: 1}
    assert held_in((), ("a",)) == Held()


def test_it_is_read_as_it_was_written() -> None:
    one = presence(
        "worker.1",
        stopped=NOW - 3,
        closing=True,
        full=True,
        busy=2,
        queues=("a", "b"),
        held={"a": Held(1, 2, 3, 4)},
        due={"a": {10: 2}},
        recent={"a": {10: 1}},
    )
    assert unpack_presence(json.loads(pack_presence(one)), one.id, one.seen) == one


def test_it_is_read_as_an_older_release_wrote_it() -> None:
    one = presence("worker.1", queues=("a",))
    document = json.loads(pack_presence(one))
    del document["full"]
    assert unpack_presence(document, one.id, one.seen) == one


def test_a_worker_reports_few_tasks_and_short_names() -> None:
    running = [Run(f"app.task{n}", 1000.0 - n) for n in range(50)]
    reported = longest_runs(running)
    assert [run.name for run in reported] == [f"app.task{n}" for n in range(49, 44, -1)]
    [run] = longest_runs([Run("a" * 500 + "b" * 500, 1.23456)])
    assert len(run.name) <= LONGEST_NAME
    assert (run.name[0], run.name[-1], run.since) == ("a", "b", 1.235)
