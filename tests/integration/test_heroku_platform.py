"""HerokuPlatform, through the real heroku3 and real HTTP, with the emulator as Heroku."""

from __future__ import annotations

import base64
import gc
import logging
import socket
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from types import FrameType, FunctionType, ModuleType, TracebackType
from typing import Any

import pytest

from celery_middle_management.platforms import heroku_http
from celery_middle_management.platforms.base import PlatformError, Refused
from celery_middle_management.platforms.heroku import HerokuPlatform
from celery_middle_management.settings.model import Heroku
from celery_middle_management.settings.reading import Secret
from tests.emulator import HerokuEmulator

KEY = "5e6a8bd2-0f31-4d9c-8f0a-3c1d6a7b9e42"
PLENTY = 60.0  # s: a deadline that no test reaches


@pytest.fixture
def emulator() -> Iterator[HerokuEmulator]:
    with HerokuEmulator(
        api_key=KEY, process_types={"web": 1, "worker": 2, "pdf": 0}, boot_delay=0
    ) as emulator:
        yield emulator


@pytest.fixture
def platform(emulator: HerokuEmulator) -> HerokuPlatform:
    return platform_for(emulator.url)


def platform_for(url: str, app: str = "myapp", key: str = KEY) -> HerokuPlatform:
    return HerokuPlatform(
        Heroku(app, Secret(key), url, app_from="HEROKU_APP_NAME", key_from="HEROKU_API_KEY")
    )


def within(seconds: float = PLENTY) -> float:
    return time.monotonic() + seconds


def error_of(call: Callable[..., object], *args: Any) -> PlatformError:
    with pytest.raises(PlatformError) as caught:
        call(*args)
    return caught.value


def statuses(emulator: HerokuEmulator) -> list[int | None]:
    return [request.status for request in emulator.requests]


def unused_url() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


# What it does


def test_quantities_are_those_of_the_pools_asked_for(
    platform: HerokuPlatform, emulator: HerokuEmulator
) -> None:
    assert platform.quantities(["worker", "pdf"], within()) == {"worker": 2, "pdf": 0}
    assert [(r.method, r.path) for r in emulator.requests] == [("GET", "/apps/myapp/formation")]


def test_scaling_several_pools_is_one_request(
    platform: HerokuPlatform, emulator: HerokuEmulator
) -> None:
    assert platform.scale({"worker": 5, "pdf": 1}, within()) == {"worker": 5, "pdf": 1}
    assert emulator.quantities() == {"web": 1, "worker": 5, "pdf": 1}
    assert [request.method for request in emulator.requests] == ["PATCH"]
    assert platform.scale({"pdf": 0}, within()) == {"pdf": 0}


def test_scaling_nothing_asks_nothing(platform: HerokuPlatform, emulator: HerokuEmulator) -> None:
    assert platform.scale({}, within()) == {}
    assert emulator.requests == []


def test_running_are_the_dynos_that_start_or_are_up(
    platform: HerokuPlatform, emulator: HerokuEmulator
) -> None:
    workers = ["worker.1", "worker.2"]
    assert running(platform, "worker", "pdf") == {"worker": workers, "pdf": []}
    emulator.restart_all()
    assert running(platform, "worker", "web") == {"worker": workers, "web": ["web.1"]}


def running(platform: HerokuPlatform, *pools: str) -> dict[str, list[str]]:
    return {pool: sorted(names) for pool, names in platform.running(pools, within()).items()}


def test_answers_in_several_pages_are_put_together(
    platform: HerokuPlatform, emulator: HerokuEmulator
) -> None:
    emulator.page_size = 2
    assert platform.quantities(["web", "worker", "pdf"], within()) == {
        "web": 1,
        "worker": 2,
        "pdf": 0,
    }
    assert statuses(emulator) == [206, 200]
    emulator.scale_by_hand("worker", 5)
    assert len(running(platform, "worker")["worker"]) == 5


# What Heroku refuses


