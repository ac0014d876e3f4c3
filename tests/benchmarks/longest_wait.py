"""Writes docs/max-wait.md: what ``max_wait`` costs at each rival's own p95 wait.

    python -m tests.benchmarks.longest_wait TRACES_DIRECTORY --days 1 --cache /tmp/policies

Every rival is simulated on every load; then ``max_wait`` with the rival's p95 wait, but 2 s at
least, with both kinds of dynos. The cache is that of :mod:`tests.benchmarks.policies`.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from math import ceil, exp, log
from pathlib import Path
from typing import NamedTuple

from celery_middle_management.sim.report import figures
from tests.benchmarks.policies import command_of, kept_rows, options_of
from tests.benchmarks.policy_runs import (
    OURS,
    Combination,
    Row,
    combinations,
    loads,
    say,
    simulate_all,
    trace_of,
)

#: The shortest wait (s) that is asked for.
LEAST = 2.0
#: Waste less than this (h) counts as so much, lest a ratio be of nothing to nothing.
NOTHING = 0.001
#: The targets: waste / a rival's of at most so much on 8 of 10 rivals' results, and so much as the
#: geometric mean.
TARGETS = {True: (0.7, 0.4), False: (1.0, 0.6)}
#: It knew the load in advance: no rival that anyone can have.
FORESEEN = "fixed:N"


class Pair(NamedTuple):
    """A rival's result, and ours with its p95 wait."""

    rival: Combination
    its: Row
    one_off: bool
    ours: Row

    @property
    def wait(self) -> float:
        """The wait (s) that was asked for."""
        return asked(self.its)

    @property
    def in_time(self) -> bool:
        return self.ours.outcome.waits.p95 <= self.wait

    @property
    def ratio(self) -> float:
        """Our waste, as a part of the rival's."""
        ours, its = (max(row.waste / 3600, NOTHING) for row in (self.ours, self.its))
        return ours / its

    @property
    def on_target(self) -> bool:
        return self.in_time and self.ratio <= TARGETS[self.one_off][0]


def asked(row: Row) -> float:
    """Return the wait (s) to ask for at a rival's result, in whole milliseconds."""
    return max(ceil(row.outcome.waits.p95 * 1000) / 1000, LEAST)


