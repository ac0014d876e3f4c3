"""Nothing of ours holds up greenlets, whenever the standard library was patched."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest

from celery_middle_management.demo.redis_server import free_port
from tests.integration.stage import stage
from tests.servers import ROOT, wait_for

#: Greenlets that waited for ours would wait for longer (s): for Heroku, or until the next look.
SOON = 2.0
#: Publishes, and prints how long (s) a greenlet was held up at most until the tasks were hired for
#: and a while after it.
PROGRAM = """
import sys
from tests.integration.apps.patches import Stalls, patch
library, patched = sys.argv[1:]
if patched == "after publishing": work.delay()
if patched != "before the import": patch(library)

import redis, time
stalls = Stalls(library)
ledger = redis.Redis.from_url(os.environ["BROKER_URL"])
def quantity(): return int(ledger.hget("{middle-management:myapp}:state", "worker/quantity") or 0)
for _ in range(3): work.delay()
give_up = time.monotonic() + 25
while quantity() < 3 and time.monotonic() < give_up: time.sleep(0.05)
work.delay()
time.sleep(0.5)
print(stalls.longest())
"""


@pytest.mark.parametrize("patched", ["before the import", "after the import", "after publishing"])
@pytest.mark.parametrize("library", ["gevent", pytest.param("eventlet", marks=pytest.mark.slow)])
def test_no_greenlet_waits_for_ours(library: str, patched: str, redis_url: str) -> None:
    pytest.importorskip(library)
    early = {"PATCH": library} if patched == "before the import" else {}
    with stage(redis_url, command=None, settings={"call_interval": 1}) as on:
        on.emulator.fault("late_after", seconds=2.5, count=2)
        told = on.script(PROGRAM, library, patched, **early)
        assert on.quantity >= 3, told.stderr
        assert float(told.stdout) < SOON
        assert on.number("worker/published") in (4, 5), told.stderr
        assert "could not" not in told.stderr


def test_to_wait_for_all_greenlets_is_not_to_wait_for_ours(redis_url: str) -> None:
    """A program of greenlets may end by ``gevent.wait()``."""
    pytest.importorskip("gevent")
    program = """
import gevent
gevent.spawn_later(0.1, work.delay)
gevent.spawn_later(1.0, print, "published")
gevent.wait()
"""
    with stage(redis_url, command=None) as on:
        assert on.script(program, PATCH="gevent").stdout == "published\n"
        assert on.quantity == 1


def test_no_request_waits_for_ours_in_a_preloaded_application(
    redis_url: str, tmp_path: Path
) -> None:
    """The application is imported by the master, and the worker patches after that."""
    pytest.importorskip("gevent")
    port, log = free_port(), tmp_path / "log"
    with stage(redis_url, command=None) as on, log.open("wb") as output:
        on.emulator.fault("late_after", seconds=1.0, count=2)
        command = [
            *(sys.executable, "-m", "gunicorn", "tests.integration.apps.web:web"),
            *("--bind", f"127.0.0.1:{port}", "--preload", "--worker-class", "gevent"),
            *("--workers", "1"),
        ]
        env = {**os.environ, **on.env, "HOME": str(tmp_path)}
        with subprocess.Popen(command, cwd=ROOT, env=env, stdout=output, stderr=output) as server:
            try:
                wait_for(lambda: answer(port, "/stalls"), message=log.read_text)
                for _ in range(3):
                    answer(port, "/publish")
                wait_for(lambda: on.quantity > 0, message=log.read_text)
                assert float(answer(port, "/stalls")) < SOON, log.read_text()
            finally:
                server.terminate()
        assert on.number("worker/published") == 3, log.read_text()


def answer(port: int, path: str) -> str:
    """Empty if there is none."""
    url = f"http://127.0.0.1:{port}{path}"
    with suppress(OSError), urllib.request.urlopen(url, timeout=30) as told:
        return str(told.read().decode())
    return ""


def test_one_thread_of_ours_imports_and_no_other(redis_url: str) -> None:
    """Its import holds up gevent and eventlet, which patch Python's own locks of an import, too."""
    program = """
import sys, threading, time
imported = []
def note(event, told):
    if event == "import" and threading.current_thread().name.startswith("mm-"):
        imported.append(threading.current_thread().name)
sys.addaudithook(note)
work.delay()
import redis
ledger = redis.Redis.from_url(os.environ["BROKER_URL"])
def evaluated(): return ledger.hget("{middle-management:myapp}:state", "evaluated_at")
give_up = time.monotonic() + 60
while not evaluated() and time.monotonic() < give_up: time.sleep(0.05)
print(*set(imported))
"""
    with stage(redis_url, command=None) as on:
        assert on.script(program).stdout == "mm-import\n"
        assert on.quantity == 1
