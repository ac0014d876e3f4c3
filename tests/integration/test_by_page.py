"""What people do by the page, over HTTP: alone, at once with a command, while workers drain."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from celery_middle_management.demo.redis_server import RedisServer
from tests.integration.apps.journal import Journal
from tests.integration.stage import APP, Stage, stage
from tests.integration.test_by_hand import decided, log, mm
from tests.servers import ROOT, wait_for

pytestmark = pytest.mark.usefixtures("plotting")

TOKEN = "a token that cannot be guessed".replace(" ", "-")
#: The page's own token, as its cookie and as the header that its requests bring.
OWN = "x" * 43
SETTINGS = {"call_interval": 1, "web_actions": True}


class Page:
    """The page of `mm web`, as one of its visitors uses it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session = requests.Session()
        self._session.headers.update({"Authorization": f"Bearer {TOKEN}", "X-MM-Token": OWN})
        self._session.cookies.set("mm-page", OWN)

    def post(self, action: str, **body: Any) -> tuple[int, dict[str, Any]]:
        """Press a button; return the status and the answer."""
        answer = self._session.post(f"{self._url}/{action}", json=body, timeout=60)
        return answer.status_code, answer.json()


@contextmanager
def page(on: Stage) -> Iterator[Page]:
    env = {**os.environ, **on.env, "MM_WEB_TOKEN": TOKEN, "USER": "eve", "LOGNAME": "eve"}
    command = [sys.executable, "-m", "celery", "-A", APP, "mm", "web", "--port", "0"]
    with subprocess.Popen(command, env=env, cwd=ROOT, stdout=subprocess.PIPE, text=True) as its:
        try:
            assert its.stdout is not None
            yield Page(its.stdout.readline().partition("/?")[0])
        finally:
            its.terminate()


@pytest.mark.slow
def test_what_is_asked_for_by_page_and_by_command_adds_up(redis_url: str) -> None:
    with stage(redis_url, command=None, settings=SETTINGS) as on, page(on) as its:
        assert mm(on, "hire", "1").returncode == 0
        on.wait_for_quantity(1)
        answers: list[tuple[int, dict[str, Any]]] = []
        people = [
            threading.Thread(target=mm, args=(on, "hire", "1")),
            threading.Thread(
                target=lambda: answers.append(its.post("hire", pool="worker", number=2))
            ),
        ]
        for person in people:
            person.start()
        for person in people:
            person.join()
        assert on.status()["wish"]["least"] == 4
        [(status, entry)] = answers
        assert (status, entry["action"], entry["by"][:4]) == (200, "ask to hire", "eve@")
        assert entry in log(on)
        asked = [e for e in log(on) if e["action"] == "ask to hire"]
        assert sorted(e["to"] - e["from"] for e in asked) == [1, 1, 2]
        assert its.post("hire", pool="worker", number=5)[1]["to"] == 5
        refused = its.post("hire", pool="worker", number=1)
        assert refused[0] == 409
        assert "and its max_workers is 5" in refused[1]["error"]


@pytest.mark.slow
def test_a_pause_by_page_does_not_end_one_by_command(redis_url: str) -> None:
    with stage(redis_url, command=None, settings=SETTINGS) as on, page(on) as its:
        mm(on, "pause", "--hires")
        status, entry = its.post("pause", hires=False, fires=True, **{"for": 3600})
        assert status == 200
        assert entry["reason"].startswith("ann@")
        told = on.whole_status()["pause"]
        assert (told["hires"], told["fires"]) == (True, True)
        assert its.post("resume")[0] == 200
        assert not on.whole_status()["paused"]
        assert [e["action"] for e in decided(on)] == ["pause", "pause", "resume"]


@pytest.mark.slow
def test_hired_by_page_while_workers_drain(redis_url: str, tmp_path: Path) -> None:
    settings = {**SETTINGS, "count_interval": 2}
    with stage(redis_url, log_dir=tmp_path, settings=settings) as on, ExitStack() as stack:
        on.env["JOURNAL"] = str(tmp_path)
        program = "for _ in range(3): hold.delay()\nimport time; time.sleep(120)"
        stack.enter_context(on.program(program))
        its = stack.enter_context(page(on))
        on.wait_for_quantity(3)
        wait_for(lambda: on.number("worker/started") == 3, 60)
        assert its.post("fire", pool="worker", number=2)[1]["to"] == 1
        wait_for(lambda: len(on.status()["workers"]["draining"]) == 2, 60)
        assert on.quantity == 3, "they are at work"
        assert its.post("hire", pool="worker", number=3)[1]["to"] == 4
        on.wait_for_quantity(4)
        assert not on.status()["workers"]["draining"]
        for number in (1, 2, 3):
            Journal(tmp_path).let_go(f"worker.{number}")
        on.wait_until_finished(3)
        assert its.post("resume")[0] == 200
        on.wait_for_quantity(0)
        assert not any(stop.sigkilled for stop in on.emulator.stops)
        assert on.number("worker/finished") == 3


@pytest.mark.slow
def test_by_page_with_redis_down(redis_url: str) -> None:
    with (
        RedisServer(appendonly=True) as ledger,
        stage(redis_url, ledger.url, command=None, settings=SETTINGS) as on,
        page(on) as its,
    ):
        assert its.post("pause", hires=True, fires=True)[0] == 200
        ledger.kill()
        status, told = its.post("resume")
        assert status == 503
        assert told["error"].startswith("Redis could not be written (redis://127.0.0.1")
        ledger.restart()
        assert on.whole_status()["paused"]
        ledger.pause()
        status, told = its.post("resume")
        ledger.resume()
        assert status == 503
        assert "Redis" in told["error"]
        assert its.post("resume")[0] == 200
        assert not on.whole_status()["paused"]
