"""Two releases run side by side, as in every deploy: the old one is built from git."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.integration.scenes import Scene, scene
from tests.integration.stage import APP, WORKER
from tests.servers import ROOT, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

#: An old release, which reports much less than this one.
OLD = "7d5663f"
#: Every second dyno is of the old release.
MIXED = 'case ${DYNO##*.} in *[02468]) cd "$OLD"; export PYTHONPATH="$OLD";; esac; exec "$@"'
#: A minute of bursts, tasks with a countdown, and pauses in which workers are fired.
LOAD = """
import sys, time
n = 0
for burst in range(6):
    for _ in range(12):
        note.delay(0.5)
        n += 1
    note.apply_async((0.2,), countdown=4)
    n += 1
    time.sleep(10)
print(n, flush=True)
"""


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the tree of the old release."""
    archive = subprocess.run(["git", "archive", OLD], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        pytest.skip(f"no git repository with {OLD}")
    directory = tmp_path_factory.mktemp("old")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(directory, filter="data")
    return directory


def publisher(it: Scene, tree: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", f"from {APP} import *\n{LOAD}"],
        env={**os.environ, **it.on.env, "PYTHONPATH": str(tree), "DYNO": "web.1"},
        cwd=tree,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_an_old_release_and_this_one_do_the_same_apps_tasks(tmp_path: Path, old: Path) -> None:
    settings = {"max_workers": 4, "call_interval": 2}
    command = ("/bin/sh", "-c", MIXED, "sh", *WORKER)
    with scene(tmp_path, settings=settings, command=command) as it, ExitStack() as ending:
        it.on.env["OLD"] = str(old)
        # The old one does not know this setting.
        del it.on.env["MIDDLE_MANAGEMENT_OFF_PLATFORM"]
        publishers = [publisher(it, tree) for tree in (ROOT, old)]
        for process in publishers:
            ending.callback(process.kill)
        # The old one does not report whether a worker is full.
        told: set[bool] = set()
        while any(process.poll() is None for process in publishers):
            told |= {"full" in presence for presence in it.on.presences()}
            time.sleep(0.1)
        assert told == {True, False}, "both releases have worked"
        published = sum(int(process.communicate(timeout=100)[0]) for process in publishers)
        wait_for(lambda: it.on.quantity == 0, 90.0, it.told)
        runs = it.journal.runs()
        it.assert_no_worker_was_killed()
        assert len(runs) == len({run.task for run in runs}) == published
        assert {run.dyno for run in runs} >= {"worker.1", "worker.2"}, "both have worked"
        assert max(change.after for change in it.emulator.changes) <= 4
        assert len(it.emulator.changes) > 2, "they were hired, fired and hired again"
        tasks = it.on.status()["tasks"]
        assert (tasks["outstanding"], tasks["running"], tasks["scheduled"]) == (0, 0, 0)
        logs = "".join(path.read_text() for path in (tmp_path / "dynos").glob("*.log"))
        assert "Traceback" not in logs
