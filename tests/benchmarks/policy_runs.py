"""Simulates policies on traces, and keeps the results for later runs of the same simulator."""

from __future__ import annotations

import json
import sys
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from functools import cache
from hashlib import sha256
from math import ceil
from multiprocessing import TimeoutError as TookTooLong
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple, TypeAlias

import celery_middle_management
from celery_middle_management.sim import (
    Model,
    Outcome,
    RunTimes,
    Trace,
    TraceError,
    Waits,
    policy_named,
    read_trace,
    simulate,
)
from celery_middle_management.sim.floor import floor_of
from celery_middle_management.sim.report import figures

#: The means (s) of the run times that are drawn where a trace has none, and their sigma.
MEANS, SIGMA = (0.2, 2.0, 20.0, 120.0), 1.0
CONCURRENCIES = (1, 4)
AUTO = "jobs_per_worker:auto"
NUMBERS = tuple(f"jobs_per_worker:{jobs}" for jobs in (50, 20, 10, 5, 2, 1))
OURS = ("max_wait:60", "max_wait:20", AUTO, *NUMBERS)
#: ``fixed`` has 1.2 times the workers that would be just enough if tasks came evenly.
RIVALS = (
    *("fixed:N", "hirefire:5", "hirefire:5@15", "hirefire:1@15", "judoscale", "keda:5", "keda:1"),
    *("aws:5", "aws:1", "original:10", "original:1"),
)
SPARE = 1.2
#: The rooms whose code decides what comes of a simulation.
ROOMS = ("core", "evaluation", "ledger", "settings", "sim")
#: So many that no policy should ever be limited.
MAXIMUM = 1000
DAY = 86_400.0


class Load(NamedTuple):
    """A trace file, the mean (s) of the run times to draw, and of how many days; None: its own."""

    path: Path
    digest: str
    seed: int
    mean: float | None = None
    days: float | None = None

    @property
    def name(self) -> str:
        name = self.path.name.removesuffix(".gz").removesuffix(".csv")
        times = "its own run times" if self.mean is None else f"run times of {self.mean:g} s"
        return f"{name}, {times}"


class Combination(NamedTuple):
    """What is simulated in one go. *kind* is the policy's name with an N in place of a number."""

    load: Load
    concurrency: int
    policy: str
    kind: str
    one_off: bool = False

    @property
    def label(self) -> str:
        return f"{self.policy}, one-off" if self.one_off else self.policy

    @property
    def variant(self) -> str:
        return f"{self.kind}, one-off" if self.one_off else self.kind

    @property
    def name(self) -> str:
        """What ``--only`` looks at."""
        return f"{self.load.name}, concurrency {self.concurrency}, {self.label}"

    @property
    def model(self) -> Model:
        return Model(
            maximum=MAXIMUM,
            concurrency=self.concurrency,
            one_off=self.one_off,
            seed=self.load.seed,
        )

    def file(self, cache: Path) -> Path:
        """Where its result is kept."""
        load = self.load
        key = [simulator(), load.digest, load.mean, SIGMA, load.days]
        text = json.dumps([*key, self.policy, asdict(self.model)])
        return cache / f"{sha256(text.encode()).hexdigest()[:32]}.json"


@dataclass(frozen=True)
class Row:
    """The figures of a combination. Times are in seconds."""

    outcome: Outcome
    #: What was paid until the last task had ended, minus the work / concurrency.
    waste: float
    floor: float
    #: How long the simulation took, and its date.
    took: float
    date: str


Rows: TypeAlias = Mapping[Combination, Row]


# -- what is to be simulated


@cache
def simulator() -> str:
    """Return a digest of the simulator's code, as it was at first."""
    package = Path(celery_middle_management.__file__).parent
    files = sorted(file for room in ROOMS for file in package.joinpath(room).rglob("*.py"))
    return sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


@cache
def trace_of(load: Load) -> Trace:
    """Read the part of a trace that is used."""
    runtime = None if load.mean is None else RunTimes(load.mean, SIGMA)
    trace = read_trace(load.path, runtime=runtime, seed=load.seed)
    if load.days is None:
        return trace
    end = bisect_left(trace.published, load.days * DAY)
    return replace(trace, published=trace.published[:end], runtimes=trace.runtimes[:end])


