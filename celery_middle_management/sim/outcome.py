"""What a policy would have cost, and how long tasks would have waited."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from math import ceil, fsum
from typing import Any, NamedTuple

#: The hours of a month by which clouds turn a monthly price into an hourly one.
HOURS_A_MONTH = 730.0


class Waits(NamedTuple):
    """Statistics of waits (s)."""

    mean: float = 0.0
    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    max: float = 0.0


class Moment(NamedTuple):
    """What there was at one moment (s)."""

    at: float
    workers: int
    waiting: int
    running: int


@dataclass(frozen=True)
class Outcome:
    """The outcome of one policy on one trace."""

    policy: str
    #: The time (s) for which workers were paid, each from its hire to its exit.
    paid: float
    waits: Waits
    #: Runs that were cut short, each of which began again later.
    killed: int
    hires: int
    #: Requests to the platform that changed something.
    calls: int
    #: The part of the paid slots' time that was spent on the work.
    efficiency: float
    peak_workers: int
    #: Evenly spread over the time that it took.
    timeline: tuple[Moment, ...] = field(default=(), repr=False)
    #: The longest wait (s) of the tasks published between one moment of the timeline and the next.
    longest_waits: tuple[float, ...] = field(default=(), repr=False)
    #: Tasks that were left when the simulation was broken off; they have waited until then.
    unfinished: int = 0
    #: The workers that were there before the first task, and stayed.
    least: int = 0
    #: The part of *paid* that came after the last task had ended.
    tail: float = 0.0

    @property
    def paid_hours(self) -> float:
        """The hours for which workers were paid."""
        return self.paid / 3600

    def dollars(self, monthly: float) -> float:
        """Return what the workers cost if one costs *monthly* dollars a month."""
        return self.paid_hours * monthly / HOURS_A_MONTH

    def as_json(self, monthly: float) -> dict[str, Any]:
        """Return the outcome for programs, with waits in seconds."""
        return {
            "policy": self.policy,
            "paid_hours": round(self.paid_hours, 6),
            "tail_hours": round(self.tail / 3600, 6),
            "dollars": round(self.dollars(monthly), 6),
            "wait": {name: round(wait, 3) for name, wait in self.waits._asdict().items()},
            "killed": self.killed,
            "hires": self.hires,
            "calls": self.calls,
            "efficiency": round(self.efficiency, 6),
            "peak_workers": self.peak_workers,
            "unfinished": self.unfinished,
        }


def waits_of(waits: array[float]) -> Waits:
    """Return statistics of waits (s). The p95 is the least wait that 95 % do not exceed."""
    if not waits:
        return Waits()
    ordered = array("d", sorted(waits))
    count = len(ordered)
    p50, p95, p99 = (ordered[ceil(part * count / 100) - 1] for part in (50, 95, 99))
    return Waits(fsum(ordered) / count, p50, p95, p99, ordered[-1])
