"""Workers of the local platform that are hired one by one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from celery_middle_management.platforms.base import OneOff, PlatformError
from tests.integration.stage import APP
from tests.integration.test_local_platform import CRASHING, Scripts, processes, soon
from tests.servers import ROOT, wait_for

ENVIRONMENT = (
    "import json, os, time; print(json.dumps(dict(os.environ)), flush=True); time.sleep(600)"
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "workers"


def names(platform: Scripts, pool: str = "worker") -> list[str]:
    listing = platform.one_offs.listed([pool], soon())[pool]
    return [one.name for one in listing.workers]


def test_a_hired_worker_is_listed_and_knows_its_pool_and_its_hire(directory: Path) -> None:
    platform = Scripts(directory, ENVIRONMENT)
    try:
        outcomes = platform.one_offs.hire({"worker": ["a", "b"], "pdf": ["c"]}, soon())
        hired = {hire: one.name for hire, one in outcomes.items() if isinstance(one, OneOff)}
        assert hired.keys() == {"a", "b", "c"}
        assert sorted(names(platform)) == sorted([hired["a"], hired["b"]])
        assert names(platform, "pdf") == [hired["c"]]
        assert platform.quantities(["worker", "pdf"], soon()) == {"worker": 0, "pdf": 0}
        log = platform.files.log(hired["a"])
        wait_for(lambda: log.exists() and log.read_text().endswith("\n"))
        env = json.loads(log.read_text().splitlines()[-1])
        assert env["DYNO"] == hired["a"]
        assert platform.identity(env, "here") == ("worker", hired["a"], "a")
    finally:
        platform.stop_all(soon())


def test_a_worker_that_a_one_off_worker_hires_is_not_taken_for_it(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELERY_MM_POOL", "worker")
    monkeypatch.setenv("CELERY_MM_HIRE", "a")
    platform = Scripts(directory, ENVIRONMENT)
    try:
        platform.scale({"pdf": 1}, soon())
        log = platform.files.log("pdf.1")
        wait_for(lambda: log.exists() and log.read_text().endswith("\n"))
        env = json.loads(log.read_text().splitlines()[-1])
        assert platform.identity(env, "here") == ("pdf", "pdf.1", "")
    finally:
        platform.stop_all(soon())


def test_one_is_stopped_and_the_others_stay(directory: Path) -> None:
    platform = Scripts(directory)
    try:
        outcomes = platform.one_offs.hire({"worker": ["a", "b"]}, soon())
        one, other = (outcomes[hire] for hire in "ab")
        assert isinstance(one, OneOff)
        assert isinstance(other, OneOff)
        platform.one_offs.stop(one.id, soon())
        wait_for(lambda: names(platform) == [other.name])
    finally:
        platform.stop_all(soon())


def test_one_that_ends_is_gone_and_not_started_again(directory: Path) -> None:
    platform = Scripts(directory, CRASHING)
    platform.one_offs.hire({"worker": ["a"]}, soon())
    wait_for(lambda: not names(platform) and not processes(directory))
    [log] = directory.glob("*.log")
    time.sleep(2.0)  # longer than a dyno of the formation waits before it starts a worker again
    assert log.read_text().count("run.") == 1


def test_no_worker_is_hired_where_the_directory_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "workers").write_text("not a directory")
    with pytest.raises(PlatformError, match="pid files"):
        Scripts(tmp_path / "workers").one_offs.hire({"worker": ["a"]}, soon())


@pytest.mark.slow
def test_an_app_hires_them_and_they_leave(redis_url: str, tmp_path: Path) -> None:
    env = {
        **os.environ,
        "TMPDIR": str(tmp_path),
        "BROKER_URL": redis_url,
        "MIDDLE_MANAGEMENT_PLATFORM": "local",
        "MIDDLE_MANAGEMENT_DYNOS": "one-off",
        "MIDDLE_MANAGEMENT_MAX_WORKERS": "2",
        "MIDDLE_MANAGEMENT_JOBS_PER_WORKER": "1",
    }
    assert Path(tempfile.gettempdir()) != tmp_path

    def there() -> set[str]:
        return {path.stem for path in tmp_path.glob("*/*/worker.run.*.json")}

    publish = f"from {APP} import *; [work.delay(3) for _ in range(2)]; time.sleep(60)"
    publisher = subprocess.Popen([sys.executable, "-c", publish], env=env, cwd=ROOT)
    try:
        wait_for(lambda: len(there()) == 2)
        wait_for(lambda: not there())
        logs = [path.read_text() for path in tmp_path.glob("*/*/run.*.log")]
        assert sum(log.count("succeeded in") for log in logs) == 2
        assert sum(log.count("holds no task, and leaves") for log in logs) == 2
    finally:
        publisher.kill()
        publisher.wait()
