"""The plots of a simulation: cost against waits, and what there was over time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from celery_middle_management.sim.outcome import Outcome
from celery_middle_management.sim.report import figures
from celery_middle_management.sim.report.drawing import (
    COLOURS,
    STYLE,
    Scale,
    drawable,
    element,
    escape,
    grid_across,
    grid_upright,
    linear,
    logarithmic,
    px,
    shortened,
    stairs,
    until,
    width_of,
    words,
)
from celery_middle_management.sim.report.labels import MARK, Box, Point, leader, place

#: The size (px) of text in a plot against waits, and in the panels over time.
_TEXT, _SMALL = 13, 12
#: Waits (s) below this are the noise of adding times.
_NO_WAIT = 0.001
#: Waits and costs that differ by more than such a factor get a logarithmic axis.
_WAITS_APART, _COSTS_APART = 50.0, 8.0
#: A plot narrower than this (px) has its legend on two lines.
_NARROW = 600.0


def plot(
    outcomes: Sequence[Outcome], monthly: float, name: str, width: float, title: str = ""
) -> str:
    """Return a plot of costs ($; paid hours if *monthly* is 0) against the p95 of waits.

    *name* tells its ids from those of other drawings on the page. With a *title*, which is written
    on top, it is a file of its own.
    """
    waits = [wait if wait >= _NO_WAIT else 0.0 for wait in (o.waits.p95 for o in outcomes)]
    costs = [outcome.dollars(monthly) if monthly else outcome.paid_hours for outcome in outcomes]
    what, label = ("Cost", figures.axis_dollars) if monthly else ("Paid hours", figures.axis)
    top, right = 36.0 + 34 * bool(title), width - 28
    # So that there is room for the labels, however many there are.
    bottom = top + max(340.0, (24.0 if width >= _NARROW else 36.0) * len(outcomes))
    upright = _scale(costs, bottom, top, _COSTS_APART, most=6)
    left = 16 + max(width_of(label(tick), _TEXT) for tick in upright.ticks)
    across = _scale(waits, left, right, _WAITS_APART, most=int(width / 90), times=True)
    points = [(across(wait), upright(cost)) for wait, cost in zip(waits, costs, strict=True)]
    drawn = [
        words(12, 32, shortened(title, 17, width - 24), "head", font_size=17) if title else "",
        words(left, top - 14, f"{what}{_logarithmic(upright)}", "head"),
        grid_across(across, top, bottom, figures.round_wait),
        grid_upright(upright, left, right, label),
        element("path", d=f"M{px(left)} {px(top)}V{px(bottom)}H{px(right)}", class_="axis"),
        words(right, bottom + 36, f"p95 wait{_logarithmic(across)}", "head", text_anchor="end"),
        _points(outcomes, points, Box(left + 4, top + 4, width - 8, bottom - 4)),
        _legend(outcomes, left, bottom + (36 if width >= _NARROW else 58)),
    ]
    height = bottom + (50 if width >= _NARROW else 72)
    summary = "; ".join(f"{o.policy}: {described(o, monthly)}" for o in outcomes)
    heading = title or f"{what} against p95 wait"
    return _picture(name, (width, height), heading, summary, "".join(drawn), alone=bool(title))


def described(outcome: Outcome, monthly: float) -> str:
    """Return the most important figures of an outcome, in a line."""
    paid = f"{figures.hours(outcome.paid_hours)} h"
    if monthly:
        paid = f"{figures.dollars(outcome.dollars(monthly))} ({paid})"
    killed = f", {figures.count(outcome.killed)} killed" if outcome.killed else ""
    return f"{paid}, p95 wait {figures.wait(outcome.waits.p95)}{killed}"


def _scale(
    values: Sequence[float],
    start: float,
    end: float,
    apart: float,
    *,
    most: int,
    times: bool = False,
) -> Scale:
    """Return a scale from 0, or a logarithmic one if the *values* above 0 are far *apart*."""
    above = [value for value in map(drawable, values) if value > 0]
    if above and max(above) / min(above) > apart:
        return logarithmic(values, start, end, most=most, times=times)
    return linear(
        1.05 * max(map(drawable, values), default=0.0), start, end, most=most, times=times
    )


def _logarithmic(scale: Scale) -> str:
    return " (logarithmic)" if scale.log else ""


def _points(outcomes: Sequence[Outcome], points: Sequence[Point], inside: Box) -> str:
    """Return marks, each with its policy's name beside it."""
    most = min(240.0, 0.55 * (inside.right - inside.left))
    names = [shortened(outcome.policy, _TEXT, most) for outcome in outcomes]
    boxes = place(points, [(width_of(name, _TEXT), _TEXT + 2.0) for name in names], inside)
    lines, labels = [], []
    for (x, y), name, box in zip(points, names, boxes, strict=True):
        if not box:
            continue
        if line := leader((x, y), box):
            lines.append("M" + "L".join(f"{px(x)} {px(y)}" for x, y in line))
        # A name that is narrower than its box is still next to its point.
        side = (x > box.left) + (x >= box.right)
        at = (box.left, (box.left + box.right) / 2, box.right)[side]
        anchor = ("start", "middle", "end")[side]
        labels.append(words(at, box.bottom - 4, name, "name", text_anchor=anchor))
    marks = [
        element("g", element("title", escape(outcome.policy)), _mark(x, y, outcome.killed > 0))
        for (x, y), outcome in zip(points, outcomes, strict=True)
    ]
    leaders = element("path", d="".join(lines), class_="leader") if lines else ""
    return "".join([leaders, *marks, *labels])