def test_a_pool_that_is_no_process_type(platform: HerokuPlatform, emulator: HerokuEmulator) -> None:
    quantities = platform.quantities(["worker", "ghost"], within())
    assert quantities["worker"] == 2
    error = quantities["ghost"]
    assert isinstance(error, Refused)
    assert "no process type 'ghost'; it has 'pdf', 'web', 'worker'" in str(error)
    assert (error.settled, error.unknown) == (True, True)


def test_a_pool_that_is_refused_stops_no_other(
    platform: HerokuPlatform, emulator: HerokuEmulator
) -> None:
    asked = {"ghost": 1, "worker": 101, "pdf": 1}
    outcomes = platform.scale(asked, within())
    assert outcomes["pdf"] == 1
    ghost, worker = outcomes["ghost"], outcomes["worker"]
    assert isinstance(ghost, Refused)
    assert "Couldn't find that formation" in str(ghost)
    assert (ghost.settled, ghost.unknown) == (True, True)
    assert isinstance(worker, Refused)
    assert "Cannot scale to more than 100 dynos" in str(worker)
    assert (worker.settled, worker.unknown) == (True, False)
    assert emulator.quantities() == {"web": 1, "worker": 2, "pdf": 1}
    assert [request.method for request in emulator.requests] == ["PATCH"] * 4


def test_after_an_unanswered_change_no_other_is_sent(
    platform: HerokuPlatform, emulator: HerokuEmulator
) -> None:
    emulator.fault(status=422, count=1)
    emulator.fault("drop_after", count=1)
    outcomes = platform.scale({"worker": 3, "pdf": 1}, within())
    assert [isinstance(o, PlatformError) and o.settled for o in outcomes.values()] == [False, True]
    assert len(emulator.requests) == 2


@pytest.mark.parametrize("method", ["quantities", "scale", "running"])
@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        (
            {"key": "wrong"},
            ["401", "Invalid credentials", "set HEROKU_API_KEY to"],
        ),
        ({"app": "other"}, ["404", "no app 'other'", "check HEROKU_APP_NAME and HEROKU_API_KEY"]),
    ],
)
def test_wrong_settings(
    emulator: HerokuEmulator, method: str, setting: dict[str, str], parts: list[str]
) -> None:
    error = error_of(
        getattr(platform_for(emulator.url, **setting), method), {"worker": 1}, within()
    )
    assert [part for part in parts if part not in str(error)] == []
    assert error.settled
    assert len(emulator.requests) == 1


@pytest.mark.parametrize(
    ("status", "parts"),
    [
        (302, ["302", "middle_management_heroku_api_url"]),
        (402, ["402", "Emulated", "'myapp'"]),
        (403, ["403", "Emulated", "'myapp'", "HEROKU_API_KEY"]),
    ],
)
def test_other_refusals_are_not_tried_again(
    platform: HerokuPlatform, emulator: HerokuEmulator, status: int, parts: list[str]
) -> None:
    emulator.fault(status=status)
    error = error_of(platform.scale, {"worker": 3}, within())
    assert [part for part in parts if part not in str(error)] == []
    assert error.settled
    assert statuses(emulator) == [status]


# Trouble that may pass


def test_a_rate_limit_that_ends_in_time_is_waited_for(
    platform: HerokuPlatform, emulator: HerokuEmulator
) -> None:
    emulator.fault(status=429, retry_after=1, count=1)
    assert platform.scale({"worker": 3}, within()) == {"worker": 3}
    first, second = emulator.requests
    assert second.at - first.at >= 1


@pytest.mark.parametrize("as_date", [False, True])
def test_a_rate_limit_that_ends_too_late_is_not_waited_for(
    platform: HerokuPlatform, emulator: HerokuEmulator, as_date: bool
) -> None:
    date = format_datetime(datetime.now(timezone.utc) + timedelta(hours=1), usegmt=True)
    emulator.fault(status=429, retry_after=date if as_date else 3600)
    error = error_of(platform.scale, {"worker": 3}, within())
    assert error.retry_after == pytest.approx(3600, abs=120)
    assert "429" in str(error)
    assert error.settled
    assert len(emulator.requests) == 1


@pytest.mark.parametrize("retry_after", [None, "soon", "nan", "-5"])
def test_a_rate_limit_that_says_no_time_is_tried_again(
    platform: HerokuPlatform, emulator: HerokuEmulator, retry_after: str | None
) -> None:
    emulator.fault(status=429, retry_after=retry_after, count=1)
    assert platform.quantities(["worker"], within()) == {"worker": 2}


