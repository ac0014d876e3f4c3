"""`mm status` names what is wrong, since when, and ends with 1 as long as it is."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Collection
from typing import Any

import pytest

from celery_middle_management.demo.redis_server import RedisServer
from celery_middle_management.platforms.base import PlatformError, Refused
from tests.emulator import HerokuEmulator
from tests.integration.office import Remembering, office
from tests.integration.scenes import PREFIX
from tests.integration.stage import APP, ROOT, Stage, stage
from tests.servers import wait_for

#: Publishes, and stays alive to evaluate.
PUBLISHER = """
    import time
    for _ in range(3): work.delay()
    time.sleep(90)
"""


def refuse_the_key(heroku: HerokuEmulator) -> None:
    heroku.api_key = "another"


def run_but_one(heroku: HerokuEmulator) -> None:
    heroku.limit("worker", 1)


def accept_the_key(heroku: HerokuEmulator) -> None:
    heroku.api_key = "emulated-key"


BROKEN: dict[str, tuple[Callable[[HerokuEmulator], None], str]] = {
    "the key": (refuse_the_key, "MIDDLE_MANAGEMENT_HEROKU_API_KEY"),
    "the process type": (lambda heroku: heroku.remove_type("worker"), "no process type 'worker'"),
    "a limit": (run_but_one, "more than 1 "),
    "an error": (lambda heroku: heroku.fault("status", status=503), "503"),
    "the rate limit": (lambda heroku: heroku.fault("status", status=429, retry_after=60), "429"),
    "forbidden": (lambda heroku: heroku.fault("status", status=403), "403"),
    "no JSON": (lambda heroku: heroku.fault("garbage"), "answer"),
    "no answer": (lambda heroku: heroku.fault("hang"), "answer"),
    "no connection": (lambda heroku: heroku.fault("drop"), "onnection"),
}


def trouble(on: Stage) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = on.whole_status()["trouble"]
    return told


def trouble_that_says(on: Stage, words: str, timeout: float = 60.0) -> dict[str, Any]:
    """Wait until the only trouble is one that has these *words*; a slow start may be one before."""
    found: list[dict[str, Any]] = []

    def only() -> bool:
        found[:] = trouble(on)
        return len(found) == 1 and words in found[0]["what"]

    wait_for(only, timeout, lambda: f"{words!r} is not the only trouble: {found}")
    return found[0]


def mm_status(on: Stage) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "celery", "-A", APP, "mm", "status"],
        env=on._environment({"COLUMNS": "200"}),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


QUICK = ("the key", "a limit")


@pytest.mark.parametrize(
    "what",
    [what if what in QUICK else pytest.param(what, marks=pytest.mark.slow) for what in BROKEN],
)
def test_the_platform(redis_url: str, what: str) -> None:
    break_it, said = BROKEN[what]
    with stage(redis_url, command=None, settings={"call_interval": 1}) as on:
        break_it(on.emulator)
        with on.program(PUBLISHER):
            assert trouble_that_says(on, said)["since"] is not None
            shown = mm_status(on)
        on.emulator.clear_faults()
    assert shown.returncode == 1
    assert shown.stdout.startswith("WRONG  ")
    assert said in shown.stdout
    assert "emulated-key" not in shown.stdout


@pytest.mark.slow
def test_the_app(redis_url: str) -> None:
    settings = {"call_interval": 1, "heroku_app": "elsewhere"}
    with stage(redis_url, command=None, settings=settings) as on, on.program(PUBLISHER):
        trouble_that_says(on, "'elsewhere'")


def told(on: Stage) -> list[dict[str, Any]]:
    """The entries of the history about trouble."""
    entries: Any = on.redis.xrange(f"{PREFIX}:actions")
    each = [json.loads(fields["entry"]) for _, fields in entries]
    return [entry for entry in each if "trouble" in entry["action"]]


def test_a_queue_that_cannot_be_counted(redis_url: str) -> None:
    pools = {"worker": {}, "pdf": {"queues": ["pdf"]}}
    types = {"worker": 0, "pdf": 0}
    with stage(
        redis_url, command=None, process_types=types, settings={"pools": pools, "count_interval": 1}
    ) as on:
        on.redis.set("pdf", "no list")
        with on.program(PUBLISHER):
            trouble_that_says(on, "pdf")
            wait_for(lambda: told(on))
            on.redis.delete("pdf")
            wait_for(lambda: not trouble(on), 60)
            wait_for(lambda: len(told(on)) == 2)
        begun, over = told(on)
        assert (begun["action"], over["action"]) == ("trouble", "trouble over")
        assert begun["kind"] == over["kind"] == "count queue pdf"
        assert "pdf" in over["reason"]
        assert over["lasted"] > 0


class Away(Remembering):
    """A platform that is away."""

    def quantities(self, pools: Collection[str], deadline: float) -> dict[str, int | Refused]:
        raise PlatformError("Heroku is away")


def test_an_evaluation_that_dies_before_its_end_records_no_trouble(redis_url: str) -> None:
    with office(redis_url) as it:
        it.scaler._platform = Dying(lambda: it.redis.delete(it.ledger.keys["lock"]))
        it.publish()
        it.scaler.evaluate(it.lease())
        assert it.ledger.actions() == ()
        assert "trouble" not in it.ledger.snapshot().state
        it.scaler._platform = Away()
        it.publish()
        it.scaler.evaluate(it.lease())
        [entry] = map(json.loads, it.ledger.actions())
        assert (entry["action"], entry["reason"]) == ("trouble", "Heroku is away")
        assert "Heroku is away" in it.ledger.snapshot().state["trouble"]


class Dying(Away):
    """A platform that is away, and whose caller loses the lock meanwhile, as if it had died."""

    def __init__(self, lose: Callable[[], object]) -> None:
        super().__init__()
        self._lose = lose

    def quantities(self, pools: Collection[str], deadline: float) -> dict[str, int | Refused]:
        self._lose()
        return super().quantities(pools, deadline)


@pytest.mark.slow
def test_it_is_over_when_the_platform_answers(redis_url: str) -> None:
    with stage(redis_url, command=None, settings={"call_interval": 1}) as on:
        refuse_the_key(on.emulator)
        with on.program(PUBLISHER):
            began = trouble_that_says(on, "MIDDLE_MANAGEMENT_HEROKU_API_KEY")["since"]
            calls = len(on.emulator.requests)
            wait_for(lambda: len(on.emulator.requests) > calls + 2, 60)
            assert trouble(on)[0]["since"] == began
            accept_the_key(on.emulator)
            on.wait_for_quantity(3)
            wait_for(lambda: not trouble(on), 60)
            shown = mm_status(on)
    assert (shown.returncode, "WRONG" in shown.stdout) == (0, False)


def test_a_task_whose_publisher_lacks_the_package(redis_url: str) -> None:
    """The package has never run, and the status still says what is wrong."""
    plain = "import os; from celery import Celery; Celery(broker=os.environ['BROKER_URL'])"
    with stage(redis_url, command=None) as on:
        subprocess.run(
            [sys.executable, "-c", f"{plain}.send_task('work')"],
            env=on._environment({}),
            check=True,
            timeout=60,
        )
        shown = mm_status(on)
        assert on.redis.keys("*middle-management*") == []
    assert shown.returncode == 1
    assert shown.stdout.startswith("WRONG  worker: 1 task waits. No process has reported it")
    assert "1 waiting, 0 running; never counted; 1 not reported yet" in shown.stdout


def test_the_first_task_of_a_publisher_is_no_trouble(redis_url: str) -> None:
    """Although the broker has it before the ledger, and no process was alive for days."""
    code = """
        import celery_middle_management
        from celery_middle_management.reporting.publisher import PublisherAgent
        tell = PublisherAgent.published
        PublisherAgent.published = lambda self: None  # has yet to look
        work.delay()
        import threading
        managed = celery_middle_management.app_setup.enabled_app_of(app)
        seen = []
        from celery_middle_management import inspection
        look = inspection._status
        inspection._status = lambda managed: (
            seen.append(look(managed)) or (tell(managed._publisher), seen[-1])[1]
        )
        print([len(told["trouble"]) for told in (inspection.status(managed), *seen)])
    """
    with stage(redis_url, command=None) as on:
        assert on.script(code).stdout == "[0, 1, 0]\n"


@pytest.mark.slow
def test_a_scheduled_task_that_is_overdue_with_nothing_alive(redis_url: str) -> None:
    with stage(redis_url, command=None) as on:
        # So far ahead that the script has surely ended before a worker is hired for it.
        on.publish("work.apply_async(countdown=45)")
        shown = mm_status(on)
        assert (shown.returncode, "1 scheduled" in shown.stdout) == (0, True)
        said = "1 task waits, and no worker is hired: no process of the app is alive"
        assert trouble_that_says(on, said, 110)["kind"] == "unattended"


@pytest.mark.slow
@pytest.mark.parametrize("down", [RedisServer.pause, RedisServer.stop])
def test_a_broker_that_does_not_answer(redis_url: str, down: Callable[[RedisServer], None]) -> None:
    with RedisServer() as broker, stage(broker.url, redis_url, command=None) as on:
        on.publish("work.delay()")
        down(broker)
        shown = mm_status(on)
        assert shown.returncode == 1
        assert shown.stdout.startswith("WRONG  the broker redis://127.0.0.1")
        assert "1 waiting, 0 running" in shown.stdout
        if down is RedisServer.pause:
            broker.resume()
