"""The table of ``celery mm simulate``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from celery_middle_management.cli.common import show
from celery_middle_management.sim import Outcome, Trace
from celery_middle_management.sim.report import figures

if TYPE_CHECKING:
    from rich.table import Table


def show_outcomes(
    trace: Trace, outcomes: Sequence[Outcome], floors: Sequence[float], monthly: float
) -> None:
    """Print a line for each policy."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=180)
    click.echo(f"{trace.name}: {trace.tasks:,} tasks, {trace.work / 3600:,.2f} hours of work")
    show(_table(outcomes, floors, monthly), console)
    for outcome in outcomes:
        if outcome.unfinished:
            click.echo(
                f"{outcome.policy} does not finish {outcome.unfinished} of the tasks: it kills "
                "their runs again and again, so the simulation was ended."
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
