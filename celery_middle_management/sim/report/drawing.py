"""Small SVG drawings: elements, and axes with round ticks."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from unicodedata import combining, east_asian_width

#: By name: the colours in light and in dark. Text has a contrast of 4.5 : 1 or more on the card.
COLOURS = {
    "ground": ("#f6f6f3", "#14181b"),
    "card": ("#ffffff", "#1d2327"),
    "ink": ("#1b2126", "#e7eaec"),
    "muted": ("#58636d", "#a2adb6"),
    "line": ("#dcdfe0", "#333b41"),
    "accent": ("#1f5fa8", "#8bbcf0"),
    "running": ("#9dbfe4", "#2f5f92"),
    "waiting": ("#c2570c", "#f2994a"),
    "waits": ("#7a3e9d", "#d3a4ee"),
    "wrong": ("#b3261e", "#ff8a80"),
    "well": ("#1d6b3a", "#7fd09a"),
}
#: The rules of all drawings; the page that holds them says what the colours are.
STYLE = """\
svg text { font-family: system-ui, -apple-system, "Segoe UI", sans-serif; fill: var(--muted); }
svg .name, svg .head { fill: var(--ink); }
svg .head { font-weight: 600; }
svg .name { paint-order: stroke; stroke: var(--card); stroke-width: 3px; stroke-linejoin: round; }
svg .grid { stroke: var(--line); fill: none; }
svg .axis, svg .leader { stroke: var(--muted); fill: none; }
svg .leader { stroke-width: .75px; }
svg .kept, svg .killed { fill-opacity: .85; }
svg .kept { fill: var(--accent); stroke: var(--card); }
svg .killed { fill: var(--wrong); stroke: var(--card); }
svg .running { fill: var(--running); }
svg .workers, svg .waiting { fill: none; stroke-width: 1.5px; stroke-linejoin: round; }
svg .workers { stroke: var(--ink); }
svg .waiting { stroke: var(--waiting); }
svg .waits { fill: var(--waits); }
svg .card { fill: var(--card); stroke: var(--line); }
"""
_NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
#: Larger numbers are drawn as this one, which leaves room to reckon with it; lesser ones as 0.
_LARGEST, _LEAST = 1e300, 1e-9
_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0
_TIME_STEPS = (
    *(1.0, 2.0, 5.0, 10.0, 15.0, 30.0),
    *(_MINUTE * number for number in (1, 2, 5, 10, 15, 30)),
    *(_HOUR * number for number in (1, 2, 3, 6, 12, 24)),
)


def escape(text: str) -> str:
    """Return *text* as markup; characters that markup cannot hold are replaced."""
    return html.escape(_NOT_XML.sub("\ufffd", text))


def element(name: str, *content: str, **attributes: str | float) -> str:
    """Return an element. Its content is markup; its attributes are not. ``class_`` is a class."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{shown}"'
        for key, value in attributes.items()
        for shown in [escape(value) if isinstance(value, str) else px(value)]
    )
    return f"<{name}{given}>{''.join(content)}</{name}>" if content else f"<{name}{given}/>"


def px(number: float) -> str:
    """Return a length, to a tenth of a pixel."""
    return f"{number:.1f}".removesuffix(".0")


def words(x: float, y: float, text: str, class_: str = "tick", **more: str | float) -> str:
    """Return a line of text; *y* is its baseline."""
    return element("text", escape(text), x=x, y=y, class_=class_, **more)


def width_of(text: str, size: float) -> float:
    """Return how wide (px) a text is at most, in the fonts that are common."""
    return size * sum(map(_breadth, text))


def _breadth(character: str) -> float:
    if combining(character):
        return 0.0
    if east_asian_width(character) in "WF" or character in "mwMW@%—…":
        return 1.0
    if character in "iljI.,:;|!'()[] ":
        return 0.4
    return 0.8 if character.isupper() else 0.65


def shortened(text: str, size: float, most: float) -> str:
    """Return *text* on one line, and no wider (px) than *most*."""
    text = " ".join(text.split())
    if width_of(text, size) <= most:
        return text
    while text and width_of(text + "…", size) > most:
        text = text[:-1]
    return text + "…"


def drawable(number: float) -> float:
    """Return a number that can be drawn: finite, and 0 for what is less or no number."""
    return float(min(number, _LARGEST)) if number >= _LEAST else 0.0


