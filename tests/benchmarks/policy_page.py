"""The page docs/policies.md: how each policy did on each load, and its plot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeAlias

from celery_middle_management import __version__
from celery_middle_management.sim import Model, Trace
from celery_middle_management.sim.prices import PRICES
from celery_middle_management.sim.report import figures, plot_svg
from tests.benchmarks.policy_runs import (
    AUTO,
    MAXIMUM,
    MEANS,
    NUMBERS,
    OURS,
    SIGMA,
    SPARE,
    Combination,
    Load,
    Row,
    Rows,
    trace_of,
)

_SIZE = "standard-1x"
_HEADS = (
    *("concurrency", "policy", "paid hours", "waste hours", "tail hours", "mean wait", "p95 wait"),
    *("longest wait", "killed", "calls", "floor hours"),
)


# -- the summary

Pair: TypeAlias = tuple[Combination, Combination]


def verdict(ours: Row, rivals: Row) -> str:
    """Return ``better``, ``worse`` or ``mixed``, by the figures as the page shows them.

    Better is less waste and a p95 wait that is no longer, or as much waste and a shorter one; worse
    is the other way round. A policy that leaves tasks unfinished is never better.
    """
    waste = _order(ours.waste / 3600, rivals.waste / 3600, figures.hours)
    wait = _order(ours.outcome.waits.p95, rivals.outcome.waits.p95, figures.wait)
    if max(waste, wait) <= 0 and waste + wait < 0 and not ours.outcome.unfinished:
        return "better"
    if min(waste, wait) >= 0 and waste + wait > 0 and not rivals.outcome.unfinished:
        return "worse"
    return "mixed"


def _order(ours: float, rivals: float, words: Callable[[float], str]) -> int:
    """Return -1 if ours is less, 1 if it is more, and 0 if no difference is shown."""
    return 0 if words(ours) == words(rivals) else (ours > rivals) - (ours < rivals)


def verdicts(rows: Rows) -> dict[Pair, str]:
    """Return what each of our results is, compared with each rival's on the same load."""
    return {
        (ours, its): verdict(row, rivals)
        for ours, row in rows.items()
        for its, rivals in rows.items()
        if (ours.load, ours.concurrency) == (its.load, its.concurrency)
        and (ours.kind in OURS, its.kind in OURS) == (True, False)
    }


class Score(NamedTuple):
    """How often something was beaten, as sets of results."""

    rivals: set[Combination]
    ours: set[Combination]
    #: The rivals' results that one of ours beats, ours that a rival's beats, and such rivals.
    beaten: set[Combination]
    lost: set[Combination]
    to: set[Combination]

    @property
    def cells(self) -> list[str]:
        return [
            f"{len(self.beaten)} of {len(self.rivals)}",
            f"{len(self.lost)} of {len(self.ours)}",
        ]


def score(pairs: Mapping[Pair, str]) -> Score:
    """Return how often each side is beaten."""
    worse = [pair for pair, word in pairs.items() if word == "worse"]
    return Score(
        rivals={its for _, its in pairs},
        ours={ours for ours, _ in pairs},
        beaten={its for (_, its), word in pairs.items() if word == "better"},
        lost={ours for ours, _ in worse},
        to={its for _, its in worse},
    )


def summary(rows: Rows) -> Iterator[str]:
    """Yield the lines of the summary."""
    pairs = verdicts(rows)
    beaten, lost = score(pairs).cells
    yield (
        "Rivals' results that one of Middle Management's variants beats, in waste and in p95 wait: "
        f"{beaten}. Its own results that a rival beats: {lost}. By load:"
    )
    yield ""
    heads = ["load", "concurrency", "rivals beaten", "own variants beaten", "by"]
    yield from _table(heads, _by_load(pairs), words=1)
    yield from ("", "By rival, on all loads:", "")
    heads = ["rival", "its results beaten", "own results that it beats", "runs of tasks killed"]
    yield from _table(heads, _by_rival(rows, pairs), words=1)
    yield from ("", _of_auto(rows))


def _by_load(pairs: Mapping[Pair, str]) -> Iterator[list[str]]:
    for load, concurrency in dict.fromkeys((ours.load, ours.concurrency) for ours, _ in pairs):
        found = score(
            {
                pair: word
                for pair, word in pairs.items()
                if (pair[0].load, pair[0].concurrency) == (load, concurrency)
            }
        )
        winners = ", ".join(sorted(_code(its.label) for its in found.to))
        yield [load.name, str(concurrency), *found.cells, winners]


