"""The document of ``celery mm status`` as a screen for people.

Whatever a colour says, words say too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from celery_middle_management.cli.cost import cost_line
from celery_middle_management.cli.requests import pause_line, request_line, schedule_line
from celery_middle_management.views.measured import measured_line
from celery_middle_management.views.sparkline import sparkline
from celery_middle_management.views.status import asleep
from celery_middle_management.views.words import ago, plural, span

ASLEEP = (
    "Tasks that are scheduled, or can wait, wake a pool only while a process of the app is alive: "
    "one that has published, beat, another pool's worker, or `mm run`."
)

#: How long a change by hand is shown (s).
SHOWN_FOR = 3600.0
#: The most pools that are shown in full; if there are more, each has one line.
IN_FULL = 2
#: The maximum number of lines for all troubles, and for the draining workers of each pool.
MOST_TROUBLES, MOST_DRAINS = 8, 3
#: The maximum length of a list of names in a line.
_NAMES = 50

Document = Mapping[str, Any]
Line = tuple[str, Text | str]


def status_screen(document: Document, *, full: bool = False) -> RenderableType:
    """Draw what is wrong, if anything, then each pool's workers, tasks, decisions and last hour.

    If there are many pools, each has one line, unless *full*.
    """
    now = datetime.fromisoformat(document["at"])
    parts: list[RenderableType] = [_line(text) for text in _trouble(document["trouble"], now)]
    if document["dry_run"]:
        parts.append(_line(Text("DRY RUN  decisions are recorded but not carried out", "yellow")))
    if why := document["inactive"]:
        text = f"INACTIVE  this process neither hires nor fires, because {why}"
        parts.append(_line(Text(text, "yellow")))
    if document["pause"]:
        parts.append(_line(Text(pause_line(document["pause"], now), style="yellow")))
    if full or len(document["pools"]) <= IN_FULL:
        for pool in document["pools"]:
            parts += [_title(pool), _labelled(_about(document, pool, now))]
    else:
        parts += [_overview(document), _line(Text("\nIn full: mm status POOL …", style="dim"))]
    if (money := document.get("money")) and money["since"]:
        parts.append(_line(Text(f"cost  {cost_line(money, now)}", style="dim")))
    if asleep(document):
        parts.append(_line(Text(f"Note: {ASLEEP}", style="yellow")))
    return Group(*parts)


def _line(text: Text) -> Text:
    text.append("\n")
    return text


def _trouble(troubles: Sequence[Document], now: datetime) -> Iterator[Text]:
    for trouble in troubles[:MOST_TROUBLES]:
        whose = f"{trouble['pool']}: " if trouble["pool"] else ""
        since = f" (for {span(_seconds(trouble['since'], now))})" if trouble["since"] else ""
        yield Text(f"WRONG  {whose}{trouble['what']}{since}", style="bold red")
    if more := len(troubles[MOST_TROUBLES:]):
        yield Text(f"WRONG  and {more} more: see --json", style="bold red")


# -- many pools, one line each


def _overview(document: Document) -> Table:
    wrong = {trouble["pool"] for trouble in document["trouble"]}
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("pool", overflow="fold")
    for name in ("workers", "needed", "waiting", "running"):
        table.add_column(name, justify="right")
    table.add_column("", overflow="fold")
    # Pools with trouble come first.
    for pool in sorted(document["pools"], key=lambda pool: pool["name"] not in wrong):
        workers, tasks, bad = pool["workers"], pool["tasks"], pool["name"] in wrong
        current = "?" if workers["current"] is None else str(workers["current"])
        numbers = (current, workers["needed"], tasks["waiting"], tasks["running"])
        hints = "; ".join(["WRONG, see above"] * bad + [*_hints(pool)])
        style = "bold red" if bad else "green" if _at_rest(pool) else "yellow"
        table.add_row(Text(pool["name"], style), *map(str, numbers), Text(hints))
    return table


def _hints(pool: Document) -> Iterator[str]:
    workers = pool["workers"]
    if reporting := _reporting(pool):
        yield reporting
    if draining := len(workers["draining"]):
        yield f"{draining} draining"
    if longest := workers["longest"]:
        yield f"{longest['name']} for {span(longest['for'])}"
    if scheduled := pool["tasks"]["scheduled"]:
        yield f"{scheduled} scheduled"


# -- a pool in full


def _title(pool: Document) -> Text:
    workers = pool["workers"]
    current, needed = workers["current"], workers["needed"]
    there = "? workers" if current is None else plural(current, "worker", "workers")
    seen = f", {reporting}" if (reporting := _reporting(pool)) else ""
    # Text, not markup: the name comes from the user's settings.
    return Text.assemble(
        (pool["name"], "bold"),
        "  ",
        (f"{there}, {needed} needed{seen}", "green" if _at_rest(pool) else "yellow"),
        (f"  (limits {workers['min']} to {workers['max']}, {_where(pool)})", "dim"),
    )


def _reporting(pool: Document) -> str:
    """The number of workers that report, if it is less than there should be; else empty."""
    current, live = pool["workers"]["current"] or 0, len(pool["workers"]["live"])
    return f"{live} reporting" if live < current else ""


def _at_rest(pool: Document) -> bool:
    """Return True if there are as many workers as needed and all of them report."""
    workers, tasks = pool["workers"], pool["tasks"]
    known = workers["live"] or not tasks["waiting"]
    return workers["current"] == workers["needed"] and not _reporting(pool) and known


def _where(pool: Document) -> str:
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


def _about(document: Document, pool: Document, now: datetime) -> Iterator[Line]:
    workers = pool["workers"]
    yield "why", pool["policy"]["why"]
    if measured := measured_line(pool["policy"]):
        yield "measured", measured
    if schedule := workers["schedule"]:
        yield "schedule", schedule_line(schedule)
    yield "tasks", _tasks(pool, now)
    yield "queues", _names(pool["queues"]) or "none yet"
    shown = [drain["name"] for drain in workers["drains"][:MOST_DRAINS]]
    if (longest := workers["longest"]) and longest["worker"] not in shown:
        yield "longest", f"{longest['name']} on {longest['worker']} for {span(longest['for'])}"
    for drain in workers["drains"][:MOST_DRAINS]:
        reports = drain["name"] in workers["live"]
        yield "drains", Text(_drain(drain, now, reports=reports), style="yellow")
    if more := workers["drains"][MOST_DRAINS:]:
        names = _names([drain["name"] for drain in more])
        yield "", Text(f"and {names}", style="yellow")
    if old := workers["old"]:
        why = "older release, or a day old: leaves when done"
        yield "old", Text(f"{_names(old)}: {why}", style="yellow")
    yield "last", _action(pool, now)
    if (by_hand := pool["by_hand"]) and _seconds(by_hand["at"], now) < SHOWN_FOR:
        yield "by hand", Text(_by_hand(by_hand, now), style="yellow")
    if wish := pool["wish"]:
        yield "asked", Text(request_line(wish, now), style="yellow")
    yield "next", _next(document, pool, now)
    yield from _last_hour(pool["last_hour"])


def _names(names: Sequence[str]) -> str:
    """As many of the *names* as a line holds, and the number of the others."""
    shown: list[str] = []
    for name in names:
        if shown and len(", ".join([*shown, name])) > _NAMES:
            break
        shown.append(name)
    rest = len(names) - len(shown)
    return f"{', '.join(shown)} and {rest} more" if rest else ", ".join(shown)


def _tasks(pool: Document, now: datetime) -> str:
    tasks = pool["tasks"]
    reserved = f" ({tasks['reserved']} reserved)" if tasks["reserved"] else ""
    parts = [f"{tasks['waiting']} waiting{reserved}, {tasks['running']} running"]
    if tasks["scheduled"]:
        parts.append(f"{tasks['scheduled']} scheduled")
    if tasks["counted_at"] is None:
        parts.append("never counted")
    else:
        parts.append(f"counted {ago(tasks['counted_at'], now)}")
    if (unreported := tasks["outstanding"] - tasks["reckoned"]) > 0:
        parts.append(f"{unreported} not reported yet")
    elif unreported < 0:
        parts.append(f"reckoned {tasks['reckoned']}")
    return "; ".join(parts)


def _drain(drain: Document, now: datetime, *, reports: bool) -> str:
    since = f" for {span(_seconds(drain['since'], now))}" if drain["since"] else ""
    left = ", ".join(_left(drain)) or ("nothing left to do" if reports else "not reporting")
    return f"{drain['name']}{since}: {left}"


def _left(drain: Document) -> Iterator[str]:
    """The work left to a draining worker, with the names of the tasks that fit a line."""
    running, named, length = max(drain["running"], len(drain["tasks"])), 0, 0
    for task in drain["tasks"]:
        text = f"{task['name']} for {span(task['for'])}"
        length += len(text)
        if named and length > _NAMES:
            break
        named += 1
        yield text
    if running > named:
        yield f"{running - named} {'more ' if named else ''}running"
    if drain["waiting"]:
        yield f"{drain['waiting']} waiting"
    if (other := drain["busy"] - running - drain["waiting"]) > 0:
        yield f"{other} to finish"
    if drain["returning"]:
        yield f"{drain['returning']} scheduled to give back"


def _action(pool: Document, now: datetime) -> str:
    action = pool["last_action"]
    if action is None:
        return "no hire and no fire yet"
    would = "would " if action.get("dry_run") else ""
    what = f"{would}{action['action']} {action['from']} -> {action['to']}, {ago(action['at'], now)}"
    # The title has the limits.
    return f"{what}: {action['reason'].partition(', limits ')[0]}"


def _by_hand(change: Document, now: datetime) -> str:
    when = ago(change["at"], now)
    return f"{change['from']} -> {change['to']}, {when}; `mm pause` keeps what is set by hand"


def _next(document: Document, pool: Document, now: datetime) -> str:
    due, calls = document["next_evaluation_at"], pool["next_call_at"]
    if due is None:
        return "decides when the first process publishes or works"
    wait = -_seconds(due, now)
    when = f"within {span(wait)}" if wait > 0 else "when a process of the app reports"
    if not calls:
        return f"decides {when}"
    return f"decides {when}; may hire and fire in {span(-_seconds(calls, now))}"


def _last_hour(hour: Document) -> Iterator[Line]:
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
    """The higher value of every two minutes, so that the line fits 80 columns."""
    return [max(pair) for pair in zip(values[::2], values[1::2], strict=True)]


def _seconds(at: str, now: datetime) -> float:
    return (now - datetime.fromisoformat(at)).total_seconds()