def _mark(x: float, y: float, killed: bool) -> str:
    """Return a circle, or a triangle if tasks were killed."""
    if not killed:
        return element("circle", cx=x, cy=y, r=MARK - 1, class_="kept")
    path = f"M{px(x)} {px(y - MARK)}l{px(MARK)} {px(2 * MARK - 1)}h{px(-2 * MARK)}z"
    return element("path", d=path, class_="killed")


def _legend(outcomes: Sequence[Outcome], left: float, y: float) -> str:
    """Return what the marks mean, if they are not all the same."""
    if not any(outcome.killed for outcome in outcomes):
        return ""
    return "".join(
        _mark(left + at, y - 4, killed) + words(left + at + 12, y, text)
        for at, killed, text in ((6, False, "no task killed"), (140, True, "tasks killed"))
    )


def _picture(
    name: str,
    size: Point,
    title: str,
    summary: str,
    drawn: str,
    *,
    text: int = _TEXT,
    alone: bool = False,
) -> str:
    """Return a drawing; *alone* it is a file, with its own style on its own light ground."""
    width, height = size
    ids = (f"{name}-title", f"{name}-desc")
    about = element("title", escape(title), id=ids[0])
    about += element("desc", escape(summary) or "Nothing was simulated.", id=ids[1])
    more: dict[str, str | float] = {"class_": name}
    if alone:
        style = re.sub(r"var\(--(\w+)\)", lambda match: COLOURS[match[1]][0], STYLE)
        card = element(
            "rect", x=0.5, y=0.5, width=width - 1, height=height - 1, rx=8, class_="card"
        )
        drawn = f"{element('style', style)}{card}{drawn}"
        more = {"xmlns": "http://www.w3.org/2000/svg", "width": width, "height": height}
    view = f"0 0 {px(width)} {px(height)}"
    more |= {"viewBox": view, "font_size": text, "role": "img", "aria_labelledby": " ".join(ids)}
    return element("svg", about, drawn, **more)


class _Scales(NamedTuple):
    """The scales of the panels over time, the same for all policies."""

    time: Scale
    workers: Scale
    waiting: Scale
    waits: Scale


#: The size (px) of the panels together, their sides, and the top and bottom of each.
_SIZE, _LEFT, _RIGHT = (360.0, 346.0), 54.0, 334.0
_BARS = 70
_WORKERS, _WAITING, _WAITS = (22.0, 114.0), (144.0, 218.0), (248.0, 322.0)


def panels(outcomes: Sequence[Outcome], monthly: float, concurrency: int) -> list[str]:
    """Return for each policy three panels over time: workers, waiting tasks and longest waits."""
    scales = _scales(outcomes)
    return [
        _picture(
            f"over-time-{number}",
            _SIZE,
            f"{outcome.policy} over time",
            f"{described(outcome, monthly)}, at most {outcome.peak_workers} workers.",
            _three(outcome, scales, concurrency),
            text=_SMALL,
        )
        for number, outcome in enumerate(outcomes)
    ]


