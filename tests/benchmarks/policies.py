"""Writes docs/policies.md: what each policy costs, and how long tasks wait, on several traces.

    python -m tests.benchmarks.policies TRACES_DIRECTORY --days 1 --cache /tmp/policies

The page has a row for every combination of a trace, run times, a concurrency and a policy. The ones
that are likely to take the longest are simulated last. Every result is kept in the cache, so that a
run which is interrupted, or which was told to do only a part, can be continued; but only with the
same simulator. Whoever wants to change it meanwhile runs the command in a copy.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
import tempfile
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from celery_middle_management import __version__
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
from celery_middle_management.sim.floor import floor
from celery_middle_management.sim.prices import PRICES
from celery_middle_management.sim.report import figures, plot_svg
from tests.servers import ROOT

#: The means (s) of the run times that are drawn where a trace has none, and their sigma.
MEANS, SIGMA = (0.2, 2.0, 20.0, 120.0), 1.0
CONCURRENCIES = (1, 4)
OURS = tuple(f"jobs_per_worker:{jobs}" for jobs in (10, 2, 1))
#: ``fixed`` has 1.2 times the workers that would be just enough if tasks came evenly.
RIVALS = (
    *("fixed:N", "hirefire:5", "hirefire:5@15", "judoscale", "keda:5", "aws:5"),
    *("original:10", "original:1"),
)
SPARE = 1.2
#: The rooms whose code decides what comes of a simulation.
ROOMS = ("core", "evaluation", "ledger", "settings", "sim")
#: So many that no policy should ever be limited.
MAXIMUM = 1000
DAY = 86_400.0
_SIZE = "standard-1x"
_HEADS = (
    *("concurrency", "policy", "paid hours", "waste hours", "mean wait", "p95 wait"),
    *("longest wait", "killed", "calls", "floor hours"),
)


class Load(NamedTuple):
    """A trace file, the mean (s) of the run times to draw, and of how many days; None: its own."""

    path: Path
    digest: str
    seed: int
    mean: float | None = None
    days: int | None = None

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


def loads(directory: Path, days: int | None, seed: int) -> Iterator[Load]:
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
    workers = trace.work / concurrency * (2e-5 + 7e-5 / int(jobs))
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
        waste=outcome.paid - trace.work / model.concurrency,
        floor=floor(trace, model, outcome.waits.p95, least=outcome.least),
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
                _say(f"time is up: {len(wanted) - number + 1} combinations are left out")
                return
            passed = figures.wait(time.monotonic() - began)
            took = figures.wait(row.took)
            _say(f"[{number}/{len(wanted)}, {passed}] {combination.name}: {took}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


# -- the summary


def verdict(ours: Row, rivals: Row) -> str:
    """Return ``better``, ``worse`` or ``mixed``.

    Better is less waste and a p95 wait that is no longer; worse is more waste and one that is no
    shorter. Whoever leaves tasks unfinished is no better.
    """
    waste = round(ours.waste - rivals.waste, 1)
    wait = round(ours.outcome.waits.p95 - rivals.outcome.waits.p95, 3)
    if waste < 0 and wait <= 0 and not ours.outcome.unfinished:
        return "better"
    if waste > 0 and wait >= 0 and not rivals.outcome.unfinished:
        return "worse"
    return "mixed"


def verdicts(rows: Rows) -> dict[tuple[str, str], Counter[str]]:
    """Return for each of our variants and each rival how often it is what."""
    found: dict[tuple[str, str], Counter[str]] = {}
    for ours, row in rows.items():
        for its, rivals in rows.items():
            same = (ours.load, ours.concurrency) == (its.load, its.concurrency)
            if same and ours.kind in OURS and its.kind not in OURS:
                pair = ours.variant, its.variant
                found.setdefault(pair, Counter())[verdict(row, rivals)] += 1
    return found


def summary(rows: Rows) -> Iterator[str]:
    """Yield the lines of the summary."""
    found = verdicts(rows)
    ours, rivals = (list(dict.fromkeys(names)) for names in zip(*found, strict=True))
    total = sum(found.values(), Counter[str]())
    yield (
        f"Of {total.total():,} comparisons, one of Middle Management's variants is better in "
        f"{total['better']:,}, worse in {total['worse']:,}, and {total['mixed']:,} are mixed. A "
        "cell counts the combinations as better / worse / mixed:"
    )
    yield ""
    yield from _table(
        ["", *(f"than {_code(rival)}" for rival in rivals), "in all"],
        (
            [
                _code(one),
                *(_counts(found.get((one, rival), Counter())) for rival in rivals),
                _counts(sum((found.get((one, its), Counter()) for its in rivals), Counter())),
            ]
            for one in ours
        ),
        words=1,
    )


def _counts(counter: Counter[str]) -> str:
    return " / ".join(str(counter[word]) for word in ("better", "worse", "mixed"))


# -- the page


def page(all_: Sequence[Combination], rows: Rows, command: str) -> str:
    """Return the page. What was not simulated has a row, too."""
    chapters = [_head(all_, rows, command), _summary_chapter(rows)]
    for load in dict.fromkeys(combination.load for combination in all_):
        trace = trace_of(load)
        chapters.append([f"## {load.name}", "", _size(trace), ""])
        own = [combination for combination in all_ if combination.load == load]
        chapters[-1] += _table(_HEADS, (_cells(one, rows.get(one)) for one in own), words=2)
    return "\n\n".join("\n".join(chapter) for chapter in chapters) + "\n"


def _head(all_: Sequence[Combination], rows: Rows, command: str) -> list[str]:
    dates = sorted({row.date for row in rows.values()})
    on = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    shown = telling(rows)
    left_out = "" if len(rows) == len(all_) else " The others are in the tables without figures."
    used = {one.load.path: one.load for one in all_}
    return [
        "# Policies compared",
        "",
        "What each policy would have cost, and how long tasks would have waited, by the simulator "
        f"of [`celery mm simulate`](simulate.md). This page was written by `{command}` with "
        f"version {__version__} of the package, simulated on {on} with "
        f"seed {all_[0].load.seed}. Of {len(all_)} combinations {len(rows)} were simulated."
        f"{left_out}",
        "",
        f"![Cost against p95 wait: {_title(shown)}](policies.svg)",
        "",
        "The traces:",
        "",
        *(_about(load) for load in used.values()),
        "",
        "What is assumed, and what to keep in mind:",
        "",
        *_caveats(all_[0].model, rows),
    ]


def _about(load: Load) -> str:
    size = _size(trace_of(load), work=load.mean is None)
    if load.mean is None:
        return f"- `{load.path.name}`: {size} Run times are the recorded ones."
    days = f", the first {24 * load.days} hours" if load.days else ""
    *means, last = (f"{mean:g}" for mean in MEANS)
    return (
        f"- `{load.path.name}`{days}: {size} Only the number of arrivals in each second was "
        "recorded. Each task comes at a random moment of its second. **Run times are drawn, not "
        f"recorded**: lognormal with sigma {SIGMA:g} and a mean of {', '.join(means)} or {last} s."
    )


def _size(trace: Trace, *, work: bool = True) -> str:
    hours = f", {figures.hours(trace.work / 3600)} hours of work" if work else ""
    return f"{trace.tasks:,} tasks in {figures.wait(trace.span)}{hours}."


def _caveats(model: Model, rows: Rows) -> list[str]:
    peak = max(rows.values(), key=lambda row: row.outcome.peak_workers).outcome
    limited = [one.name for one, row in rows.items() if row.outcome.peak_workers >= MAXIMUM]
    limit = (
        f"It limited these all the same: {'; '.join(limited)}."
        if limited
        else f"None had more than {peak.peak_workers:,}."
    )
    unfinished = sum(row.outcome.unfinished > 0 for row in rows.values())
    return [
        f"- A worker boots for {model.boot:g} s, holds {model.prefetch} task per slot, takes "
        f"{model.shutdown:g} s to end, and is killed {model.grace:g} s after SIGTERM. A change "
        f"takes effect after {model.latency:g} s. `call_interval` is {model.call_interval:g} s.",
        f"- There are 0 to {MAXIMUM:,} workers, so that the maximum limits no policy. {limit} "
        "Heroku itself would refuse more than 100 in a formation, and more than 50 one-off dynos.",
        f"- `fixed:N` has {SPARE:g} x work / (concurrency x time) workers, rounded up: as if the "
        "load had been known in advance. At peaks that is too few. It is paid for until the last "
        "task has ended.",
        "- The rivals are modelled by their documentation, and not measured. Their ratios and "
        "thresholds are one choice of many; others trade cost for waits. Nobody has a minimum of "
        "workers, though some rivals would need one: they are slow to hire the first.",
        "- Ratios are of tasks to workers, not to slots: a worker of four slots for each task or "
        "two is a waste. The gem's workers had one slot; with four it never existed.",
        "- When there are to be fewer workers, those with the highest numbers get SIGTERM. That is "
        "Heroku's rule; it is also applied to KEDA and AWS.",
        "- A task that was killed is back in its queue at once and runs again. The time that its "
        "killed run took is paid for and does not count as a wait. So policies that kill look "
        "better here than they are.",
        "- Paid time counts until the last worker has gone, however long after the last task. If "
        "the trace is short, or there are many workers at its end, that is most of the waste of a "
        "policy that is slow to let go: Judoscale fires one worker in ten minutes.",
        "- A policy that never lets a task finish is broken off sooner or later. That happened in "
        f"{unfinished} combinations; they are marked *unfinished*, and their hours and waits are "
        "only those of what was simulated.",
        "- *Waste* is paid hours - work / concurrency. The *floor* is a bound on the paid hours of "
        "any policy with the same p95 wait, which may be far below what is possible.",
        "- There is one run with one seed for each combination: small differences mean nothing.",
    ]


def _summary_chapter(rows: Rows) -> list[str]:
    return [
        "## Summary",
        "",
        "*Better* is less waste and a p95 wait that is no longer, *worse* is more waste and a p95 "
        "wait that is no shorter, all else is *mixed*. Who leaves tasks unfinished is no better. "
        "What was not simulated is not counted.",
        "",
        *summary(rows),
    ]


def _cells(combination: Combination, row: Row | None) -> list[str]:
    names = [str(combination.concurrency), _code(combination.label)]
    if row is None:
        return [*names, "not simulated", *[""] * (len(_HEADS) - 3)]
    outcome = row.outcome
    unfinished = f" ({figures.count(outcome.unfinished)} unfinished)" if outcome.unfinished else ""
    return [
        *names,
        figures.hours(outcome.paid_hours),
        figures.hours(row.waste / 3600),
        figures.wait(outcome.waits.mean),
        figures.wait(outcome.waits.p95),
        figures.wait(outcome.waits.max),
        figures.count(outcome.killed) + unfinished,
        figures.count(outcome.calls),
        figures.hours(row.floor / 3600),
    ]


def _code(label: str) -> str:
    name, comma, rest = label.partition(",")
    return f"`{name}`{comma}{rest}"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], words: int) -> Iterator[str]:
    """Yield a table of which the first columns have *words*, the others numbers."""
    yield _line(heads)
    yield _line(["---"] * words + ["---:"] * (len(heads) - words))
    yield from map(_line, rows)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


# -- the plot


def telling(rows: Rows) -> list[Combination]:
    """Return the combinations of the plot: as complete as possible, and with long tasks."""
    groups: dict[tuple[Load, int], list[Combination]] = {}
    for one in rows:
        groups.setdefault((one.load, one.concurrency), []).append(one)
    return max(groups.values(), key=lambda group: (len(group), group[0].load.mean == 20.0))


def _title(shown: Sequence[Combination]) -> str:
    return f"{shown[0].load.name}, concurrency {shown[0].concurrency}"


def plot(rows: Rows) -> str:
    """Return the plot of the most telling combinations."""
    shown = telling(rows)
    return plot_svg([rows[one].outcome for one in shown], PRICES[_SIZE], _title(shown))


# -- the command


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    options = _options(arguments)
    with tempfile.TemporaryDirectory(prefix="policies-") as temporary:
        cache = options.cache or Path(temporary)
        cache.mkdir(parents=True, exist_ok=True)
        try:
            found = [*loads(options.traces, options.days, options.seed)]
            all_ = [one for load in found for one in combinations(load)]
        except TraceError as error:
            raise SystemExit(str(error)) from None
        if not all_:
            raise SystemExit(f"{options.traces}: no trace")
        wanted = [one for one in all_ if not options.only or options.only.search(one.name)]
        rows = _kept(all_, cache)
        _say(f"{len(all_)} combinations; the cache has {len(rows)}")
        missing = [one for one in wanted if one not in rows]
        if missing and options.minutes > 0:
            simulate_all(missing, cache, options.jobs, options.minutes)
        rows = _kept(all_, cache)
    if not verdicts(rows):
        raise SystemExit("there is nothing to compare; simulate one of ours and one rival at least")
    options.into.joinpath("policies.md").write_text(page(all_, rows, _command(options)), "utf-8")
    options.into.joinpath("policies.svg").write_text(plot(rows), "utf-8")


def _kept(all_: Sequence[Combination], cache: Path) -> dict[Combination, Row]:
    return {one: row for one in all_ if (row := kept_row(one, cache))}


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("traces", type=Path, help="a directory of traces: *.csv and *.csv.gz")
    add("--days", type=int, help="of traces without run times use the first so many")
    add("--only", type=re.compile, help="simulate only what this regular expression is found in")
    add("--minutes", type=float, default=1e6, help="stop after so many; 0: write what is cached")
    add("--jobs", type=int, default=2, help="processes (default 2)")
    add("--seed", type=int, default=0)
    add("--cache", type=Path, help="a directory that keeps results for later runs")
    add("--into", type=Path, default=ROOT / "docs", help="the directory to write to")
    return parser.parse_args(arguments)


def _command(options: argparse.Namespace) -> str:
    """Return the command, without what makes no difference to the page."""
    words = ["python", "-m", "tests.benchmarks.policies", options.traces.absolute().name]
    words += ["--days", str(options.days)] if options.days else []
    words += ["--only", options.only.pattern] if options.only else []
    words += ["--seed", str(options.seed)] if options.seed else []
    return shlex.join(words)


if __name__ == "__main__":
    main()
