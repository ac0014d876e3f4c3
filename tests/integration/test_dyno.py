"""The process that plays a local worker's dyno, on its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from celery_middle_management.platforms.local_dyno import started_at
from tests.servers import wait_for

MAIN = "from celery_middle_management.platforms.local_dyno import main; main()"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


def start(directory: Path, *command: str) -> subprocess.CompletedProcess[str]:
    files = ["--pid-file", str(directory / "worker.1.json"), "--log", str(directory / "log")]
    return subprocess.run(
        [sys.executable, "-c", MAIN, "--kill-after", "0.5", *files, "--", *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def pid(directory: Path) -> int:
    return int(json.loads((directory / "worker.1.json").read_text())["pid"])


def test_a_worker_that_exits_is_started_again_until_sigterm(tmp_path: Path) -> None:
    assert start(tmp_path, sys.executable, "-c", "print('here')").returncode == 0
    log = tmp_path / "log"
    wait_for(lambda: log.read_text().count("here") >= 2, message="it is not started again")
    dyno = pid(tmp_path)
    os.kill(dyno, signal.SIGTERM)
    wait_for(lambda: started_at(dyno) is None, message="the dyno goes on")
    assert list(tmp_path.glob("*.json")) == []


def test_a_worker_that_does_not_react_to_sigterm_is_killed(tmp_path: Path) -> None:
    assert start(tmp_path, sys.executable, "-c", STUBBORN).returncode == 0
    dyno = pid(tmp_path)
    os.kill(dyno, signal.SIGTERM)
    wait_for(lambda: started_at(dyno) is None, message="the dyno goes on")


def test_a_dyno_whose_pid_file_is_gone_stops_itself(tmp_path: Path) -> None:
    assert start(tmp_path, sys.executable, "-c", "import time; time.sleep(600)").returncode == 0
    dyno = pid(tmp_path)
    (tmp_path / "worker.1.json").unlink()
    wait_for(lambda: started_at(dyno) is None, message="the dyno goes on")


def test_what_cannot_be_started_is_said_or_logged(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    refused = start(tmp_path, "true")
    assert refused.returncode != 0
    assert "log" in refused.stderr
    (tmp_path / "log").rmdir()
    assert start(tmp_path, str(tmp_path / "no-such-program")).returncode == 0
    dyno = pid(tmp_path)
    wait_for(lambda: (tmp_path / "log").read_text() != "", message="nothing is logged")
    os.kill(dyno, signal.SIGTERM)
    wait_for(lambda: started_at(dyno) is None, message="the dyno goes on")
