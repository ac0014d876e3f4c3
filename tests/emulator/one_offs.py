"""One-off dynos: which requests are valid, and how many there may be."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .answers import Json, invalid

DAY = 86_400  # s
WORD = re.compile(r"\w+", re.ASCII)
TYPE = re.compile(r"[-\w]{1,128}", re.ASCII)

#: The most one-off dynos of sizes with these prefixes. Sizes with the same limit share it.
LIMITS = {"eco": 1, "basic": 50, "standard": 50, "performance": 5, "private": 5, "shield": 5}
FIR_LIMIT = 255

_LARGE = ("M", "L", "L-RAM", "XL", "2XL")
SIZES = (
    *("Eco", "Basic", "Standard-1X", "Standard-2X"),
    *(f"Performance-{size}" for size in _LARGE),
    *(f"{tier}-{size}" for tier in ("Private", "Shield") for size in ("S", *_LARGE)),
)
FIR_SIZES = (
    *("dyno-1c-0.5gb", "dyno-2c-1gb"),
    *(f"dyno-{cores}c-{2 * cores}gb" for cores in (2, 4, 8, 16)),
    *(f"dyno-{cores}c-{each * cores}gb" for each in (4, 8) for cores in (1, 2, 4, 8, 16)),
)


class Full(Exception):
    """The limit of one-off dynos of that size class is reached."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit


@dataclass(frozen=True)
class Order:
    """A requested one-off dyno; ``limit`` is that of its size class."""

    command: str
    type: str
    size: str
    limit: int
    env: Mapping[str, str]
    time_to_live: int


def parse(body: Json, default_size: str, *, fir: bool) -> Order:
    """Parse a request. Raises Refusal, whose message names the invalid property."""
    if unknown := body.keys() - CHECKS.keys():
        raise invalid(f"Unknown parameter: {', '.join(sorted(unknown))}.")
    if "command" not in body:
        raise invalid("The command is required.")
    for name, value in body.items():
        is_good, expected = CHECKS[name]
        if not is_good(value):
            raise invalid(f"Invalid {name}: it must be {expected}.")
    if body.get("attach"):
        raise invalid("Invalid attach: this emulator does not emulate attached dynos.")
    size = _size(body.get("size", default_size), fir=fir)
    return Order(
        command=body["command"],
        type=body.get("type", "run"),
        size=size,
        limit=FIR_LIMIT if fir else LIMITS[size.lower().partition("-")[0]],
        env=dict(body.get("env", {})),
        time_to_live=body.get("time_to_live", DAY),
    )


def _size(asked: str, *, fir: bool) -> str:
    """Spell a size as Heroku does. Even with Fir's names, the default size is a Cedar one."""
    sizes = (*SIZES, *FIR_SIZES) if fir else SIZES
    for size in sizes:
        if size.lower() == asked.lower():
            return size
    raise invalid(f"No such size as {asked}. Available dyno sizes are {', '.join(sizes)}.")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and "\0" not in value


def _is_env(value: Any) -> bool:
    return isinstance(value, dict) and all(
        WORD.fullmatch(name) and _is_text(text) for name, text in value.items()
    )


def _is_time_to_live(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= DAY


#: For each property of a request: whether a value is allowed, and which values are.
CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "command": (lambda value: _is_text(value) and value.strip() != "", "a command, as text"),
    "attach": (lambda value: isinstance(value, bool), "true or false"),
    "env": (_is_env, "an object of words, each with a string"),
    "size": (_is_text, "a string"),
    "type": (lambda value: _is_text(value) and bool(TYPE.fullmatch(value)), "a process type"),
    "time_to_live": (_is_time_to_live, f"a whole number from 1 to {DAY}"),
    "force_no_tty": (lambda value: value is None or isinstance(value, bool), "true or false"),
}
