"""`mm doctor` as a whole."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from celery_middle_management.doctor import examination
from tests.integration.doctor.examine import doctor
from tests.integration.stage import APP, ROOT, Stage


def test_nothing_is_wrong(on: Stage) -> None:
    before = len(on.emulator.requests)
    # What a deploy needs so that it leaves running tasks some time.
    softly = "app.conf.worker_soft_shutdown_timeout = 20"
    findings, status = doctor(on, softly, REMAP_SIGTERM="SIGQUIT")
    assert status == 0
    levels = {name: {f["level"] for f in found} for name, found in findings.items()}
    # Celery may be an old one here.
    assert {name for name, found in levels.items() if found != {"ok"}} <= {"versions"}
    assert len(levels) >= 30
    changes = [r for r in on.emulator.requests[before:] if r.method != "GET"]
    # The request that tests the key changes nothing.
    assert [change.body for change in changes] == ['{"updates": []}']
    assert on.quantity == 0
    # Nor does it leave anything in the ledger.
    assert on.redis.keys("*") == []


def test_in_a_dry_run_it_asks_for_no_change_at_all(on: Stage) -> None:
    doctor(on, MIDDLE_MANAGEMENT_DRY_RUN="true")
    assert {request.method for request in on.emulator.requests} == {"GET"}


def test_for_people_it_ends_with_what_must_be_mended(on: Stage) -> None:
    on.emulator.remove_type("worker")
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", APP, "mm", "doctor"],
        env=on._environment({"COLUMNS": "80"}),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[-1].startswith("1 failure, ")
    assert "FAILURE" in "\n".join(lines[-8:])
    assert "" not in map(str.strip, lines)
    # A command to paste has a line of its own.
    assert f"worker: celery -A {APP} worker" in map(str.strip, lines)
    assert "emulated-key" not in done.stdout + done.stderr


def test_every_check_is_broken_here_and_says_how_to_mend_it() -> None:
    """Each finding that is not ok is provoked by one of these files, and has a remedy."""
    tests = Path(__file__).parent.glob("test_*.py")
    here, missing = "".join(path.read_text() for path in tests), set()
    for path in Path(examination.__file__).parent.glob("*_checks.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or getattr(node.func, "id", "") != "Finding":
                continue
            name, level, *told = node.args
            if getattr(level, "id", "") != "OK":
                assert len(told) == 2, ast.unparse(node)
                if isinstance(name, ast.Constant) and f'"{name.value}"' not in here:
                    missing.add(name.value)
    assert missing == set()
