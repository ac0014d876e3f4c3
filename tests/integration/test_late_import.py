"""Imports of ours that happen late are disturbed neither by a fork nor by a patch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.stage import stage
from tests.servers import ROOT

#: A module that takes a while to import, in a thread of ours that has begun.
SLOW = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
from celery_middle_management.late_import import LateImport

def import_modules():
    import slow

late = LateImport(import_modules)
"""
BEGIN = """
late.begin()
while "slow" not in sys.modules: time.sleep(0.01)
"""
OVER = "print(getattr(sys.modules['slow'], 'over', False))"


def run(code: str, directory: Path) -> list[str]:
    (directory / "slow.py").write_text(
        "import time\ntime.sleep(0.5)\nimport colorsys\nover = True\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", SLOW + code, str(directory)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return told.stdout.split()


def test_a_task_that_is_published_first_waits_for_no_import_of_what_evaluates(
    redis_url: str,
) -> None:
    program = """
import sys, threading
importers = set()
def note(event, told):
    if event == "import" and told[0] in ("heroku3", "celery_middle_management.evaluation.pool"):
        importers.add(threading.current_thread().name)
sys.addaudithook(note)
work.delay()
import celery_middle_management
celery_middle_management.flush(app)
print(*importers)
"""
    with stage(redis_url, command=None) as on:
        assert on.script(program).stdout == "mm-import\n"


def test_the_caller_does_not_wait(tmp_path: Path) -> None:
    code = f"{BEGIN}{OVER}\nlate.finish()\n{OVER}"
    assert run(code, tmp_path) == ["False", "True"]


@pytest.mark.parametrize("library", ["gevent.monkey", "eventlet"])
def test_what_patches_the_locks_is_imported_after_it(library: str, tmp_path: Path) -> None:
    pytest.importorskip(library)
    assert run(f"{BEGIN}import {library}\n{OVER}", tmp_path) == ["True"]


@pytest.mark.parametrize("library", ["gevent.monkey", "eventlet"])
def test_where_the_locks_may_be_patched_at_any_moment_the_caller_imports(
    library: str, tmp_path: Path
) -> None:
    pytest.importorskip(library)
    assert run(f"import {library}\nlate.begin()\n{OVER}", tmp_path) == ["True"]


def test_a_fork_waits_until_it_is_over(tmp_path: Path) -> None:
    code = f"{BEGIN}if os.fork() == 0:\n    {OVER}\nelse: os.wait()"
    assert run(code, tmp_path) == ["True"]


def test_a_child_that_was_forked_in_between_begins_anew(tmp_path: Path) -> None:
    code = f"""
from celery_middle_management import threads
threads.start = lambda *args: None  # has yet to run
late.begin()
if os.fork() == 0:
    import gevent.monkey, eventlet
    late.after_fork()
    late.begin()
    {OVER}
else: os.wait()
"""
    assert run(code, tmp_path) == ["True"]


def test_an_import_that_fails_is_logged_and_holds_nothing_up(tmp_path: Path) -> None:
    code = """
import threading
late = LateImport(lambda: 1 / 0)
late.begin()
for thread in threading.enumerate():
    if thread.name == "mm-import": thread.join(30)
began = time.monotonic()
import gevent.monkey
print(time.monotonic() - began < 5)
"""
    assert run(code, tmp_path) == ["True"]


@pytest.mark.slow
@pytest.mark.parametrize("library", ["gevent.monkey", "eventlet.patcher"])
def test_publishing_waits_for_no_import_where_the_locks_may_be_patched(library: str) -> None:
    pytest.importorskip(library.partition(".")[0])
    code = f"""
import sys, {library}
from celery import Celery
import celery_middle_management
app = Celery("it", broker="redis://localhost:1")
app.conf.update(
    middle_management_enabled=True, middle_management_platform="local",
    middle_management_max_workers=2, middle_management_redis_url="redis://localhost:1",
)
app.finalize()
print("celery_middle_management.evaluation.pool" in sys.modules)
"""
    run = [sys.executable, "-W", "ignore", "-c", code]
    told = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert told.stdout.split() == ["True"]
