"""``celery mm simulate``: what each policy would have cost on a trace of tasks."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from celery.bin.base import CeleryCommand
from click.core import ParameterSource

from celery_middle_management.cli.common import CouldNot, UsedWrongly, json_option
from celery_middle_management.cli.simulate_source import (
    Source,
    source_of_file,
    source_of_history,
)

if TYPE_CHECKING:
    from celery_middle_management.sim import Model, Outcome, Policy, Trace

#: The options that say where the tasks come from.
_OF_THE_SOURCE = "history", "pool", "queues"


class Seconds(click.ParamType):  # type: ignore[type-arg]
    """The type of an option that takes a finite number of seconds, *least* at the least."""

    name = "seconds"

    def __init__(self, least: float = 0.0) -> None:
        self.least = least

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            seconds = float(value)
        except ValueError:
            seconds = math.nan
        if not self.least <= seconds <= 1e6:
            self.fail(f"{value!r} is not a number from {self.least:g} to 1000000", param, ctx)
        return seconds


@click.command(cls=CeleryCommand)
@click.argument("trace", required=False, type=click.Path(path_type=Path))
@click.option("--history", is_flag=True, help="Replay the app's own history; needs `-A`.")
@click.option("--pool", help="The pool whose history is replayed.")
@click.option("--queue", "queues", multiple=True, help="Leave out tasks of all other queues.")
@click.option("--policy", "names", multiple=True, help="A policy; can be given several times.")
@click.option("--runtime", help="Run times in seconds: MEAN[:SIGMA], lognormal.")
@click.option("--min", "minimum", type=click.IntRange(0, 1000), default=0, show_default=True)
@click.option("--max", "maximum", type=click.IntRange(1, 1000), default=50, show_default=True)
@click.option("--boot", type=Seconds(), default=12.0, show_default=True, help="In seconds.")
@click.option("--concurrency", type=click.IntRange(1, 10_000), default=1, show_default=True)
@click.option("--prefetch", type=click.IntRange(1, 10_000), default=1, show_default=True)
@click.option("--call-interval", type=Seconds(1.0), default=10.0, show_default=True)
@click.option("--grace", type=Seconds(), default=30.0, show_default=True)
@click.option(
    "--dynos", type=click.Choice(["formation", "one-off"]), default="formation", show_default=True
)
@click.option("--size", default="standard-1x", show_default=True, help="Of the dynos.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--html", type=click.Path(path_type=Path), help="Write a report into this file.")
@json_option
@click.pass_context
def simulate(
    ctx: click.Context,
    /,
    trace: Path | None,
    names: tuple[str, ...],
    runtime: str | None,
    html: Path | None,
    *,
    as_json: bool,
    **options: Any,
) -> None:
    """Show what each policy would have cost on the tasks in the file TRACE.

    TRACE is CSV, also .gz: `published_at,runtime[,queue]` in seconds, or `second,arrivals` with
    --runtime. Policies: jobs_per_worker:N (or auto), max_wait:S, fixed:N, hirefire:N[@SECONDS],
    judoscale, keda:N, aws:N, original:N. docs/simulate.md says what is modelled.
    """
    from celery_middle_management.sim.floor import floor_of
    from celery_middle_management.sim.prices import PRICES

    if html is not None:
        _check_report(html, trace)
    source = _source(ctx, trace, runtime, **{n: options.pop(n) for n in _OF_THE_SOURCE})
    given = {name: value for name, value in options.items() if _is_given(ctx, name)}
    options |= {**source.options, **given}
    size = options.pop("size")
    if size not in PRICES:
        raise UsedWrongly(f"--size {size!r}: allowed: {', '.join(PRICES)}")
    model, policies = _model(options), _policies(names or source.policies)
    tasks = source.read(model.seed)
    outcomes = _outcomes(tasks, policies, model)
    floors = [floor_of(tasks, model, outcome) for outcome in outcomes]
    if as_json:
        click.echo(json.dumps(_document(tasks, outcomes, floors, PRICES[size])))
    else:
        from celery_middle_management.cli.simulate_screen import show_outcomes

        show_outcomes(tasks, outcomes, floors, PRICES[size])
    if html is not None:
        _write_report(html, tasks, model=model, size=size, outcomes=outcomes, floors=floors)


def _source(
    ctx: click.Context,
    path: Path | None,
    runtime: str | None,
    *,
    history: bool,
    pool: str | None,
    queues: tuple[str, ...],
) -> Source:
    if history == (path is not None):
        raise UsedWrongly("give either a TRACE or --history")
    if path is None:
        if runtime or queues:
            raise UsedWrongly("--runtime and --queue are for a TRACE, not for --history")
        return source_of_history(ctx, pool)
    if pool is not None:
        raise UsedWrongly("--pool is for --history; --queue chooses from a TRACE")
    return source_of_file(path, runtime, queues)


def _is_given(ctx: click.Context, option: str) -> bool:
    return ctx.get_parameter_source(option) is not ParameterSource.DEFAULT


def _check_report(html: Path, trace: Path | None) -> None:
    if not html.absolute().parent.is_dir():
        raise UsedWrongly(f"--html {html}: there is no directory {html.absolute().parent}")
    if html.is_dir():
        raise UsedWrongly(f"--html {html}: this is a directory; allowed: a file")
    if trace is not None and html.absolute() == trace.absolute():
        raise UsedWrongly(f"--html {html}: this is the trace, which would be lost")


def _model(options: dict[str, Any]) -> Model:
    from celery_middle_management.sim import Model

    model = Model(one_off=options.pop("dynos") == "one-off", **options)
    if model.minimum > model.maximum:
        raise UsedWrongly(
            f"--min {model.minimum} is greater than the maximum, {model.maximum} (--max)"
        )
    return model


def _policies(names: tuple[str, ...]) -> list[Policy]:
    from celery_middle_management.sim import PolicyError, policy_named

    try:
        return [policy_named(name) for name in dict.fromkeys(names)]
    except PolicyError as error:
        raise UsedWrongly(f"--policy: {error}") from None


def _outcomes(trace: Trace, policies: list[Policy], model: Model) -> list[Outcome]:
    from celery_middle_management.sim import simulate as run

    outcomes = []
    for policy in policies:
        with _progress(policy.name) as progress:
            outcomes.append(run(trace, policy, model, progress))
    return outcomes


@contextmanager
def _progress(name: str) -> Iterator[Any]:
    """Yield a function that takes the part that is done; it draws a bar on a terminal."""
    if not sys.stderr.isatty():
        yield lambda part: None
        return
    with click.progressbar(length=1000, label=f"{name:20}", file=sys.stderr) as bar:
        yield lambda part: bar.update(int(part * 1000) - bar.pos)


def _document(
    trace: Trace, outcomes: list[Outcome], floors: list[float], monthly: float
) -> dict[str, Any]:
    return {
        "trace": trace.name,
        "tasks": trace.tasks,
        "work_hours": round(trace.work / 3600, 6),
        "policies": [
            {
                **outcome.as_json(monthly),
                "floor_hours": None if math.isnan(floor) else round(floor / 3600, 6),
            }
            for outcome, floor in zip(outcomes, floors, strict=True)
        ],
    }


def _write_report(
    path: Path,
    trace: Trace,
    *,
    model: Model,
    size: str,
    outcomes: list[Outcome],
    floors: list[float],
) -> None:
    from celery_middle_management.sim.prices import PRICES
    from celery_middle_management.sim.report import report_html

    facts = [
        ("tasks", f"{trace.tasks:,}"),
        ("work", f"{trace.work / 3600:.2f} h"),
        ("workers", f"{model.minimum} to {model.maximum} {size}, concurrency {model.concurrency}"),
        ("Middle Management's dynos", "one-off" if model.one_off else "formation"),
        ("boot", f"{model.boot:g} s"),
        ("prefetch", f"{model.prefetch} per slot"),
        ("killed, after SIGTERM", f"{model.grace:g} s"),
        ("call interval", f"{model.call_interval:g} s"),
        ("seed", str(model.seed)),
    ]
    report = report_html(trace.name, facts, outcomes, floors, PRICES[size], model.concurrency)
    try:
        path.write_text(report, encoding="utf-8")
    except OSError as error:
        raise CouldNot(f"--html {path}: {error.strerror or error}") from None