PASSING: list[Mapping[str, Any]] = [
    {"status": 500},
    {"status": 503},
    {"kind": "garbage"},
    {"kind": "drop"},
]


@pytest.mark.parametrize("fault", PASSING)
def test_what_changes_nothing_is_tried_again(
    platform: HerokuPlatform, emulator: HerokuEmulator, fault: dict[str, Any]
) -> None:
    emulator.fault(**fault, count=2)
    assert platform.quantities(["worker"], within()) == {"worker": 2}
    assert len(emulator.requests) == 3


@pytest.mark.parametrize(
    ("fault", "part"),
    [
        ({"status": 500}, "500"),
        ({"status": 503}, "503"),
        ({"kind": "garbage"}, "not what its API documents"),
        ({"kind": "drop"}, "ConnectionError"),
        ({"kind": "drop_after"}, "ConnectionError"),
    ],
)
def test_a_change_without_an_answer_is_not_sent_again(
    platform: HerokuPlatform, emulator: HerokuEmulator, fault: dict[str, Any], part: str
) -> None:
    """It may still be carried out; sent again, it would undo what was done in between."""
    emulator.fault(**fault)
    error = error_of(platform.scale, {"worker": 3}, within())
    assert part in str(error)
    assert not error.settled
    assert len(emulator.requests) == 1


