"""The page docs/policies.md: how each policy did on each load, and its plot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from celery_middle_management import __version__
from celery_middle_management.sim import Model, Trace
from celery_middle_management.sim.prices import PRICES
from celery_middle_management.sim.report import figures, plot_svg
from tests.benchmarks.policy_runs import (
    MAXIMUM,
    MEANS,
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


def verdict(ours: Row, rivals: Row) -> str:
    """Return ``better``, ``worse`` or ``mixed``.

    Better is less waste and a p95 wait that is no longer; worse is more waste and one that is no
    shorter. A policy that leaves tasks unfinished is no better.
    """
    waste = round(ours.waste - rivals.waste, 1)
    wait = round(ours.outcome.waits.p95 - rivals.outcome.waits.p95, 3)
    if waste < 0 and wait <= 0 and not ours.outcome.unfinished:
        return "better"
    if waste > 0 and wait >= 0 and not rivals.outcome.unfinished:
        return "worse"
    return "mixed"


Pair: TypeAlias = tuple[Combination, Combination]


def verdicts(rows: Rows) -> dict[Pair, str]:
    """Return what each of our results is, compared with each rival's on the same load."""
    return {
        (ours, its): verdict(row, rivals)
        for ours, row in rows.items()
        for its, rivals in rows.items()
        if (ours.load, ours.concurrency) == (its.load, its.concurrency)
        and (ours.kind in OURS, its.kind in OURS) == (True, False)
    }


def counted(found: Mapping[Pair, str]) -> dict[tuple[str, str], Counter[str]]:
    """Return for each of our variants and each rival how often it is what."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    for (ours, its), word in found.items():
        counts.setdefault((ours.variant, its.variant), Counter())[word] += 1
    return counts


def summary(rows: Rows) -> Iterator[str]:
    """Yield the lines of the summary."""
    pairs = verdicts(rows)
    yield from (_beaten(pairs), "", _killed(rows), "")
    found = counted(pairs)
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


def _beaten(pairs: Mapping[Pair, str]) -> str:
    ours, rivals = ({pair[place] for pair in pairs} for place in (0, 1))
    lost = {its for (_, its), word in pairs.items() if word == "better"}
    own = {one for (one, _), word in pairs.items() if word == "worse"}
    return (
        "Rivals' results that one of Middle Management's variants beats in waste and in p95 wait: "
        f"{len(lost)} of {len(rivals)}. Its own results that a rival beats: {len(own)} of "
        f"{len(ours)}."
    )


def _killed(rows: Rows) -> str:
    killed = Counter[str]()
    for one, row in rows.items():
        killed["Middle Management" if one.kind in OURS else _code(one.variant)] += (
            row.outcome.killed
        )
    each = (f"{name} {figures.count(runs)}" for name, runs in killed.items())
    return f"Runs of tasks that were killed: {', '.join(each)}."


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
        "thresholds are one choice of many; others trade cost for waits. No policy has a minimum "
        "of workers, though some rivals would need one: they are slow to hire the first.",
        "- Ratios are of tasks to workers, not to slots: a worker of four slots for each task or "
        "two is a waste. The gem's workers had one slot; with four it never existed.",
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
        "paid hours of any policy with the same p95 wait, which may be far below what is possible.",
        "- There is one run with one seed for each combination: small differences mean nothing.",
    ]


def _summary_chapter(rows: Rows) -> list[str]:
    return [
        "## Summary",
        "",
        "*Better* is less waste and a p95 wait that is no longer, *worse* is more waste and a p95 "
        "wait that is no shorter, all else is *mixed*. A policy that leaves tasks unfinished is no "
        "better. What was not simulated is not counted.",
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
        figures.hours(outcome.tail / 3600),
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
