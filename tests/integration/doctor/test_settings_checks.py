"""`mm doctor` finds settings that do not do what is meant."""

from __future__ import annotations

import pytest

from celery_middle_management.demo.redis_server import free_port
from tests.integration.doctor.examine import doctor, wrong
from tests.integration.hook import Hook
from tests.integration.stage import Stage
from tests.servers import wait_for


@pytest.mark.slow
def test_tasks_run_eagerly(on: Stage) -> None:
    wrong(on, "eager", "failure", "task_always_eager", "app.conf.task_always_eager = True")


@pytest.mark.slow
def test_a_drain_timeout(on: Stage) -> None:
    timeout = {"MIDDLE_MANAGEMENT_DRAIN_TIMEOUT": "60"}
    wrong(on, "drain-timeout", "warning", "60 s", **timeout)


@pytest.mark.slow
def test_fires_are_paused(on: Stage) -> None:
    on.script("app.start(['mm', 'pause', '--fires'])")
    wrong(on, "pause", "warning", "has paused fires until `mm resume`")


@pytest.mark.slow
def test_a_dry_run(on: Stage) -> None:
    wrong(on, "dry-run", "warning", "dry_run", MIDDLE_MANAGEMENT_DRY_RUN="true")


@pytest.mark.slow
def test_a_webhook_that_cannot_be_reached(on: Stage) -> None:
    address = f"http://127.0.0.1:{free_port()}/its-secret-path"
    wrong(on, "webhook", "warning", "reached from here", MIDDLE_MANAGEMENT_WEBHOOK=address)
    with Hook() as hook:
        findings, _ = doctor(on, MIDDLE_MANAGEMENT_WEBHOOK=hook.url)
        assert [f["level"] for f in findings["webhook"]] == ["ok"]
        assert hook.texts() == []


@pytest.mark.slow
def test_trouble_of_the_last_decisions(on: Stage) -> None:
    on.emulator.fault("status", status=503)
    with on.program("work.delay()\nimport time; time.sleep(60)"):
        wait_for(lambda: "trouble" in on.state())
    on.emulator.clear_faults()
    findings, status = doctor(on)
    assert status == 1
    assert "503" in findings["trouble"][0]["what"]
