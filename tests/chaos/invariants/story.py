"""A journal, indexed, and the verdict of an invariant on it."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.journal import Event
from tests.chaos.tasks import by_id, of_kind


@dataclass
class Verdict:
    """The verdict of one invariant: ``broken`` says where it broke, and is empty if it held."""

    name: str
    broken: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def held(self) -> bool:
        return not self.broken


#: A process starts until this long (s) after its first publish: meanwhile a thread imports what the
#: package needs, and shares the interpreter with publishing.
STARTS = 1.0


class Story:
    """A journal, indexed."""

    def __init__(self, events: Sequence[Event]) -> None:
        self.kinds = of_kind(events)
        self.tasks = by_id(events)
        self.settings = self.kinds["settings"][0]
        self.faults = self.kinds["fault"]
        self._windows = {
            what: _merged([(f["at"], f["until"]) for f in self.faults if f["what"] == what])
            for what in {f["what"] for f in self.faults}
        }
        #: Dynos that were stopped, by their first process.
        pids = {dyno["id"]: dyno["pid"] for dyno in self.kinds["dyno"]}
        self.stops = {
            (stop["name"], pids[stop["id"]]): stop
            for stop in self.kinds["stop"]
            if stop["id"] in pids
        }
        #: One-off dynos that ended, by their first process.
        self.gone = {gone["pid"]: gone for gone in self.kinds["gone"] if gone["pid"]}
        first = {p["pid"]: p["at"] + p["took"] for p in reversed(self.kinds["published"])}
        #: All but those of the first moments of each process.
        self.later_publishes = [
            p for p in self.kinds["published"] if p["at"] >= first[p["pid"]] + STARTS
        ]
        killed = [event for event in self.kinds["killed"] if event["sid"] is not None]
        self.killed_workers = {e["sid"]: e["at"] for e in killed if e["what"] != "child"}
        self.killed_children = {e["pid"]: e["at"] for e in killed if e["what"] == "child"}

    def stop_of(self, event: Event) -> Event | None:
        """The stop of the dyno that an event happened on, if it was stopped."""
        return self.stops.get((event["dyno"], event["sid"]))

    def was_killed(self, event: Event) -> bool:
        """Return whether the monkey killed the worker or child that an event happened in."""
        at = float(event["at"])
        worker = float(self.killed_workers.get(event["sid"], 0.0))
        child = float(self.killed_children.get(event["pid"], 0.0))
        return max(worker, child) >= at - 0.1

    def disturbed(self, what: str, begin: float, end: float) -> bool:
        """Return whether there was a fault of this sort between two times."""
        windows = self._windows.get(what, [])
        candidate = bisect_right(windows, (end, float("inf"))) - 1
        return candidate >= 0 and bool(windows[candidate][1] >= begin)


def _merged(windows: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The same times as windows that do not overlap, in order."""
    merged: list[tuple[float, float]] = []
    for begin, end in sorted(windows):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return merged


def count_of(events: Iterable[Event], fact: str) -> dict[str, int]:
    return dict(sorted(Counter(str(event[fact]) for event in events).items()))


def at_of(story: Story, event: Event, name: str = "at") -> str:
    """Format a time as seconds since the start of the run."""
    return f"{event[name] - story.settings['at']:.1f} s" if event else "?"


def quantities_around(story: Story, pool: str, begin: float, end: float) -> set[int]:
    """The quantities that a pool had between two times."""
    there = {int(story.settings["minimum"]) if pool in story.settings["types"] else 0}
    for change in story.kinds["change"]:
        if change["pool"] == pool and change["at"] <= begin:
            there = {int(change["after"])}
        elif change["pool"] == pool and change["at"] < end:
            there.add(int(change["after"]))
    return there