@pytest.mark.parametrize(
    "fault", [{"status": 500}, {"kind": "hang"}, {"kind": "late_after", "seconds": 600}]
)
def test_no_call_outlasts_its_deadline(
    platform: HerokuPlatform,
    emulator: HerokuEmulator,
    fault: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(heroku_http, "READ_TIMEOUT", PLENTY)
    monkeypatch.setattr(heroku_http, "WRITE_TIMEOUT", PLENTY)
    emulator.fault(**fault)
    begun = time.monotonic()
    assert not error_of(platform.scale, {"worker": 3}, begun + 0.7).settled
    assert time.monotonic() - begun < PLENTY / 2
    assert error_of(platform.quantities, ["worker"], within(0.4)).settled, "it changes nothing"


def test_a_request_that_was_given_up_can_be_delivered_no_more() -> None:
    """Its connection is reset: closed, the kernel would go on to deliver what was not received."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        error = error_of(platform_for(url).scale, {"worker": 3}, within(0.5))
        assert not error.settled
        connection, _ = server.accept()
        with connection:
            assert connection.recv(65536)
            with pytest.raises(ConnectionResetError):
                connection.recv(65536)


def test_no_request_begins_after_the_deadline(
    platform: HerokuPlatform, emulator: HerokuEmulator
) -> None:
    error = error_of(platform.scale, {"worker": 3}, time.monotonic())
    assert "no time left" in str(error)
    assert error.settled
    assert emulator.requests == []


def test_an_address_where_nothing_listens() -> None:
    url = unused_url()
    error = error_of(platform_for(url).scale, {"worker": 3}, within(0.5))
    assert url.removeprefix("http://") in str(error)
    assert "middle_management_heroku_api_url" in str(error)
    assert error.settled, "nothing was ever sent"


def test_an_address_that_is_none() -> None:
    error = error_of(platform_for("heroku").quantities, ["worker"], within())
    assert "MissingSchema" in str(error)
    assert "middle_management_heroku_api_url" in str(error)
    assert error.settled


# Secrets


def test_a_netrc_file_does_not_replace_the_key(
    platform: HerokuPlatform,
    emulator: HerokuEmulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(netrc))
    assert platform.quantities(["worker"], within()) == {"worker": 2}
    assert statuses(emulator) == [200]


FAULTS: list[Mapping[str, Any]] = [
    {"status": 401},
    {"status": 404},
    {"status": 422},
    {"status": 429},
    {"status": 500},
    {"kind": "garbage"},
    {"kind": "drop"},
    {"kind": "hang"},
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: "-".join(map(str, fault.values())))
def test_the_key_does_not_show(
    emulator: HerokuEmulator, caplog: pytest.LogCaptureFixture, fault: Mapping[str, Any]
) -> None:
    caplog.set_level(logging.DEBUG)
    platform = platform_for(emulator.url)
    emulator.fault(**fault)
    if fault.get("status") == 422:
        error = platform.scale({"worker": 3}, within())["worker"]
        assert isinstance(error, Refused)
    else:
        error = error_of(platform.scale, {"worker": 3}, within(0.5))
    check_secrecy(platform, error, caplog.text)


def test_the_key_does_not_show_when_there_is_no_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    for url in (unused_url(), "heroku", "ftp://heroku"):
        platform = platform_for(url)
        error = error_of(platform.scale, {"worker": 3}, within(0.5))
        check_secrecy(platform, error, caplog.text)


def check_secrecy(platform: HerokuPlatform, error: PlatformError, logged: str) -> None:
    secrets = [KEY, base64.b64encode(f":{KEY}".encode()).decode()]
    locals_ = traceback.TracebackException.from_exception(error, capture_locals=True)
    assert error.__context__ is None
    assert error.__cause__ is None
    shown = [logged, str(error), repr(error), repr(vars(error)), "".join(locals_.format())]
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    ours = [frame.f_locals for frame in frames if frame.f_globals is not globals()]
    assert len(ours) > 3
    shown += [repr(thing) for thing in reachable([platform, error.args, vars(error), *ours])]
    for secret in secrets:
        assert not [text for text in shown if secret in text]


def reachable(root: object) -> Iterator[object]:
    """Everything that belongs to it, except for the inside of secrets, classes and modules."""
    seen: dict[int, object] = {}
    todo = [root]
    while todo:
        thing = todo.pop()
        if id(thing) in seen or isinstance(thing, (type, ModuleType, FrameType, TracebackType)):
            continue
        seen[id(thing)] = thing
        yield thing
        if isinstance(thing, FunctionType):  # not its module's globals
            todo += [thing.__closure__, thing.__defaults__]
        elif not isinstance(thing, Secret):
            todo += gc.get_referents(thing)


# Logging


def test_each_request_is_logged(platform: HerokuPlatform, caplog: pytest.LogCaptureFixture) -> None:
    name = "celery_middle_management.platforms.heroku_http"
    caplog.set_level(logging.DEBUG, logger=name)
    platform.quantities(["worker"], within())
    (record,) = [record for record in caplog.records if record.name == name]
    message = record.getMessage()
    assert message.startswith("GET /apps/myapp/formation: 200 in ")
    assert message.endswith("RateLimit-Remaining: 4500")


def test_few_requests_left_are_warned_of_once_in_a_while(
    platform: HerokuPlatform, emulator: HerokuEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    emulator.rate_limit_remaining = 99
    for _ in range(3):
        platform.quantities(["worker"], within())
    (warning,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "99 more requests" in warning.getMessage()


def test_it_knows_what_each_size_costs(emulator: HerokuEmulator, platform: HerokuPlatform) -> None:
    """Enterprise's sizes have no price; eco has a plan for all dynos together."""
    emulator.costs["Shield-S"] = {"cents": 0, "unit": "month"}
    emulator.costs["Odd"] = {"cents": 3, "unit": "hour"}
    assert platform.prices(within()) == {
        "basic": 700,
        "standard-1x": 2500,
        "standard-2x": 5000,
        "performance-m": 25000,
    }


def test_it_knows_the_size_of_a_pool_from_its_quantity(
    emulator: HerokuEmulator, platform: HerokuPlatform
) -> None:
    assert platform.sizes == {}
    platform.quantities(["worker"], within())
    assert platform.sizes == {"web": "standard-1x", "worker": "standard-1x", "pdf": "standard-1x"}
    emulator.size = "Performance-M"
    platform.scale({"worker": 1}, within())
    assert platform.sizes["worker"] == "performance-m"


def test_prices_that_cannot_be_read_are_a_platform_error(
    emulator: HerokuEmulator, platform: HerokuPlatform
) -> None:
    emulator.costs["Basic"] = {"unit": "month"}
    error_of(platform.prices, within(2.0))
