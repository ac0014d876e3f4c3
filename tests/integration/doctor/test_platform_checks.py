"""`mm doctor` finds what is wrong with the app on Heroku."""

from __future__ import annotations

import json

import pytest

from tests.integration.doctor.examine import doctor, wrong
from tests.integration.stage import APP, Stage, stage
from tests.servers import wait_for


def test_the_key_is_refused(on: Stage) -> None:
    on.emulator.api_key = "another"
    wrong(on, "heroku", "failure", "MIDDLE_MANAGEMENT_HEROKU_API_KEY")


@pytest.mark.slow
def test_the_app_is_not_there(on: Stage) -> None:
    wrong(on, "heroku", "failure", "'elsewhere'", MIDDLE_MANAGEMENT_HEROKU_APP="elsewhere")


@pytest.mark.slow
def test_heroku_hangs(on: Stage) -> None:
    on.emulator.fault("hang")
    findings, status = doctor(on)
    # Not every check has waited for it.
    assert findings["heroku"][0]["mend"]
    failed = [n for n, found in findings.items() if any(f["level"] == "failure" for f in found)]
    assert (failed, status) == (["heroku"], 1)


@pytest.mark.slow
def test_the_key_may_not_scale(on: Stage) -> None:
    on.emulator.fault("status", status=403, methods=["PATCH"])
    wrong(on, "permission", "failure", "403")


def test_a_process_type_is_missing(on: Stage) -> None:
    pools = json.dumps({"worker": {}, "pdf": {"queues": ["pdf"]}})
    wrong(on, "process-types", "failure", "'pdf'", MIDDLE_MANAGEMENT_POOLS=pools)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "most", "level"),
    [("Basic", "5", "failure"), ("Eco", "2", "failure"), ("Performance-M", "11", "warning")],
)
def test_the_size_allows_fewer_dynos(on: Stage, size: str, most: str, level: str) -> None:
    on.emulator.size = size
    wrong(on, "dynos", level, size, MIDDLE_MANAGEMENT_MAX_WORKERS=most)


@pytest.mark.slow
def test_one_off_dynos_may_be_more_of_a_small_size(on: Stage) -> None:
    env = {"MIDDLE_MANAGEMENT_DYNOS": "one-off", "MIDDLE_MANAGEMENT_MAX_WORKERS": "6"}
    on.emulator.size = "Performance-M"
    wrong(on, "dynos", "warning", "Performance-M one-off dynos", **env)


@pytest.mark.slow
def test_more_workers_than_an_app_may_have(on: Stage) -> None:
    wrong(on, "dynos", "warning", "101", MIDDLE_MANAGEMENT_MAX_WORKERS="101")


@pytest.mark.slow
def test_this_is_no_dyno_of_the_app(on: Stage) -> None:
    wrong(on, "place", "warning", "heroku run -a myapp", MIDDLE_MANAGEMENT_OFF_PLATFORM="false")
    assert on.emulator.requests == []


def test_a_process_type_starts_no_worker(on: Stage) -> None:
    on.emulator.show_command("worker", "gunicorn proj.wsgi --log-file -")
    wrong(on, "worker-command", "failure", f"worker: celery -A {APP} worker")


@pytest.mark.slow
def test_another_scaler_is_at_work(redis_url: str) -> None:
    settings = {"call_interval": 1, "jobs_per_worker": 1}
    with (
        stage(redis_url, command=None, settings=settings) as on,
        on.program("import sys\nfor _ in sys.stdin: work.delay()") as web,
    ):
        assert web.stdin is not None
        for times in (1, 2, 3, 4):
            web.stdin.write("\n")
            web.stdin.flush()
            on.wait_for_quantity(times)
            wait_for(lambda n=times: on.number("worker/quantity") == n)  # type: ignore[misc]
            on.emulator.scale_by_hand("worker", 0)
        found = doctor(on, JUDOSCALE_URL="https://")[0]["other-scaler"]
    assert (found[0]["level"], found[0]["mend"] != "") == ("warning", True)
    assert "the number of worker workers was changed 3 times" in found[0]["what"]
    assert "(JUDOSCALE_URL is set)" in found[0]["what"]
