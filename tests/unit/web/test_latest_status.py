"""The status for scrapes and for the admin's panel, which wait for it a bounded time."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from weakref import ref

import pytest

from celery_middle_management.settings.secret import Secret
from celery_middle_management.web import latest_status, prometheus
from celery_middle_management.web.latest import Latest
from celery_middle_management.web.latest_status import FRESH, KEPT, document_of, read_status
from tests.servers import wait_for
from tests.unit.test_status_page import everything


class App:
    """What is taken for a managed app."""


class Reads:
    """Reads a document once it is told to go on, at a time that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.go_on = threading.Event()
        self.go_on.set()
        self.error: Exception | None = None

    def __call__(self, _: object = None) -> dict[str, Any]:
        assert self.go_on.wait(60)
        if self.error:
            raise self.error
        return everything()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reads]:
    its = Reads()
    monkeypatch.setattr("celery_middle_management.web.latest.monotonic", lambda: its.now)
    monkeypatch.setattr(latest_status, "status", its)
    monkeypatch.setattr(prometheus, "_PATIENCE", 0.0)
    monkeypatch.setattr(prometheus, "_log", prometheus.LogThrottle(prometheus._log._logger))
    yield its
    its.go_on.set()


def up(app: Any) -> bool:
    return b"\ncelery_mm_up 1.0\n" in prometheus.exposition(app)[0]


def test_metrics_stay_while_a_broker_that_hangs_delays_the_status(reads: Reads) -> None:
    app: Any = App()
    assert up(app)
    reads.go_on.clear()
    reads.now += FRESH
    assert up(app)
    reads.now += 1
    assert up(app), "the ledger was read a moment ago"
    reads.now += KEPT
    assert not up(app)
    reads.go_on.set()
    wait_for(lambda: up(app))


def test_a_ledger_that_cannot_be_read_is_told_at_once_and_logged_in_one_line(
    reads: Reads, caplog: pytest.LogCaptureFixture
) -> None:
    app: Any = App()
    assert up(app)
    reads.now += FRESH
    reads.error = ConnectionError("no\nRedis")
    wait_for(lambda: not up(app))
    assert caplog.messages == ["the status could not be read: no Redis"]


def test_without_a_document_there_is_none(reads: Reads) -> None:
    app: Any = App()
    reads.go_on.clear()
    reading = read_status(app, 0.0)
    assert document_of(reading) is None
    assert reading.error is None


def test_an_app_is_not_kept_alive_by_its_status(reads: Reads) -> None:
    app: Any = App()
    assert document_of(read_status(app, 60.0)) is not None
    its = ref(app)
    del app
    gc.collect()
    assert its() is None


def newest(reading: Any) -> bool:
    return bool(reading.age == 0 and reading.waiting == 0)


def test_the_admins_panel_says_that_redis_hangs(
    reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("django")
    from celery_middle_management.web.django import panel

    app: Any = App()
    app.settings = SimpleNamespace(redis_url=Secret("redis://:hunter2@here/3"))
    monkeypatch.setattr(panel, "celery_app", lambda: None)
    monkeypatch.setattr(panel, "enabled_app_of", lambda _: app)
    monkeypatch.setattr(panel, "_FIRST_PATIENCE", 0.0)
    monkeypatch.setattr(panel, "_PATIENCE", 0.0)
    reads.go_on.clear()
    read_status(app, 0.0)
    reads.now += 7
    hangs = "Redis or the broker has not answered for 7 s (redis://here)."
    assert panel.panel() == {"failed": hangs}
    reads.go_on.set()
    wait_for(lambda: "pools" in panel.panel() and "problem" not in panel.panel())
    wait_for(lambda: newest(read_status(app, 0.0, anew=True)))
    reads.go_on.clear()
    panel.panel()
    reads.now += 7
    told = panel.panel()
    assert told["problem"] == f"{hangs} What you see is 7 s old."
    assert told["pools"]
    reads.error = ConnectionError("no route to it")
    reads.go_on.set()
    wait_for(lambda: "Redis could not be read" in panel.panel().get("problem", ""))
    said = panel.panel()["problem"]
    assert said.startswith("Redis could not be read (redis://here): no route to it. Check that")
    assert said.endswith(" What you see is 7 s old.")
    reads.now += KEPT
    wait_for(lambda: "failed" in panel.panel())
    assert "hunter2" not in said + panel.panel()["failed"]


def test_a_reader_can_have_it_read_anew() -> None:
    app: Any = App()
    numbers = iter(range(9))
    latest_status._latest[app] = Latest(lambda: {"reading": next(numbers)}, 60.0, "test")
    read = [read_status(app, 60.0, anew=anew).value for anew in (False, False, True)]
    assert read == [{"reading": 0}, {"reading": 0}, {"reading": 1}]


def test_all_readers_are_given_one_reading() -> None:
    app: Any = App()
    latest_status._latest[app] = Latest(lambda: {"reading": 1}, 60.0, "test")
    assert read_status(app, 60.0).value is read_status(app, 60.0).value
