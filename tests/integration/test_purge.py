"""A worker that is to delete what waits when it starts, by ``--purge`` in the Procfile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from celery_middle_management.working.purge import PURGE_IGNORED, PURGES
from tests.integration.scenes import Scene, scene
from tests.integration.stage import ALONE, WORKER

TASKS = 5


def told_wrong(it: Scene) -> list[Any]:
    return [trouble["what"] for trouble in it.on.whole_status()["trouble"]]


def test_no_task_is_deleted_that_a_worker_was_hired_for(tmp_path: Path) -> None:
    settings = {"min_workers": 1, "max_workers": 1}
    with scene(tmp_path, command=(*WORKER, "--purge"), settings=settings) as it:
        it.program().say(f"for _ in range({TASKS}): note.delay()")
        it.wait(lambda: sum(run.end is not None for run in it.journal.runs()) == TASKS)
        it.wait(lambda: it.presence("worker.1").get("wrong"))
        assert told_wrong(it) == [f"worker.1 {PURGE_IGNORED}"]
        logs = [path.read_text() for path in (tmp_path / "dynos").iterdir()]
        assert any(f"worker.1 {PURGE_IGNORED}" in log for log in logs)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("env", "settings", "told"),
    [
        ({"MM_OFF": "1", "DYNO": "worker.1"}, {}, []),
        ({}, {}, []),
        ({"DYNO": "worker.1"}, {"dry_run": True}, [f"worker.1 {PURGES}"]),
    ],
    ids=["not managed", "of no pool", "dry run"],
)
def test_what_is_not_managed_is_left_to_purge(
    env: dict[str, str], settings: dict[str, Any], told: list[str], tmp_path: Path
) -> None:
    settings = ALONE["settings"] | settings
    with scene(tmp_path, **{**ALONE, "settings": settings}) as it:
        it.program().say(f"for _ in range({TASKS}): note.delay()")
        with it.on.worker("-c", "1", "--purge", **env) as worker:
            it.wait(lambda: f"purge: Erased {TASKS} messages" in worker.log)
            it.wait(lambda: not told or it.presence("worker.1").get("wrong"))
            assert told_wrong(it) == told
