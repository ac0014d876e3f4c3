"""Numbers in words, as precise as they need to be."""

from __future__ import annotations

from decimal import Decimal
from math import isfinite, isnan

#: From here on (h, $, days, tasks) digits would be a row of zeros.
_MANY = 1e9


def wait(seconds: float) -> str:
    """Return a duration (s): ``0.3 s``, ``12 s``, ``4 min 10 s``, ``3 h 5 min``, ``2 d 4 h``."""
    if seconds < 0.0005:
        return "0 s"
    if seconds < 59.5:
        return f"{float(f'{seconds:.2g}'):g} s"
    if seconds < 3599.5:
        return _two(round(seconds), 60, "min", "s")
    if seconds < 48 * 3600 - 30:
        return _two(round(seconds / 60), 60, "h", "min")
    if seconds < 100 * 86400:
        return _two(round(seconds / 3600), 24, "d", "h")
    return f"{count(seconds / 86400)} d" if isfinite(seconds) else count(seconds)


def _two(number: int, size: int, unit: str, part: str) -> str:
    whole, rest = divmod(number, size)
    return f"{whole} {unit} {rest} {part}" if rest else f"{whole} {unit}"


def round_wait(seconds: float) -> str:
    """Return a round duration (s) in one unit, for an axis: ``0``, ``30 s``, ``90 min``."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length and seconds % length == 0:
            return f"{axis(seconds / length)} {unit}"
    return f"{axis(seconds)} s" if seconds else "0"


def clock(seconds: float) -> str:
    """Return a time since the first task as ``h:mm:ss``."""
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02}:{s:02}" if hours < 100_000 else f"{axis(hours)} h"


def dollars(amount: float) -> str:
    """Return an amount: ``$0.004``, ``$12.30``, ``$1,234``."""
    return f"${hours(amount)}" if isfinite(amount) else count(amount)


def hours(number: float) -> str:
    """Return hours without their unit: ``0.004``, ``3.14``, ``1,234``."""
    if number < 0.0995:
        return f"{Decimal(f'{number:.2g}').normalize():f}"
    if number < 999.995:
        return f"{number:.2f}"
    return count(number)


def count(number: float) -> str:
    """Return a whole number: ``0``, ``1,234``."""
    if isnan(number):
        return "?"
    if number < _MANY:
        return f"{number:,.0f}"
    return f"{number:.3g}" if isfinite(number) else "∞"


def share(part: float) -> str:
    """Return a part of 1 in per cent: ``94 %``, ``9.4 %``."""
    shown = f"{100 * part:.2g}" if 0 < part < 0.0995 else count(100 * part)
    return f"{shown} %"


def axis(number: float) -> str:
    """Return a round number for an axis: ``0``, ``0.5``, ``20``, ``5k``, ``2M``."""
    for unit, size in (("", 1), ("k", 1e3), ("M", 1e6)):
        if number < 1000 * size or (not unit and number < 10_000):
            return f"{number / size:.5g}{unit}"
    return f"{number:.2g}".replace("e+", "e")


def axis_dollars(number: float) -> str:
    """Return a round amount for an axis: ``$0``, ``$0.50``, ``$20``."""
    cents = 0.01 <= number < 10 and number % 1 and round(number * 100, 6) % 1 == 0
    return f"${number:.2f}" if cents else f"${axis(number)}"
