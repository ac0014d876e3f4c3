"""Looks for secrets in errors, as error trackers would show them."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import Path

_TESTS = str(Path(__file__).parent)


def assert_discreet(error: BaseException, *secrets: str) -> None:
    """No secret in *error*, what led to it, or any variable of the frames that it went through.

    The frames of tests do not count, for the tests have to give the secrets.
    """
    for one in _led_to(error):
        _assert_none(f"{one!r} {one} {vars(one)}", secrets, "in an error")
        for frame, line in traceback.walk_tb(one.__traceback__):
            if not frame.f_code.co_filename.startswith(_TESTS):
                where = f"in a variable of {frame.f_code.co_filename}:{line}"
                _assert_none(repr(frame.f_locals), secrets, where)


def _assert_none(text: str, secrets: tuple[str, ...], where: str) -> None:
    for secret in secrets:
        assert secret not in text, f"{secret!r} is {where}: {text}"


def _led_to(error: BaseException | None) -> Iterator[BaseException]:
    """*error* and all its causes and contexts, hidden ones too."""
    if error is not None:
        yield error
        yield from _led_to(error.__cause__)
        yield from _led_to(error.__context__)
