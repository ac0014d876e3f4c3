"""An agent is started once in each process, whichever thread is first, and ends with its app."""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from types import SimpleNamespace
from typing import Any

import pytest

from celery_middle_management.counting.tally import Tally
from celery_middle_management.reporting import publisher as agents
from celery_middle_management.reporting.publisher import PublisherAgent
from celery_middle_management.reporting.reporter import Reporter


def test_threads_that_publish_first_at_the_same_time_start_one_agent() -> None:
    made = []

    class Seen(Exception):
        """Enough was seen."""

    def make_reporter() -> Reporter:
        made.append(threading.current_thread().name)
        raise Seen

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for tries in range(1, 201):
            agent, barrier = PublisherAgent(Tally(), make_reporter), threading.Barrier(4)

            def publish(
                agent: PublisherAgent = agent, barrier: threading.Barrier = barrier
            ) -> None:
                barrier.wait(30)
                try:
                    agent.published()
                except Seen:
                    return

            threads = [threading.Thread(target=publish) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(30)
            assert len(made) == tries
    finally:
        sys.setswitchinterval(before)


def test_no_thread_outlives_the_app_that_published(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test suite may make thousands of apps, one for each test."""
    monkeypatch.setattr(agents, "EXIT_TIMEOUT", 0.0)
    reporter: Any = SimpleNamespace(urgent_at=lambda: float("inf"), report=lambda: None)
    agent = PublisherAgent(Tally(), lambda: reporter)
    agent.published()
    thread, freed = agent._thread, weakref.ref(agent)
    del agent
    thread.join(30)
    gc.collect()
    assert not thread.is_alive()
    assert freed() is None
