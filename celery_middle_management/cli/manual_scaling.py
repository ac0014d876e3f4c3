"""``celery mm pause``, ``resume``, ``hire`` and ``fire``."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
from celery.bin.base import CeleryCommand

from celery_middle_management.cli.common import (
    CouldNot,
    json_option,
    line,
    managed_app_of_context,
    no_such_pool,
    redis_failed,
)
from celery_middle_management.cli.duration import Duration

if TYPE_CHECKING:
    from celery_middle_management.core.pools import Pool
    from celery_middle_management.managed_app import ManagedApp

_FOR = "such as 90s, 10m, 2h, 1d"
_number = click.argument("number", type=click.IntRange(min=1))
_pool = click.argument("pool", required=False)
_for_a_while = click.option(
    "--for", "lasts", type=Duration(), default="10m", help=f"{_FOR}; default: 10m."
)


@click.command(cls=CeleryCommand)
@click.option("--for", "lasts", type=Duration(), help=f"{_FOR}; default: until `mm resume`.")
@click.option("--hires", is_flag=True, help="Pause hires alone.")
@click.option("--fires", is_flag=True, help="Pause fires alone.")
@json_option
@click.pass_context
def pause(ctx: click.Context, lasts: float | None, hires: bool, fires: bool, as_json: bool) -> None:
    """Hire and fire nobody, of any pool. Who drains is called back."""
    from celery_middle_management.ledger.manual_scaling import me
    from celery_middle_management.ledger.manual_scaling import pause as write_pause

    # Both or none named: both.
    which = {"hires": hires or not fires, "fires": fires or not hires}
    _done(
        ctx,
        as_json,
        lambda run: write_pause(run.ledger(), me(), lasts=lasts, **which),
    )


@click.command(cls=CeleryCommand)
@json_option
@click.pass_context
def resume(ctx: click.Context, as_json: bool) -> None:
    """Take back every pause, and whatever was hired or fired by hand."""
    from celery_middle_management.ledger.manual_scaling import me
    from celery_middle_management.ledger.manual_scaling import resume as write_resume

    _done(
        ctx,
        as_json,
        lambda run: write_resume(run.settings, run.ledger(), me()),
    )


@click.command(cls=CeleryCommand)
@_number
@_pool
@_for_a_while
@json_option
@click.pass_context
def hire(ctx: click.Context, number: int, pool: str | None, lasts: float, as_json: bool) -> None:
    """Have NUMBER workers more than there are, for a while, within max_workers."""
    _ask(ctx, number, pool, lasts, as_json)


@click.command(cls=CeleryCommand)
@_number
@_pool
@_for_a_while
@json_option
@click.pass_context
def fire(ctx: click.Context, number: int, pool: str | None, lasts: float, as_json: bool) -> None:
    """Have NUMBER workers fewer than there are, for a while, within min_workers.

    They finish what they run before, as always.
    """
    _ask(ctx, -number, pool, lasts, as_json)


def _ask(ctx: click.Context, more: int, pool: str | None, lasts: float, as_json: bool) -> None:
    from celery_middle_management.ledger.manual_scaling import ask_for, me

    def ask(run: ManagedApp) -> dict[str, Any]:
        return ask_for(run.ledger(), _named(ctx, run, pool), more, me(), lasts)

    _done(ctx, as_json, ask)


def _named(ctx: click.Context, managed: ManagedApp, name: str | None) -> Pool:
    pools = {pool.name: pool for pool in managed.settings.pools}
    if name is None and len(pools) == 1:
        return next(iter(pools.values()))
    if name not in pools:
        raise click.UsageError(no_such_pool(name, pools), ctx)
    return pools[name]


def _done(ctx: click.Context, as_json: bool, ask: Callable[[ManagedApp], dict[str, Any]]) -> None:
    """Write it down, have it looked at, and say so."""
    import redis

    from celery_middle_management.cli.log import told
    from celery_middle_management.ledger.manual_scaling import NotDone

    managed = managed_app_of_context(ctx)
    try:
        entry = ask(managed)
    except NotDone as error:
        raise CouldNot(line(error)) from None
    except (redis.RedisError, OSError) as error:
        raise redis_failed("written", error, managed) from None
    click.echo(json.dumps(entry, indent=2) if as_json else told(entry))
    managed.ensure_evaluation()
