"""Addresses, and errors about them, are shown without their secrets."""

from __future__ import annotations

import pytest

from celery_middle_management.settings.secret import bare, shown, told
from tests.discreet import assert_discreet

HUNTER = "hunter2"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("amqp://host", "amqp://host"),
        (f"amqp://guest:{HUNTER}@host:5672//", "amqp://host:5672"),
        (f"redis://:{HUNTER}@[::1]:6379/0?x=1", "redis://[::1]:6379"),
        (f"redis://host?password={HUNTER}", "redis://host"),
        (f"redis://:{HUNTER}/a@host/0", "redis://***"),
        (f"redis://:a#{HUNTER}@host/0", "redis://***"),
        (f"redis://:a@{HUNTER}@host/0", "redis://host"),
        (f"amqp://user:{HUNTER};x@host/0", "amqp://host"),
        (f"amqp://:{HUNTER}", "amqp://***"),
        (f"amqp://user:{HUNTER}", "amqp://***"),
        (f"redis://host?password=a@{HUNTER}", "redis://***"),
        (f"a+b://:?{HUNTER}@host", "***"),
        (HUNTER, "***"),
        ("", "***"),
    ],
)
def test_of_an_address_only_its_place_is_shown(address: str, expected: str) -> None:
    assert shown(address) == expected


@pytest.mark.parametrize(
    "address",
    [
        "amqp://guest:pass@host:5672//",
        "redis://:p%61ss@host",
        "redis://pass@host",
        "redis://:pass@host?x=a@b",
        "redis://host?password=pass",
        "rediss://host?ssl_password=pass",
    ],
)
def test_an_error_does_not_quote_a_password(address: str) -> None:
    said = told(OSError(f"who knows pass, p%61ss at {address}?"), ["amqp://", address])
    assert said.startswith("OSError: who knows ***, ")
    assert address not in said


@pytest.mark.parametrize("password", ["pa/ss", "pa#ss", "pa?ss", "pa@ss", "pa:ss", "pa%2Fss"])
def test_nor_one_that_reaches_beyond_its_place(password: str) -> None:
    said = told(OSError(f"no {password}"), [f"redis://user:{password}@host/0"])
    assert said == "OSError: no ***"


def test_an_error_about_an_address_that_cannot_be_parsed_quotes_nothing() -> None:
    error = ValueError("Port could not be cast to integer value as 'hunter'")
    assert told(error, ["redis://:hunter/2@host"]) == "ValueError"
    assert told(OSError(), []) == "OSError"


def test_a_bare_error_shows_neither_frames_nor_what_led_to_it() -> None:
    def fail(password: str) -> None:
        try:
            raise ValueError(password)
        except ValueError:
            raise OSError("it failed") from None

    try:
        fail(HUNTER)
    except OSError as error:
        failure = bare(error)
    assert failure.__traceback__ is None
    assert_discreet(failure, HUNTER)
    assert str(failure) == "it failed"
