"""The document of `celery mm status`, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from celery_middle_management.views.status import asleep

ASLEEP = (
    "Scheduled tasks wake the pool only while a process that has published, beat, another pool's "
    "worker or `celery mm run` is alive."
)


def status_table(document: Mapping[str, Any], now: datetime) -> RenderableType:
    """A table with a row for each pool, and below it whoever drains."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("Pool", "Workers", "Tasks", "Last action"):
        table.add_column(title, overflow="fold")
    for pool in document["pools"]:
        table.add_row(
            _lines(_about(pool)),
            _lines(_workers(pool, now)),
            _lines(_tasks(pool, now)),
            _lines(_action(pool, now)),
        )
    drains = [drain for pool in document["pools"] for drain in pool["workers"]["drains"]]
    parts: list[RenderableType] = [table]
    parts += [Text(_drain(drain, now), style="yellow") for drain in drains]
    for pool in document["pools"]:
        parts += [Text(line, style="red") for line in _trouble(pool, now)]
    if asleep(document):
        parts.append(Text(f"Note: {ASLEEP}", style="yellow"))
    return Group(*parts)


def ago(at: str, now: datetime) -> str:
    """How long before *now* a time (ISO 8601) was, or how long after it will be."""
    seconds = _seconds(at, now)
    return f"{span(seconds)} ago" if seconds >= 0 else f"in {span(-seconds)}"


def span(seconds: float) -> str:
    """A duration in words: `12 s`, `3 min`, `2 h`, `5 days`."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _lines(lines: Iterator[Text | str]) -> Text:
    # Never markup: the names of queues are the user's.
    return Text("\n").join(line if isinstance(line, Text) else Text(line) for line in lines)


def _about(pool: Mapping[str, Any]) -> Iterator[Text | str]:
    yield Text(pool["name"], style="bold")
    yield Text(f"on {pool['platform']}", style="dim")
    yield Text(", ".join(pool["queues"]), style="dim")


def _workers(pool: Mapping[str, Any], now: datetime) -> Iterator[Text | str]:
    workers = pool["workers"]
    current, needed = workers["current"], workers["needed"]
    shown = "?" if current is None else current
    style = "green" if current == needed else "yellow"
    yield Text(f"{shown} / {needed} needed ({workers['min']}-{workers['max']})", style=style)
    yield f"{len(workers['live'])} live"
    if workers["draining"]:
        yield f"{len(workers['draining'])} draining"
    if pool["next_call_at"]:
        yield Text(f"next change {ago(pool['next_call_at'], now)}", style="dim")


def _tasks(pool: Mapping[str, Any], now: datetime) -> Iterator[Text | str]:
    tasks = pool["tasks"]
    yield f"{tasks['waiting']} waiting, {tasks['running']} running"
    if tasks["reserved"]:
        yield Text(f"{tasks['reserved']} reserved by a worker", style="dim")
    if tasks["scheduled"]:
        yield f"{tasks['scheduled']} scheduled"
    if tasks["counted_at"] is None:
        yield Text("never counted", style="dim")
    else:
        drift = f", drift {pool['drift']:+d}" if pool["drift"] else ""
        yield Text(f"counted {ago(tasks['counted_at'], now)}{drift}", style="dim")


def _action(pool: Mapping[str, Any], now: datetime) -> Iterator[Text | str]:
    action = pool["last_action"]
    if action is None:
        yield Text("none", style="dim")
        return
    yield f"{action['action']} {action['from']} -> {action['to']}, {ago(action['at'], now)}"
    yield Text(action["reason"], style="dim")


def _drain(drain: Mapping[str, Any], now: datetime) -> str:
    since = f" for {span(_seconds(drain['since'], now))}" if drain["since"] else ""
    back = f", {drain['returning']} scheduled to give back" if drain["returning"] else ""
    holds = f"{drain['running']} running, {drain['waiting']} waiting{back}"
    return f"{drain['name']} drains{since}: {holds}"


def _trouble(pool: Mapping[str, Any], now: datetime) -> Iterator[str]:
    for worker in pool["workers"]["unheard"]:
        waited = span(_seconds(worker["since"], now))
        yield (
            f"{worker['name']} is up, and nothing has been heard of it for {waited}: "
            "it counts as at work and is not fired."
        )
    refused = pool["refused"]
    if refused:
        yield f"{pool['name']}: refused {ago(refused['at'], now)}: {refused['why']}"


def _seconds(at: str, now: datetime) -> float:
    return (now - datetime.fromisoformat(at)).total_seconds()
