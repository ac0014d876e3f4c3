"""A pytest plugin for Celery's suites that records the outcome of each test.

It is copied to where the suites run: with our directory on the path, plain runs would find our
package too, and the `celery` command would load it as a plugin.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

#: The environment variable that names the file to write, one JSON document per line.
FILE = "CELERY_SUITES_OUTCOMES"
#: Read at once, because some tests run without an environment.
_file = os.environ.get(FILE, os.devnull)


def pytest_collection_finish() -> None:
    """Make Celery's check for leftover threads ignore ours.

    A process that publishes keeps a thread of ours for as long as it lives.
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
