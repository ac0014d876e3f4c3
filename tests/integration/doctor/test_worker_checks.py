"""`mm doctor` finds workers that are started, or configured, in a harmful way."""

from __future__ import annotations

import pytest

from tests.integration.doctor.examine import doctor, wrong
from tests.integration.scenes import PREFIX
from tests.integration.stage import WORKER, Stage, stage
from tests.servers import wait_for


@pytest.mark.slow
def test_the_minimum_is_not_hired_yet(on: Stage) -> None:
    wrong(on, "minimum", "warning", "worker has 0 workers", MIDDLE_MANAGEMENT_MIN_WORKERS="1")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("argument", "check", "level"),
    [
        ("-B", "beat", "failure"),
        ("--autoscale=4,1", "autoscale", "warning"),
        ("--purge", "purge", "warning"),
    ],
)
def test_how_workers_are_started(redis_url: str, argument: str, check: str, level: str) -> None:
    with stage(redis_url, command={"worker": (*WORKER, argument)}) as on:
        wrong(on, check, level, "worker")


@pytest.mark.slow
def test_a_worker_with_other_settings(on: Stage) -> None:
    with on.worker(DYNO="worker.1", MIDDLE_MANAGEMENT_MAX_WORKERS="2"):
        wait_for(on.presences)
        on.emulator.scale_by_hand("worker", 0)
        findings, status = doctor(on)
    assert "worker.1 has different Middle Management settings" in findings["settings"][0]["what"]
    assert status == 1


@pytest.mark.slow
def test_a_worker_of_another_release(on: Stage) -> None:
    with on.worker(DYNO="worker.1"):
        wait_for(on.presences)
        findings, _ = doctor(
            on,
            "from celery_middle_management.doctor import worker_checks\n"
            "worker_checks.__version__ = '99.0'",
        )
    assert "99.0" in findings["releases"][0]["what"]


@pytest.mark.slow
def test_a_worker_of_no_pool(on: Stage) -> None:
    with on.worker(DYNO="mail.1"):
        wait_for(on.presences)
        findings, _ = doctor(on)
    assert "mail.1" in findings["strangers"][0]["what"]


def test_sigterm_is_remapped(on: Stage) -> None:
    wrong(on, "sigterm", "warning", "SIGQUIT", REMAP_SIGTERM="SIGQUIT")


def test_sigterm_reaches_the_processes_of_prefork(on: Stage) -> None:
    wrong(on, "sigterm", "warning", "tasks of worker at once: SIGTERM reaches every process")
    findings, _ = doctor(on, "app.conf.worker_pool = 'threads'")
    assert findings["sigterm"][0]["level"] == "ok"


def test_no_deploy_sends_sigterm_to_one_off_dynos(on: Stage) -> None:
    remapped = {"MIDDLE_MANAGEMENT_DYNOS": "one-off", "REMAP_SIGTERM": "SIGQUIT"}
    findings, _ = doctor(on, **remapped)
    assert findings["sigterm"][0]["level"] == "ok"


@pytest.mark.slow
def test_tasks_that_a_deploy_kills(on: Stage) -> None:
    # As two tasks of 40 s each leave it.
    on.redis.hset(f"{PREFIX}:state", mapping={"worker/finished": 2, "worker/runtime": "80"})
    on.redis.expire(f"{PREFIX}:state", 600)
    findings, _ = doctor(on)
    assert "40 s on average" in findings["long-tasks"][0]["what"]
    findings, _ = doctor(on, "app.conf.task_acks_late = True")
    assert findings["long-tasks"][0]["level"] == "ok"


@pytest.mark.slow
def test_unbounded_prefetch(on: Stage) -> None:
    conf = "app.conf.worker_prefetch_multiplier = 0"
    wrong(on, "prefetch", "warning", "worker_prefetch_multiplier", conf)


@pytest.mark.slow
def test_celery_has_a_known_fault(on: Stage) -> None:
    aged = (
        "from celery_middle_management.doctor.installation import Installation\n"
        "Installation.versions = {'celery': (5, 6, 2), 'kombu': (5, 7, 0)}"
    )
    wrong(on, "versions", "warning", "Celery 5.6.2", aged)
