"""The address of the webhook: what is wrong with it is said, and it is not shown."""

from __future__ import annotations

import pytest

from tests.unit.settings_given import HUNTER, refusal, settings

pytestmark = pytest.mark.usefixtures("environment")


@pytest.mark.parametrize(
    ("address", "wrong"),
    [
        (f"https://host:99999/{HUNTER}", "has a port that is not a number from 1 to 65535"),
        (f"https://host:0/{HUNTER}", "has a port that is not a number from 1 to 65535"),
        (f"https://host:{HUNTER}/", "has a port that is not a number from 1 to 65535"),
        (f"https://host/{HUNTER} ", "contains white space"),
        (f"https://host/{HUNTER}\n", "contains white space"),
        (f"https:///{HUNTER}", "has no host"),
        (f"https://:80/{HUNTER}", "has no host"),
        (f"https://host/#{HUNTER}", "has a fragment (#)"),
        (f"https://ann:{HUNTER}@host/", "has a user or a password (@)"),
        (f"https://[::1/{HUNTER}", "has a [ without its ], or the other way round"),
        (f"https://[{HUNTER}]/", "has a host in [ ] that is no IPv6 address"),
        (f"https://höst/{HUNTER}", "contains characters that are not ASCII"),
        (f"https://host/{HUNTER}\x01", "contains control characters"),
        (f"ftp://host/{HUNTER}", "does not begin with http:// or https://"),
        (f"{HUNTER}", "does not begin with http:// or https://"),
        ([HUNTER], "is not a string"),
    ],
)
def test_what_is_wrong_is_said_and_the_address_is_not_shown(address: object, wrong: str) -> None:
    told = refusal(enabled=True, platform="local", max_workers=5, webhook=address)
    assert f"***, which {wrong}; allowed: an http:// or https:// address without" in told


@pytest.mark.parametrize(
    "address", ["HTTPS://Host.example/x?y=z", "http://[::1]:80/x", "https://host/a@b"]
)
def test_a_valid_one_is_kept_as_it_was_written(address: str) -> None:
    found = settings(webhook=address).webhook
    assert found is not None
    assert found.reveal() == address
