"""Shows a moment of the demo, as boxes on a terminal or as a line of plain text."""

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


#: The width, in columns, of the text before a bar and of a box.
_LABELS, _BOX = 16, 14
_MOST_SECONDS = 200


@dataclass(frozen=True)
class Moment:
    """Everything that is shown at one time."""

    elapsed: float
    waiting: int
    running: int
    done: int
    #: The activity of each possible worker, in order; "" for one that is not hired.
    workers: Mapping[str, str]
    #: Worker-seconds so far.
    paid: float
    #: The hour of the night, or None by day.
    hour: int | None = None

    @property
    def total(self) -> int:
        """Tasks published so far."""
        return self.waiting + self.running + self.done


class View(Protocol):
    """Shows the demo while it is played."""

    def say(self, text: str) -> None:
        """Print *text*, which stays on the screen."""

    def show(self, moment: Moment) -> None:
        """Show *moment*, in place of the last one."""


def drained(cordon: Cordon, hired: Mapping[str, float]) -> set[str]:
    """The workers that *cordon* drains; *hired* tells when each was hired (the ledger's time).

    A worker hired after the cordon was set merely has the same name as one drained earlier.
    """
    return {name for name in cordon.since if cordon.at > hired.get(name, cordon.at)}


def activities(
    names: Sequence[str],
    hired: Collection[str],
    draining: Collection[str],
    presences: Sequence[Presence],
    now: float,
) -> dict[str, str]:
    """The activity of each worker of *names*, in a word."""
    reporting = {p.name: p for p in presences if not p.silent(now)}

    def activity(name: str) -> str:
        presence = reporting.get(name)
        if name not in hired:
            return "stopping" if presence else ""
        if presence is None:
            return "stopping" if name in draining else "starting"
        if name in draining:
            return "finishing" if presence.busy else "drained"
        return "working" if presence.busy else "idle"

    return {name: activity(name) for name in names}


class Boxes:
    """Shows a box for each worker, on a terminal."""

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
        # Only when something is new: a slow terminal would flicker.
        if last is None or _differ(moment, last) or moment.elapsed - last.elapsed >= 1.0:
            self._last = moment
            self._live.update(picture(moment, self._past, self._live.console.width), refresh=True)


class Lines:
    """Prints a line when something has changed, once a second at most; needs no terminal."""

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
    """Draw *moment* on *width* columns, after the *past* ones, one a second."""
    bars = Table.grid(padding=(0, 2))
    for title, number, style in (
        ("waiting", moment.waiting, "yellow"),
        ("running", moment.running, "green"),
        ("done", moment.done, "cyan"),
    ):
        bar = ProgressBar(total=max(moment.total, 1), completed=number, width=width - _LABELS)
        bar.complete_style = bar.finished_style = style
        bars.add_row(Text(title, style), Text(f"{number:3d}"), bar)
    # As many boxes as fit, in rows of equal length.
    in_a_row = next(n for n in (10, 5, 2, 1) if n * _BOX <= max(width, _BOX))
    boxes = Table.grid(padding=0)
    panels = [
        Panel(
            Text(activity or "-", justify="center"),
            title=name.strip() or None,
            style=STYLES[activity],
            width=_BOX,
        )
        for name, activity in moment.workers.items()
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
    """Format *moment* as plain text."""
    number = Counter(activity for activity in moment.workers.values() if activity)
    workers = ", ".join(f"{number[word]} {word}" for word in STYLES if number[word]) or "none"
    tasks = f"{moment.waiting} waiting, {moment.running} running, {moment.done} done"
    return f"{moment.elapsed:5.1f} s  tasks: {tasks}; workers: {workers}"


def action_line(action: Mapping[str, Any]) -> str:
    """Format an entry of the history as a line; a trouble has no quantities."""
    change = f" {action['from']} -> {action['to']}" if "to" in action else ""
    return f"         {action['action']}{change}: {action['reason']}"


def rest_line(following: str | None, busy: bool, interval: float) -> str:
    """Explain why a fire left more workers than needed.

    Args:
        following: the highest-numbered worker that is left; None: workers leave one by one.
        busy: True if that worker runs a task.
        interval: seconds between two calls to the platform.
    """
    if following is None:
        why = "each leaves when it is drained"
    elif busy:
        why = f"the highest number goes first, and {following} is still busy"
    else:
        why = f"{following} was not drained yet, and calls are {interval:.3g} s apart"
    return f"         Not all: {why}."


def _differ(one: Moment, other: Moment) -> bool:
    """Return True if the moments differ in more than the time and the cost."""
    first, second = ((m.waiting, m.running, m.done, m.workers) for m in (one, other))
    return first != second
