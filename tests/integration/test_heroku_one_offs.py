"""Heroku's one-off dynos, through the real heroku3 and real HTTP, with the emulator as Heroku."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from celery_middle_management.core.pools import Pool
from celery_middle_management.platforms.base import OneOff, PlatformError, Refused
from celery_middle_management.platforms.heroku import HerokuPlatform
from celery_middle_management.settings.model import Heroku
from celery_middle_management.settings.secret import Secret
from tests.emulator import HerokuEmulator
from tests.servers import wait_for

KEY = "emulated-key"


@pytest.fixture
def emulator() -> Iterator[HerokuEmulator]:
    with HerokuEmulator(
        api_key=KEY, process_types={"web": 1, "worker": 0, "pdf": 0}, boot_delay=0
    ) as emulator:
        emulator.show_command("worker", "celery -A proj worker")
        emulator.show_command("pdf", "celery -A proj worker -Q pdf")
        yield emulator


@pytest.fixture
def platform(emulator: HerokuEmulator) -> HerokuPlatform:
    pools = [Pool(name, None, 0, 9, 1, one_off=True) for name in ("worker", "pdf")]
    return HerokuPlatform(Heroku("myapp", Secret(KEY), emulator.url), pools)


def soon(seconds: float = 60.0) -> float:
    return time.monotonic() + seconds


def names(platform: HerokuPlatform, pool: str = "worker") -> set[str]:
    return {one.name for one in platform.one_offs.listed([pool], soon())[pool].workers}


def test_a_hire_says_what_pool_it_is_for_and_how_long_it_lives(
    platform: HerokuPlatform, emulator: HerokuEmulator
) -> None:
    emulator.size = "Basic"
    platform.one_offs.listed(["worker"], soon())
    told = platform.one_offs.hire({"worker": ["a"]}, soon())["a"]
    assert isinstance(told, OneOff)
    [request] = [r for r in emulator.requests if r.method == "POST"]
    assert json.loads(request.body) == {
        "command": "worker",
        "attach": False,
        "size": "Basic",
        "time_to_live": 86400,
        "env": {"CELERY_MM_POOL": "worker", "CELERY_MM_HIRE": "a"},
    }
    assert told.release == emulator.release
    assert names(platform) == {told.name}
    assert names(platform, "pdf") == set()


def test_a_pool_may_have_a_size_of_its_own(emulator: HerokuEmulator) -> None:
    pool = Pool("worker", None, 0, 9, 1, one_off=True, dyno_size="basic")
    platform = HerokuPlatform(Heroku("myapp", Secret(KEY), emulator.url), [pool])
    platform.one_offs.listed(["worker"], soon())
    platform.one_offs.hire({"worker": ["a"]}, soon())
    assert [d.size for d in emulator.dynos() if d.one_off] == ["Basic"]


def test_each_is_listed_where_it_does_a_pools_work(
    platform: HerokuPlatform, emulator: HerokuEmulator
) -> None:
    told = platform.one_offs.hire({"worker": ["a", "b"], "pdf": ["c"]}, soon())
    assert all(isinstance(one, OneOff) for one in told.values())
    assert len(names(platform)) == 2
    assert len(names(platform, "pdf")) == 1


def test_one_that_was_started_with_another_command_is_among_the_others(
    platform: HerokuPlatform, emulator: HerokuEmulator
) -> None:
    told = platform.one_offs.hire({"worker": ["a"]}, soon())["a"]
    assert isinstance(told, OneOff)
    emulator.show_command("worker", "celery -A proj worker --concurrency 4")
    emulator.deploy()
    listing = platform.one_offs.listed(["worker"], soon())["worker"]
    assert listing.workers == ()
    assert listing.others == (told,)


def test_the_newest_release_is_that_of_any_dyno(
    platform: HerokuPlatform, emulator: HerokuEmulator
) -> None:
    platform.one_offs.hire({"worker": ["a"]}, soon())
    emulator.deploy()

    def releases() -> tuple[int, int]:
        listing = platform.one_offs.listed(["worker"], soon())["worker"]
        return listing.workers[0].release, listing.newest

    wait_for(lambda: releases() == (1, 2))


def test_each_hire_has_an_outcome_of_its_own(
    platform: HerokuPlatform, emulator: HerokuEmulator
) -> None:
    emulator.one_off_limit = 2
    told = platform.one_offs.hire({"worker": list("abcde")}, soon())
    refused = [e for e in told.values() if isinstance(e, Refused)]
    assert [e.limit for e in refused] == [2, 2, 2]
    assert sum(isinstance(e, OneOff) for e in told.values()) == 2


def test_one_without_an_answer_may_have_been_carried_out(
    platform: HerokuPlatform, emulator: HerokuEmulator
) -> None:
    emulator.fault("late_after", seconds=30.0, count=1, methods={"POST"})
    told = platform.one_offs.hire({"worker": ["a"]}, soon(4.0))["a"]
    assert isinstance(told, PlatformError)
    assert not told.settled
    assert [r.method for r in emulator.requests] == ["POST"]  # it is not asked for again


def test_one_is_stopped_by_its_id(platform: HerokuPlatform, emulator: HerokuEmulator) -> None:
    told = platform.one_offs.hire({"worker": ["a", "b"]}, soon())
    one = told["a"]
    assert isinstance(one, OneOff)
    platform.one_offs.stop(one.id, soon())
    wait_for(lambda: len(names(platform)) == 1)
    assert one.name not in names(platform)


def test_an_answer_that_is_no_dyno_is_an_error(
    platform: HerokuPlatform, emulator: HerokuEmulator
) -> None:
    emulator.fault("status", status=200, count=1, methods={"POST"})
    told = platform.one_offs.hire({"worker": ["a"]}, soon())["a"]
    assert isinstance(told, PlatformError)
    assert not told.settled


def test_more_workers_than_heroku_runs_of_a_size_are_warned_of(
    emulator: HerokuEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    emulator.size = "Performance-L"
    pool = Pool("worker", None, 0, 9, 1, one_off=True)
    platform = HerokuPlatform(Heroku("myapp", Secret(KEY), emulator.url), [pool])
    for _ in range(2):
        platform.one_offs.listed(["worker"], soon())
    [warning] = [record.getMessage() for record in caplog.records]
    assert "at most 5 one-off dynos of size Performance-L" in warning
