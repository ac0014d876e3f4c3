"""The document of ``celery mm status``, for people: a screen, with colour and without."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from celery_middle_management.views.sparkline import sparkline
from celery_middle_management.views.status import asleep

ASLEEP = (
    "Scheduled tasks wake the pool only while a process that has published, beat, another pool's "
    "worker or `celery mm run` is alive."
)

#: A change by hand is shown for so long (s).
SHOWN_FOR = 3600.0

Line = tuple[str, Text | str]


def status_screen(document: Mapping[str, Any]) -> RenderableType:
    """What is wrong, if anything; then each pool's workers, tasks, last hour, and why."""
    now = datetime.fromisoformat(document["at"])
    parts: list[RenderableType] = [_line(text) for text in _trouble(document, now)]
    if document["dry_run"]:
        parts.append(_line(Text("DRY RUN  decisions are recorded, nothing is changed", "yellow")))
    if why := document["inactive"]:
        text = f"INACTIVE  this process hires and fires nothing from here, for {why}"
        parts.append(_line(Text(text, "yellow")))
    if document["pause"]:
        parts.append(_line(Text(_pause(document["pause"], now), style="yellow")))
    for pool in document["pools"]:
        parts += [_title(pool), _labelled(_about(document, pool, now))]
    if asleep(document):
        parts.append(_line(Text(f"Note: {ASLEEP}", style="yellow")))
    return Group(*parts)


def ago(at: str, now: datetime) -> str:
    """How long before *now* a time (ISO 8601) was, or how long after it will be."""
    seconds = _seconds(at, now)
    return f"{span(seconds)} ago" if seconds >= 0 else f"in {span(-seconds)}"


def span(seconds: float) -> str:
    """A duration in words: ``12 s``, ``3 min``, ``2 h``, ``5 days``."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _line(text: Text) -> Text:
    text.append("\n")
    return text


def _trouble(document: Mapping[str, Any], now: datetime) -> Iterator[Text]:
    for trouble in document["trouble"]:
        whose = f"{trouble['pool']}: " if trouble["pool"] else ""
        since = f" (for {span(_seconds(trouble['since'], now))})" if trouble["since"] else ""
        yield Text(f"WRONG  {whose}{trouble['what']}{since}", style="bold red")


def _pause(pause: Mapping[str, Any], now: datetime) -> str:
    which = " and ".join(what for what in ("hires", "fires") if pause[what])
    until = f"ends {ago(pause['until'], now)}" if pause["until"] else "until `mm resume`"
    since = f", since {span(_seconds(pause['since'], now))}" if pause["since"] else ""
    return f"PAUSED  no {which}, by {pause['by']}{since}, {until}"


def _title(pool: Mapping[str, Any]) -> Text:
    workers = pool["workers"]
    current, needed = workers["current"], workers["needed"]
    there = "? workers" if current is None else f"{current} worker{'' if current == 1 else 's'}"
    # Never markup: the names of queues are the user's.
    return Text.assemble(
        (pool["name"], "bold"),
        "  ",
        (f"{there}, {needed} needed", "green" if current == needed else "yellow"),
        (f"  (limits {workers['min']} to {workers['max']}, {_where(pool)})", "dim"),
    )


def _where(pool: Mapping[str, Any]) -> str:
    one_off = " one-off dynos" if pool["dynos"] == "one-off" else ""
    return f"{pool['platform']}{one_off}"


def _labelled(lines: Iterator[Line]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", min_width=9)
    table.add_column(overflow="fold")
    for label, text in lines:
        table.add_row(f"  {label}", text if isinstance(text, Text) else Text(text))
    table.add_row("", "")
    return table


def _about(document: Mapping[str, Any], pool: Mapping[str, Any], now: datetime) -> Iterator[Line]:
    yield "why", pool["policy"]["why"]
    yield "tasks", _tasks(pool, now)
    yield "queues", ", ".join(pool["queues"]) or "none yet"
    for drain in pool["workers"]["drains"]:
        yield "drains", Text(_drain(drain, now), style="yellow")
    if old := pool["workers"]["old"]:
        yield "old", Text(f"{', '.join(old)}: replaced when done", style="yellow")
    yield "last", _action(pool, now)
    if (by_hand := pool["by_hand"]) and _seconds(by_hand["at"], now) < SHOWN_FOR:
        yield "by hand", Text(_by_hand(by_hand, now), style="yellow")
    yield "next", _next(document, pool, now)
    yield from _last_hour(pool["last_hour"])


def _tasks(pool: Mapping[str, Any], now: datetime) -> str:
    tasks = pool["tasks"]
    parts = [f"{tasks['waiting']} waiting, {tasks['running']} running"]
    if tasks["reserved"]:
        parts.append(f"{tasks['reserved']} reserved by a worker")
    if tasks["scheduled"]:
        parts.append(f"{tasks['scheduled']} scheduled")
    if tasks["counted_at"] is None:
        parts.append("never counted")
    else:
        parts.append(f"counted {ago(tasks['counted_at'], now)}")
    if pool["drift"]:
        parts.append(f"drift {pool['drift']:+d}")
    return "; ".join(parts)


def _drain(drain: Mapping[str, Any], now: datetime) -> str:
    since = f" for {span(_seconds(drain['since'], now))}" if drain["since"] else ""
    back = f", {drain['returning']} scheduled to give back" if drain["returning"] else ""
    return f"{drain['name']}{since}: {drain['running']} running, {drain['waiting']} waiting{back}"


def _action(pool: Mapping[str, Any], now: datetime) -> str:
    action = pool["last_action"]
    if action is None:
        return "nobody hired or fired yet"
    would = "would " if action.get("dry_run") else ""
    what = f"{would}{action['action']} {action['from']} -> {action['to']}, {ago(action['at'], now)}"
    return f"{what}: {action['reason']}"


def _by_hand(change: Mapping[str, Any], now: datetime) -> str:
    when = ago(change["at"], now)
    return f"{change['from']} -> {change['to']}, {when}; `mm pause` keeps what is set by hand"


def _next(document: Mapping[str, Any], pool: Mapping[str, Any], now: datetime) -> str:
    looks, calls = document["next_evaluation_at"], pool["next_call_at"]
    if looks is None:
        return "decides when the first process publishes or works"
    late = _seconds(looks, now) >= 0
    when = "as soon as a process of the app looks in" if late else ago(looks, now)
    interval = f"; may change {pool['platform']} again {ago(calls, now)}" if calls else ""
    return f"decides {when}{interval}"


def _last_hour(hour: Mapping[str, Any]) -> Iterator[Line]:
    arrivals, workers = hour["arrivals"], hour["workers"]
    if not any(arrivals) and not any(workers):
        return
    wait = hour["mean_wait"]
    waited = "" if wait is None else f", mean wait {wait:.1f} s"
    for label, values, what in (
        ("arrivals", arrivals, f"{sum(arrivals)} in an hour{waited}"),
        ("workers", workers, "by the minute"),
    ):
        yield label, Text.assemble((sparkline(_halved(values)), "cyan"), f"  {what}")


def _halved(values: list[int]) -> list[int]:
    """Of each two minutes the higher one, that it fits 80 columns."""
    return [max(pair) for pair in zip(values[::2], values[1::2], strict=True)]


def _seconds(at: str, now: datetime) -> float:
    return (now - datetime.fromisoformat(at)).total_seconds()