def _by_rival(rows: Rows, pairs: Mapping[Pair, str]) -> Iterator[list[str]]:
    killed = Counter[str]()
    for one, row in rows.items():
        killed["" if one.kind in OURS else one.variant] += row.outcome.killed
    for rival in dict.fromkeys(its.variant for _, its in pairs):
        own = {pair: word for pair, word in pairs.items() if pair[1].variant == rival}
        yield [_code(rival), *score(own).cells, figures.count(killed[rival])]
    yield ["Middle Management", "", "", figures.count(killed[""])]


def dominated(rows: Rows) -> list[Combination]:
    """Return the results of "auto" that a number has less waste and a shorter p95 wait than."""
    return [
        auto
        for auto, row in rows.items()
        if auto.kind == AUTO
        and any(
            other.waste < row.waste and other.outcome.waits.p95 < row.outcome.waits.p95
            for one, other in rows.items()
            if one.kind in NUMBERS and auto._replace(policy=one.policy, kind=one.kind) == one
        )
    ]


def _of_auto(rows: Rows) -> str:
    own = [one for one in rows if one.kind == AUTO]
    lost = dominated(rows)
    names = f": {'; '.join(one.name for one in lost)}" if lost else ""
    return (
        f"`{AUTO}` has both more waste and a longer p95 wait than one of the numbers in "
        f"{len(lost)} of its {len(own)} results{names}."
    )


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
    missing = len(all_) - len(rows)
    left_out = f" Of {len(all_)} combinations {missing} were left out." if missing else ""
    used = {one.load.path: one.load for one in all_}
    return [
        "# Policies compared",
        "",
        "What each policy would have cost, and how long tasks would have waited, by the simulator "
        f"of [`celery mm simulate`](simulate.md). This page was written by `{command}` with "
        f"version {__version__} of the package, simulated on {on} with "
        f"seed {all_[0].load.seed}.{left_out}",
        "",
        f"![Cost against p95 wait: {_title(shown)}](policies.svg)",
        "",
        f"The plot has the cost of {_SIZE} dynos until the last task had ended.",
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
    days = f", the first {24 * load.days:g} hours" if load.days else ""
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
        "thresholds are some of many; others trade cost for waits. No policy has a minimum "
        "of workers, though some rivals would need one: they are slow to hire the first.",
        "- KEDA counts waiting tasks, as its scaler of Redis lists does; that of RabbitMQ can "
        "count running ones, too.",
        "- Ratios are of tasks to workers, not to slots: with four slots, a worker for each task "
        "or two is a waste. The workers of the gem, `original`, had one slot.",
        "- When there are to be fewer workers, those with the highest numbers get SIGTERM. That is "
        "Heroku's rule; it is also applied to KEDA and AWS.",
        "- A task that was killed is back in its queue at once and runs again. The time that its "
        "killed run took is paid for and does not count as a wait. So policies that kill look "
        "better here than they are.",
        "- Paid time counts until the last worker has gone. What comes after the end of the last "
        "task is the *tail*. On a trace that is short, or ends with many workers, it is long if a "
        "policy is slow to let go: Judoscale fires one worker in ten minutes. So the tail is not "
        "counted as waste, and plays no part in the comparisons.",
        "- The simulation of a policy that never lets a task finish is ended sooner or later. Such "
        f"results ({unfinished} here) are marked *unfinished*: their hours and waits are only "
        "those of what was simulated, and they have no floor.",
        "- *Waste* is paid hours - tail hours - work / concurrency. The *floor* is a bound on the "
        "paid hours of any policy with the same p95 wait. It is the work / concurrency, but where "
        "there is little work; what is possible may be far above it.",
        "- There is one run with one seed for each combination: small differences mean nothing.",
    ]


def _summary_chapter(rows: Rows) -> list[str]:
    return [
        "## Summary",
        "",
        "A result *beats* another one with less waste and a p95 wait that is no longer, or with as "
        "much waste and a shorter wait, by the figures in the tables. One that leaves tasks "
        "unfinished beats none. What was not simulated is not counted.",
        "",
        *summary(rows),
    ]


def _cells(combination: Combination, row: Row | None) -> list[str]:
    names = [str(combination.concurrency), _code(combination.label)]
    if row is None:
        return [*names, "not simulated", *[""] * (len(_HEADS) - 3)]
    outcome = row.outcome
    if outcome.unfinished:
        names[-1] += f" ({figures.count(outcome.unfinished)} unfinished)"
    return [
        *names,
        figures.hours(outcome.paid_hours),
        figures.hours(row.waste / 3600),
        figures.hours(outcome.tail / 3600),
        figures.wait(outcome.waits.mean),
        figures.wait(outcome.waits.p95),
        figures.wait(outcome.waits.max),
        figures.count(outcome.killed),
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
    outcomes = [rows[one].outcome for one in shown]
    outcomes = [replace(outcome, paid=outcome.paid - outcome.tail) for outcome in outcomes]
    return plot_svg(outcomes, PRICES[_SIZE], _title(shown))