def ours_for(rival: Combination, row: Row) -> tuple[Combination, Combination]:
    """Return our combinations with a rival's p95 wait: formation and one-off."""
    policy = f"max_wait:{asked(row):.3f}".rstrip("0").rstrip(".")
    ours = rival._replace(policy=policy, kind="max_wait")
    return ours, ours._replace(one_off=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    options = options_of(__doc__, arguments)
    with tempfile.TemporaryDirectory(prefix="longest-wait-") as temporary:
        cache = options.cache or Path(temporary)
        cache.mkdir(parents=True, exist_ok=True)
        found = [*loads(options.traces, options.days, options.seed)]
        rivals = [
            one
            for load in found
            for one in combinations(load)
            if one.kind not in OURS and (not options.only or options.only.search(one.name))
        ]
        its = _simulated(rivals, cache, options)
        wanted = [one for rival, row in its.items() for one in ours_for(rival, row)]
        ours = _simulated([*dict.fromkeys(wanted)], cache, options)
    pairs = [
        Pair(rival, row, one.one_off, ours[one])
        for rival, row in its.items()
        if not row.outcome.unfinished
        for one in ours_for(rival, row)
        if one in ours
    ]
    if not pairs:
        raise SystemExit("there is nothing to compare")
    missing = 2 * len(rivals) - len(pairs)
    page = "\n".join([*_page(pairs, missing, command_of("longest_wait", options)), ""])
    options.into.joinpath("max-wait.md").write_text(page, "utf-8")


def _simulated(
    wanted: Sequence[Combination], cache: Path, options: argparse.Namespace
) -> dict[Combination, Row]:
    missing = [one for one in wanted if one not in kept_rows(wanted, cache)]
    if missing and options.minutes > 0:
        simulate_all(missing, cache, options.jobs, options.minutes)
    rows = kept_rows(wanted, cache)
    say(f"{len(wanted)} combinations; {len(rows)} are simulated")
    return rows


# -- the page


def _page(pairs: Sequence[Pair], missing: int, command: str) -> Iterator[str]:
    left_out = (
        f" Of {len(pairs) + missing} combinations {missing} were left out, or their rival never "
        "let its tasks finish."
        if missing
        else ""
    )
    yield from (
        "# What `max_wait` costs",
        "",
        f"At each rival's own p95 wait, but {LEAST:g} s at least. This page was written by "
        f"`{command}`; [the loads, the rivals and what is assumed](policies.md).{left_out}",
        "",
        "*Waste* is paid hours - tail hours - work / concurrency; a *ratio* is our waste as a part "
        "of the rival's. The *floor* is a bound on the waste of any policy, even of one that knows "
        "the future. There is one run with one seed of each. Middle Management killed "
        f"{sum(pair.ours.outcome.killed for pair in pairs)} runs of tasks.",
        "",
        "## Summary",
        "",
    )
    for one_off, dynos in ((True, "One-off dynos"), (False, "Formation")):
        yield from (f"**{dynos}.** {_summary([p for p in pairs if p.one_off == one_off])}", "")
    yield from ("By rival:", "")
    yield from _by_rival(pairs)
    for load in dict.fromkeys(pair.rival.load for pair in pairs):
        yield from ("", f"## {load.name}", "")
        yield from _table([pair for pair in pairs if pair.rival.load == load])


def _summary(pairs: Sequence[Pair]) -> str:
    real = [pair for pair in pairs if pair.rival.kind != FORESEEN]
    if not real:
        return "Nothing was compared."
    part, mean = TARGETS[real[0].one_off]
    on_target, late = sum(p.on_target for p in real), sum(not p.in_time for p in real)
    dearer = sum(p.ratio > 1.1 for p in real)
    return (
        f"Of {len(real)} rivals' results (without `{FORESEEN}`): in time and at most {part:g} of "
        f"the waste: {on_target} (target: 8 of 10). Late: {late}. More than 1.1 of the waste: "
        f"{dearer} (target: none). Geometric mean of the ratios: {_mean(real):.2f} "
        f"(target: {mean:g})."
    )


def _mean(pairs: Sequence[Pair]) -> float:
    return exp(sum(log(pair.ratio) for pair in pairs) / len(pairs))


def _by_rival(pairs: Sequence[Pair]) -> Iterator[str]:
    yield "| rival | one-off: in time | mean ratio | formation: in time | mean ratio | it killed |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    for variant in dict.fromkeys(pair.rival.variant for pair in pairs):
        cells = [f"`{variant}`"]
        for one_off in (True, False):
            own = [p for p in pairs if p.rival.variant == variant and p.one_off == one_off]
            cells += [f"{sum(p.in_time for p in own)} of {len(own)}", f"{_mean(own):.2f}"]
        killed = sum(p.its.outcome.killed for p in pairs if p.rival.variant == variant) // 2
        yield f"| {' | '.join([*cells, figures.count(killed)])} |"


def _table(pairs: Sequence[Pair]) -> Iterator[str]:
    heads = ("concurrency", "rival", "its p95 wait", "its waste", "dynos", "p95 wait", "waste")
    yield f"| {' | '.join([*heads, 'ratio', 'floor', 'on target'])} |"
    yield "| ---: | --- | ---: | ---: | --- | ---: | ---: | ---: | ---: | --- |"
    for pair in pairs:
        trace, concurrency = trace_of(pair.rival.load), pair.rival.concurrency
        floor = max(pair.ours.floor - trace.work / concurrency, 0.0)
        cells = [
            str(concurrency),
            f"`{pair.rival.label}`",
            figures.wait(pair.its.outcome.waits.p95),
            figures.hours(pair.its.waste / 3600),
            "one-off" if pair.one_off else "formation",
            figures.wait(pair.ours.outcome.waits.p95) + ("" if pair.in_time else " (late)"),
            figures.hours(pair.ours.waste / 3600),
            f"{pair.ratio:.2f}",
            figures.hours(floor / 3600),
            "yes" if pair.on_target else "no",
        ]
        yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
