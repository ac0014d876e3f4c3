"""The lives of the tasks, assembled from a journal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from .journal import Event


@dataclass
class Task:
    """What the journal says about one task."""

    id: str
    published: Event | None = None
    received: list[Event] = field(default_factory=list)
    begun: list[Event] = field(default_factory=list)
    ended: list[Event] = field(default_factory=list)
    revoked: bool = False
    purged: bool = False

    @property
    def done(self) -> bool:
        return any(end["how"] == "done" for end in self.ended)

    @property
    def owed(self) -> bool:
        """True if it was surely published and not taken back."""
        return self.published is not None and not self.revoked and not self.purged

    def unended(self) -> list[Event]:
        """Its beginnings without an end, or with an end that it did not reach by itself."""
        ended = {_attempt(end) for end in self.ended if not end["how"].startswith("aborted")}
        return [begin for begin in self.begun if _attempt(begin) not in ended]

    def ended_by(self, begin: Event, at: float) -> bool:
        """Return whether the run that began so had ended, in any way, before a time."""
        return any(_attempt(end) == _attempt(begin) and float(end["at"]) < at for end in self.ended)

    def repeated(self) -> list[tuple[Event, Event]]:
        """Pairs of beginnings of the same run."""
        first: dict[int, Event] = {}
        pairs = []
        for begin in sorted(self.begun, key=lambda event: float(event["at"])):
            if begin["run"] in first:
                pairs.append((first[begin["run"]], begin))
            else:
                first[begin["run"]] = begin
        return pairs


def _attempt(event: Event) -> tuple[int, int, int]:
    return event["run"], event["pid"], event["sid"]


def by_id(events: Iterable[Event]) -> dict[str, Task]:
    """Every task of ours in the events, without those of the plain publishers."""
    tasks: dict[str, Task] = {}
    plain = set()

    def of(task_id: str) -> Task:
        return tasks.setdefault(task_id, Task(task_id))

    for event in events:
        kind = event["kind"]
        if kind == "published":
            of(event["id"]).published = event
            if event["plain"]:
                plain.add(event["id"])
        elif kind in ("received", "begun", "ended"):
            getattr(of(event["id"]), kind).append(event)
        elif kind == "revoked":
            of(event["id"]).revoked = True
        elif kind == "purged":
            for task_id in event["ids"]:
                of(task_id).purged = True
    return {task_id: task for task_id, task in tasks.items() if task_id not in plain}


def of_kind(events: Iterable[Event]) -> dict[str, list[Event]]:
    """The events by kind, in order of time."""
    kinds: dict[str, list[Event]] = defaultdict(list)
    for event in sorted(events, key=lambda event: float(event["at"])):
        kinds[event["kind"]].append(event)
    return kinds