def cut_off(outcomes: Sequence[Outcome]) -> float:
    """Return the time (s) to draw until: soon after the last task, if workers stay for much longer.

    Else a policy that is slow to let go would leave no width for the tasks.
    """
    moments = [moment for outcome in outcomes for moment in outcome.timeline]
    end = max((moment.at for moment in moments), default=0.0)
    busy = max((m.at for m in moments if m.waiting or m.running), default=0.0)
    return 1.1 * busy if busy and end > 1.5 * busy else end


def _scales(outcomes: Sequence[Outcome]) -> _Scales:
    moments = [moment for outcome in outcomes for moment in outcome.timeline]
    longest = [wait for outcome in outcomes for wait in outcome.longest_waits]
    workers = max((moment.workers for moment in moments), default=0)
    waiting = max((moment.waiting for moment in moments), default=0)
    return _Scales(
        until(cut_off(outcomes), _LEFT, _RIGHT, most=4),
        linear(workers, *_WORKERS[::-1], most=4, whole=True),
        linear(waiting, *_WAITING[::-1], most=3, whole=True),
        linear(max(map(drawable, longest), default=0.0), *_WAITS[::-1], most=3, times=True),
    )


def _three(outcome: Outcome, scales: _Scales, concurrency: int) -> str:
    """Return the three panels of a policy."""
    ends = [scales.time(moment.at) for moment in outcome.timeline]
    shown = [moment for moment in outcome.timeline if moment.at <= scales.time.high]

    def line(scale: Scale, values: Sequence[float]) -> str:
        points = [(x, scale(value)) for x, value in zip(ends, values, strict=False)]
        return stairs(points[: len(shown)], ends[-1] if ends else _LEFT)

    workers = line(scales.workers, [moment.workers for moment in shown])
    running = line(scales.workers, [moment.running / max(concurrency, 1) for moment in shown])
    running += f"V{px(_WORKERS[1])}H{px(ends[0])}z" if running else ""
    waiting = line(scales.waiting, [moment.waiting for moment in shown])
    most = max((moment.waiting for moment in outcome.timeline), default=0)
    longest = max(outcome.longest_waits, default=0.0)
    return "".join(
        [
            grid_across(scales.time, *_WAITS, figures.clock),
            words(_LEFT, _WORKERS[0] - 8, f"Workers: up to {outcome.peak_workers:,}", "head"),
            grid_upright(scales.workers, _LEFT, _RIGHT, figures.axis),
            element("path", d=running, class_="running"),
            element("path", d=workers, class_="workers"),
            words(_LEFT, _WAITING[0] - 8, f"Waiting tasks: up to {figures.count(most)}", "head"),
            grid_upright(scales.waiting, _LEFT, _RIGHT, figures.axis),
            element("path", d=waiting, class_="waiting"),
            words(_LEFT, _WAITS[0] - 8, f"Longest wait: up to {figures.wait(longest)}", "head"),
            grid_upright(scales.waits, _LEFT, _RIGHT, figures.round_wait),
            element("path", d=_bars(outcome, scales), class_="waits"),
        ]
    )


def _bars(outcome: Outcome, scales: _Scales) -> str:
    """Return the data of a path of bars: the longest waits, without those of 0.

    There may be far more moments than tasks. So a bar stands for what was published in some time.
    """
    width = (_RIGHT - _LEFT) / _BARS
    each = scales.time.high / _BARS
    heights = [0.0] * _BARS
    times = [moment.at for moment in outcome.timeline]
    for at, end, wait in zip(times, [*times[1:], *times[-1:]], outcome.longest_waits, strict=False):
        if at > scales.time.high:
            break
        first = min(int(at / each), _BARS - 1)
        for bar in range(first, min(max(first + 1, int(end / each)), _BARS)):
            heights[bar] = max(heights[bar], wait)
    bottom = px(scales.waits(0.0))
    return "".join(
        f"M{px(_LEFT + bar * width)} {bottom}V{px(scales.waits(wait))}h{px(width - 0.5)}V{bottom}z"
        for bar, wait in enumerate(heights)
        if wait > 0
    )
