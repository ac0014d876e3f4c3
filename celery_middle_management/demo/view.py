"""What the demo shows: a moment of it, as boxes on a terminal or as a line of plain text."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from celery_middle_management.core.cordon import Cordon
from celery_middle_management.core.presence import Presence
from celery_middle_management.views.sparkline import sparkline

STYLES = {
    "": "dim",
    "starting": "yellow",
    "idle": "cyan",
    "working": "bold green",
    "finishing": "bold magenta",
    "drained": "magenta",
    "stopping": "red",
}


#: Columns of what stands before a bar, and of a box.
_LABELS, _BOX = 16, 14
_MOST_SECONDS = 200


@dataclass(frozen=True)
class Moment:
    """What there is to see at one time."""

    elapsed: float
    waiting: int
    running: int
    done: int
    #: What each worker there may be does, in order; "" for one that is not hired.
    workers: Mapping[str, str]
    #: Worker-seconds so far.
    paid: float
    #: Of the night, while that passes.
    hour: int | None = None

    @property
    def total(self) -> int:
        """Tasks published so far."""
        return self.waiting + self.running + self.done


class View(Protocol):
    """Shows the demo as it goes on."""

    def say(self, text: str) -> None:
        """Tell what happens, for good."""

    def show(self, moment: Moment) -> None:
        """Show how things are."""


def drained(cordon: Cordon, hired: Mapping[str, float]) -> set[str]:
    """Those that a *cordon* drains, of workers *hired* at these times (the ledger's).

    Where others of the same names were drained before, their cordon is soon lifted.
    """
    return {name for name in cordon.since if cordon.at > hired.get(name, cordon.at)}


def doings(
    names: Sequence[str],
    hired: Collection[str],
    draining: Collection[str],
    presences: Sequence[Presence],
    now: float,
) -> dict[str, str]:
    """What the worker of each of *names* does, in a word."""
    heard = {p.name: p for p in presences if not p.silent(now)}

    def doing(name: str) -> str:
        presence = heard.get(name)
        if name not in hired:
            return "stopping" if presence else ""
        if presence is None:
            return "stopping" if name in draining else "starting"
        if name in draining:
            return "finishing" if presence.busy else "drained"
        return "working" if presence.busy else "idle"

    return {name: doing(name) for name in names}


class Boxes:
    """A terminal: a box for each worker."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._past: deque[Moment] = deque(maxlen=_MOST_SECONDS)
        self._last: Moment | None = None

    def say(self, text: str) -> None:
        self._live.console.print(Text(text))

    def show(self, moment: Moment) -> None:
        if not self._past or moment.elapsed - self._past[-1].elapsed >= 1.0:
            self._past.append(moment)
        last = self._last
        # Not more often than there is something new to see: a slow terminal would flicker.
        if last is None or _differ(moment, last) or moment.elapsed - last.elapsed >= 1.0:
            self._last = moment
            self._live.update(picture(moment, self._past, self._live.console.width), refresh=True)


class Lines:
    """No terminal: a line whenever something has changed, once a second at most."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last: Moment | None = None

    def say(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)

    def show(self, moment: Moment) -> None:
        last = self._last
        if last is None or (moment.elapsed - last.elapsed >= 1.0 and _differ(moment, last)):
            self._last = moment
            self.say(line(moment))


def picture(moment: Moment, past: Sequence[Moment], width: int) -> RenderableType:
    """The moment on a terminal of *width* columns, after those *past*, one a second."""
    bars = Table.grid(padding=(0, 2))
    for title, number, style in (
        ("waiting", moment.waiting, "yellow"),
        ("running", moment.running, "green"),
        ("done", moment.done, "cyan"),
    ):
        bar = ProgressBar(total=max(moment.total, 1), completed=number, width=width - _LABELS)
        bar.complete_style = bar.finished_style = style
        bars.add_row(Text(title, style), Text(f"{number:3d}"), bar)
    # As many as fit, in rows of the same length.
    in_a_row = next(n for n in (10, 5, 2, 1) if n * _BOX <= max(width, _BOX))
    boxes = Table.grid(padding=0)
    panels = [
        Panel(
            Text(doing or "-", justify="center"),
            title=name.strip() or None,
            style=STYLES[doing],
            width=_BOX,
        )
        for name, doing in moment.workers.items()
    ]
    for start in range(0, len(panels), in_a_row):
        boxes.add_row(*panels[start : start + in_a_row])
    seconds = [*past, moment][-(width - _LABELS) :]
    lines = Table.grid(padding=(0, 2))
    for title, values, style in (
        ("tasks", [one.waiting + one.running for one in seconds], "yellow"),
        ("workers", [sum(map(bool, one.workers.values())) for one in seconds], "green"),
    ):
        lines.add_row(Text(title, style), Text(f"{values[-1]:3d}"), Text(sparkline(values), style))
    night = "" if moment.hour is None else f", {moment.hour:02d}:00 at night"
    foot = f"{moment.elapsed:.0f} s{night}, {moment.paid:.0f} worker-seconds paid"
    return Group(bars, boxes, lines, Text(foot, style="dim"))


def line(moment: Moment) -> str:
    """The moment as plain text."""
    doing = Counter(doing for doing in moment.workers.values() if doing)
    workers = ", ".join(f"{doing[word]} {word}" for word in STYLES if doing[word]) or "none"
    tasks = f"{moment.waiting} waiting, {moment.running} running, {moment.done} done"
    return f"{moment.elapsed:5.1f} s  tasks: {tasks}; workers: {workers}"


def action_line(action: Mapping[str, Any]) -> str:
    """What was done about the quantity, in a line."""
    what = f"{action['action']} {action['from']} -> {action['to']}"
    return f"         {what}: {action['reason']}"


def rest_line(following: str | None, busy: bool, interval: float) -> str:
    """Why a fire was not of all that are to go.

    Args:
        following: the highest-numbered worker that is left; None: they leave one by one.
        busy: it runs a task.
        interval: seconds between two calls of the platform.
    """
    if following is None:
        why = "each leaves when it is drained"
    elif busy:
        why = f"the highest goes first, and {following} has a task to finish"
    else:
        why = f"{following} was not drained yet, and calls are {interval:.3g} s apart"
    return f"         Not all: {why}."


def _differ(one: Moment, other: Moment) -> bool:
    """In anything but the time and what is paid."""
    first, second = ((m.waiting, m.running, m.done, m.workers) for m in (one, other))
    return first != second