def loads(directory: Path, days: float | None, seed: int) -> Iterator[Load]:
    """Yield what is made of each trace file of a directory."""
    for path in sorted([*directory.glob("*.csv"), *directory.glob("*.csv.gz")]):
        load = Load(path, sha256(path.read_bytes()).hexdigest(), seed)
        try:
            trace_of(load)
        except TraceError:  # It has no run times; if it is no trace at all, the next reading fails.
            yield from (load._replace(mean=mean, days=days) for mean in MEANS)
        else:
            yield load


def combinations(load: Load) -> Iterator[Combination]:
    """Yield the combinations of a load in the order of the page."""
    trace = trace_of(load)
    for concurrency in CONCURRENCIES:
        for policy in OURS:
            for one_off in (False, True):
                yield Combination(load, concurrency, policy, policy, one_off)
        slots = SPARE * trace.work / max(trace.span, 1.0)
        number = str(max(ceil(slots / concurrency), 1))
        for kind in RIVALS:
            yield Combination(load, concurrency, kind.replace("N", number), kind)


def expected(combination: Combination) -> float:
    """Return about how long (s) it takes.

    Each worker of Middle Management's reports every second. The gem decides at every event, of
    which there are the more, the more tasks it kills.
    """
    trace, concurrency = trace_of(combination.load), combination.concurrency
    kind, _, jobs = combination.policy.partition(":")
    if kind == "original":
        return trace.tasks * 1e-4 + trace.work * (concurrency - 1) * 3e-5 / int(jobs)
    if combination.kind not in OURS:
        return trace.tasks * 1e-5
    each = int(jobs) if kind == "jobs_per_worker" and jobs.isdigit() else 10
    workers = trace.work / concurrency * (2e-5 + 7e-5 / each)
    return (trace.tasks * 1e-4 + workers) * (1.6 if combination.one_off else 1.0)


# -- simulating


def row_of(job: tuple[Combination, Path]) -> tuple[Combination, Row]:
    """Simulate a combination, and keep the result in a file."""
    combination, file = job
    began = time.perf_counter()
    trace, model = trace_of(combination.load), combination.model
    outcome = simulate(trace, policy_named(combination.policy), model)
    outcome = replace(outcome, policy=combination.label, timeline=(), longest_waits=())
    row = Row(
        outcome,
        waste=outcome.paid - outcome.tail - trace.work / model.concurrency,
        floor=floor_of(trace, model, outcome),
        took=time.perf_counter() - began,
        date=f"{datetime.now(timezone.utc):%Y-%m-%d}",
    )
    kept = asdict(row)
    kept["outcome"]["waits"] = outcome.waits._asdict()
    part = file.with_suffix(".part")
    part.write_text(json.dumps(kept), encoding="utf-8")
    part.replace(file)
    return combination, row


def kept_row(combination: Combination, cache: Path) -> Row | None:
    """Return the result of an earlier run."""
    try:
        kept = json.loads(combination.file(cache).read_text("utf-8"))
    except FileNotFoundError:
        return None
    found = kept.pop("outcome")
    found |= {"waits": Waits(**found["waits"]), "timeline": (), "longest_waits": ()}
    return Row(Outcome(**found), **kept)


def simulate_all(wanted: Sequence[Combination], cache: Path, jobs: int, minutes: float) -> None:
    """Simulate combinations, the cheapest first, until there are no more or time is up."""
    began = time.monotonic()
    wanted = sorted(wanted, key=expected)
    with get_context("spawn").Pool(min(jobs, len(wanted)) or 1) as pool:
        results = pool.imap_unordered(row_of, [(one, one.file(cache)) for one in wanted])
        for number in range(1, len(wanted) + 1):
            try:
                left = began + 60 * minutes - time.monotonic()
                combination, row = results.next(max(left, 0.0))
            except TookTooLong:
                say(f"time is up: {len(wanted) - number + 1} combinations are left out")
                return
            passed = figures.wait(time.monotonic() - began)
            took = figures.wait(row.took)
            say(f"[{number}/{len(wanted)}, {passed}] {combination.name}: {took}")


def say(line: str) -> None:
    """Tell how it goes."""
    print(line, file=sys.stderr, flush=True)
