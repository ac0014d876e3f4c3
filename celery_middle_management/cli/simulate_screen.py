"""The table of ``celery mm simulate``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from celery_middle_management.cli.common import show
from celery_middle_management.sim import Outcome, Trace
from celery_middle_management.sim.report import figures
from celery_middle_management.views.words import plural

if TYPE_CHECKING:
    from rich.table import Table

#: The table needs so many columns.
_WIDTH = 170


def show_outcomes(
    trace: Trace, outcomes: Sequence[Outcome], floors: Sequence[float], monthly: float
) -> None:
    """Print a line for each policy."""
    from rich.console import Console

    console = Console()
    tasks = plural(trace.tasks, "task", "tasks")
    click.echo(f"{trace.name}: {tasks}, {figures.hours(trace.work / 3600)} hours of work")
    if console.is_terminal and console.width < _WIDTH:
        for outcome, floor in zip(outcomes, floors, strict=True):
            click.echo(_lines(outcome, floor, monthly))
    else:
        show(_table(outcomes, floors, monthly), Console(width=max(_WIDTH, console.width)))
    for outcome in outcomes:
        if outcome.unfinished:
            click.echo(
                f"{outcome.policy} does not finish {outcome.unfinished} of the tasks, "
                f"and kills {outcome.killed} runs: the simulation was ended."
            )


def _lines(outcome: Outcome, floor: float, monthly: float) -> str:
    """Return the figures of a policy for a narrow terminal."""
    paid, cost = figures.hours(outcome.paid_hours), figures.dollars(outcome.dollars(monthly))
    waits = (f"{name} {figures.wait(wait)}" for name, wait in outcome.waits._asdict().items())
    return "\n".join(
        (
            f"{outcome.policy}",
            f"  paid {paid} h, {cost}; floor {figures.hours(floor / 3600)} h; "
            f"efficiency {figures.share(outcome.efficiency)}",
            f"  wait {', '.join(waits)}",
            f"  killed {outcome.killed}, hires {outcome.hires}, calls {outcome.calls}, "
            f"peak {outcome.peak_workers} workers",
        )
    )


def _table(outcomes: Sequence[Outcome], floors: Sequence[float], monthly: float) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("policy", no_wrap=True)
    for name in (
        *("paid h", "cost", "floor h", "mean wait", "p50", "p95", "p99", "max"),
        *("killed", "hires", "calls", "efficiency", "peak"),
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for outcome, floor in zip(outcomes, floors, strict=True):
        table.add_row(
            outcome.policy,
            figures.hours(outcome.paid_hours),
            figures.dollars(outcome.dollars(monthly)),
            figures.hours(floor / 3600),
            *(figures.wait(wait) for wait in outcome.waits),
            *(figures.count(n) for n in (outcome.killed, outcome.hires, outcome.calls)),
            figures.share(outcome.efficiency),
            figures.count(outcome.peak_workers),
        )
    return table
