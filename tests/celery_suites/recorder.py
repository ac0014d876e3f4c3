"""A pytest plugin for Celery's suites: writes down what became of each test.

It is copied to where they run: with our directory on the path, plain ones would find us too, and
the `celery` command would load us as a plugin.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

#: Environment variable: the file to write, a JSON document a line.
FILE = "CELERY_SUITES_OUTCOMES"
#: Read at once, for there are tests without an environment.
_file = os.environ.get(FILE, os.devnull)


def pytest_collection_finish() -> None:
    """Let Celery's check for threads left over overlook ours.

    A process that publishes has a thread of ours for as long as it lives.
    """
    conftest: Any = sys.modules.get("t.unit.conftest")
    if conftest is not None:
        every = conftest.alive_threads
        conftest.alive_threads = lambda: [t for t in every() if not t.name.startswith("mm-")]


def pytest_runtest_logreport(report: Any) -> None:
    if report.outcome == "rerun" or (report.when != "call" and report.passed):
        return
    expected = "xfailed, " if hasattr(report, "wasxfail") else ""
    why = str(report.longrepr or "").strip().splitlines()
    line = {
        "test": report.nodeid,
        "outcome": f"{expected}{report.outcome}",
        "seconds": round(report.duration, 2),
        "why": why[-1][-300:] if report.failed and why else "",
    }
    with Path(_file).open("a") as file:
        file.write(json.dumps(line) + "\n")