@dataclass(frozen=True)
class Scale:
    """Where (px) the values of an axis are."""

    ticks: tuple[float, ...]
    low: float
    high: float
    start: float
    end: float
    log: bool = False
    #: The part of a logarithmic axis between 0 and the least other value.
    zero: float = 0.0

    def __call__(self, value: float) -> float:
        """Return where a value is; one beyond the end is at the end."""
        value = drawable(value)
        if not self.log:
            part = value / self.high
        elif value < self.low:
            part = 0.0
        else:
            part = log10(value / self.low) / log10(self.high / self.low)
            part = self.zero + (1 - self.zero) * part
        return self.start + (self.end - self.start) * min(part, 1.0)


def linear(
    high: float, start: float, end: float, *, most: int, times: bool = False, whole: bool = False
) -> Scale:
    """Return a scale from 0 to *high* or a little more, with *most* ticks or so besides 0."""
    high = drawable(high) or 1.0
    step = max(_step(high / most, times), 1.0 if whole else 0.0)
    count = max(ceil(high / step - 1e-9), 1)
    return Scale(tuple(i * step for i in range(count + 1)), 0.0, count * step, start, end)


def until(high: float, start: float, end: float, *, most: int) -> Scale:
    """Return a scale of times (s) from 0 to *high* exactly."""
    high = drawable(high) or 1.0
    step = _step(high / most, True)
    ticks = tuple(i * step for i in range(floor(high / step + 1e-9) + 1))
    return Scale(ticks, 0.0, high, start, end)


def _step(least: float, times: bool) -> float:
    """Return the next round number."""
    if times and 1 < least <= _TIME_STEPS[-1]:
        return next(step for step in _TIME_STEPS if step >= least)
    unit = _DAY if times and least > 1 else 1.0
    power = unit * 10.0 ** floor(log10(least / unit))
    return next(m * power for m in (1, 2, 5, 10, 20) if m * power >= least * (1 - 1e-9))


def logarithmic(
    values: Sequence[float], start: float, end: float, *, most: int, times: bool = False
) -> Scale:
    """Return a scale of positive values and, if there is one among *values*, of 0."""
    above = [value for value in map(drawable, values) if value > 0]
    low, high = min(above) / 1.3, max(above) * 1.3
    zero = 0.12 if len(above) < len(values) else 0.0
    for multiples in ((1, 2, 5), (1,)):
        ticks = [t for t in _rungs(low, high, multiples, times) if low <= t <= high]
        if len(ticks) <= most:
            break
    ticks = ticks[:: ceil(len(ticks) / most)]
    return Scale((*[0.0] * (zero > 0), *ticks), low, high, start, end, log=True, zero=zero)


def _rungs(low: float, high: float, multiples: Sequence[int], times: bool) -> Iterator[float]:
    """Yield round numbers, from less than *low* to more than *high*."""
    for power in range(floor(log10(low)) - 4, ceil(log10(high)) + 1):
        rungs = [multiple * 10.0**power for multiple in multiples]
        if not times or power <= 0:
            yield from rungs
        elif power == 1:
            yield from (10, 30, 60, 120, 300, 600, 1800) if len(multiples) > 1 else (10, 60, 600)
        elif power > 2:
            yield from (_HOUR * rung / 1000 for rung in rungs)


def grid_across(scale: Scale, top: float, bottom: float, label: Callable[[float], str]) -> str:
    """Return the grid of a horizontal axis, with its labels below."""
    lines = "".join(f"M{px(scale(tick))} {px(top)}V{px(bottom)}" for tick in scale.ticks)
    marks = [words(scale(t), bottom + 15, label(t), text_anchor="middle") for t in scale.ticks]
    return element("path", d=lines, class_="grid") + "".join(marks)


def grid_upright(scale: Scale, left: float, right: float, label: Callable[[float], str]) -> str:
    """Return the grid of a vertical axis, with its labels at the left."""
    lines = "".join(f"M{px(left)} {px(scale(tick))}H{px(right)}" for tick in scale.ticks)
    marks = [words(left - 6, scale(t) + 4, label(t), text_anchor="end") for t in scale.ticks]
    return element("path", d=lines, class_="grid") + "".join(marks)


def stairs(points: Sequence[tuple[float, float]], end: float) -> str:
    """Return the data of a path that keeps each height (px) until the next point, and the last."""
    path, before = "", None
    for x, y in ((px(min(x, end)), px(y)) for x, y in points):
        if y != before:
            path += f"H{x}V{y}" if path else f"M{x} {y}"
        before = y
    return f"{path}H{px(end)}" if path else ""
