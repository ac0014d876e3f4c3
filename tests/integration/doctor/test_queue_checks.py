"""`mm doctor` finds queues that are not served or not counted."""

from __future__ import annotations

import json

import pytest

from tests.integration.doctor.examine import doctor, wrong
from tests.integration.stage import WORKER, Stage, stage
from tests.servers import wait_for


@pytest.mark.slow
def test_a_queue_cannot_be_counted(on: Stage) -> None:
    on.redis.set("celery", "no list")
    wrong(on, "count", "failure", "celery")


def test_a_queue_without_a_pool(on: Stage) -> None:
    pools = json.dumps({"worker": {"queues": ["celery"]}})
    conf = "app.conf.task_routes = {'x': {'queue': 'mail'}}"
    on.publish("work.apply_async(queue='pdf')", MIDDLE_MANAGEMENT_POOLS=pools)
    on.script("work.apply_async(queue='mail')", MM_OFF="1")
    said = "no pool serves 'mail', 'pdf': no worker is hired for their tasks (2 wait now)"
    findings, status = doctor(on, conf, MIDDLE_MANAGEMENT_POOLS=pools)
    assert ([f["what"] for f in findings["queues"]], status) == ([said], 1)
    shown = on.script(
        f"{conf}\nimport celery_middle_management as mm; print(mm.status(app)['trouble'])",
        MIDDLE_MANAGEMENT_POOLS=pools,
    ).stdout
    assert "2 tasks wait in 'mail' (1), 'pdf' (1), which no pool serves" in shown


PDF = json.dumps({"worker": {"queues": ["celery"]}, "pdf": {"queues": ["pdf"]}})


@pytest.mark.slow
def test_workers_are_started_for_another_queue(redis_url: str) -> None:
    commands = {"worker": WORKER, "pdf": (*WORKER, "-Q", "celery")}
    types = {"worker": 0, "pdf": 0}
    with stage(redis_url, command=commands, process_types=types) as on:
        findings, status = doctor(on, MIDDLE_MANAGEMENT_POOLS=PDF)
        levels = {f["level"]: f["what"] for f in findings["consumers"]}
    assert status == 1
    assert "do not consume 'pdf'" in levels["failure"]
    assert "consume 'celery'" in levels["warning"]


@pytest.mark.slow
def test_workers_take_from_another_queue(on: Stage) -> None:
    pools = json.dumps({"worker": {"queues": ["pdf"]}})
    env = {"MIDDLE_MANAGEMENT_POOLS": pools}
    on.publish("work.apply_async(queue='pdf')", **env)
    with on.worker("-Q", "celery", DYNO="worker.1", **env):
        wait_for(on.presences)
        findings, _ = doctor(on, **env)
        status = "import celery_middle_management as mm; print(mm.status(app)['trouble'])"
        shown = on.script(status, **env).stdout
    assert "1 task waits in 'pdf', which no worker consumes" in shown
    assert "`-Q pdf`" in shown
    assert any("do not consume 'pdf'" in f["what"] for f in findings["consumers"])


@pytest.mark.slow
def test_a_publisher_without_the_package(on: Stage) -> None:
    on.script("work.delay()", MM_OFF="1")
    findings, _ = doctor(on)
    assert "'celery'" in findings["publishers"][0]["what"]
    assert findings["publishers"][0]["level"] == "failure"
    assert (
        "nothing counts them: no process of the app is alive" in findings["publishers"][0]["what"]
    )
    none = {"MIDDLE_MANAGEMENT_MAX_WORKERS": "0"}
    with on.program("work.delay(); __import__('sys').stdin.read()", **none):
        wait_for(lambda: on.state().get("worker/count"), 60.0)
        findings, _ = doctor(on, **none)
    assert findings["publishers"][0]["level"] == "warning"


@pytest.mark.slow
def test_a_countdown_beyond_the_visibility_timeout(on: Stage) -> None:
    on.publish("work.apply_async(countdown=7200)")
    findings, _ = doctor(on)
    assert findings["visibility-timeout"][0]["level"] == "warning"
    assert findings["wake"][0]["level"] == "warning"  # and no process wakes the pool for it
