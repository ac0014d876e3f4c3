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
    managed_app_of_context,
    no_such_pool,
    one_line,
    redis_failed,
)
from celery_middle_management.cli.duration import Duration

if TYPE_CHECKING:
    from celery_middle_management.core.pools import Pool
    from celery_middle_management.managed_app import ManagedApp

_FOR = "How long: 90s, 10m, 2h, 1d. Default:"
_number = click.argument("number", type=click.IntRange(min=1))
_pool = click.argument("pool", required=False)
_for_a_while = click.option("--for", "lasts", type=Duration(), default="10m", help=f"{_FOR} 10m.")


@click.command(cls=CeleryCommand)
@click.option("--for", "lasts", type=Duration(), help=f"{_FOR} until `mm resume`.")
@click.option("--hires", is_flag=True, help="Pause only hires.")
@click.option("--fires", is_flag=True, help="Pause only fires.")
@json_option
@click.pass_context
def pause(ctx: click.Context, lasts: float | None, hires: bool, fires: bool, as_json: bool) -> None:
    """Stop hiring and firing in every pool.

    While fires are paused, workers that drain go back to work.
    """
    from celery_middle_management.ledger.manual_scaling import me
    from celery_middle_management.ledger.manual_scaling import pause as write_pause

    # Without an option, or with both, both are paused.
    both = hires == fires
    _request(
        ctx,
        as_json,
        lambda managed: write_pause(
            managed.ledger(), me(), hires=hires or both, fires=fires or both, lasts=lasts
        ),
    )


@click.command(cls=CeleryCommand)
@json_option
@click.pass_context
def resume(ctx: click.Context, as_json: bool) -> None:
    """End every pause, and every hire and fire by hand."""
    from celery_middle_management.ledger.manual_scaling import me
    from celery_middle_management.ledger.manual_scaling import resume as write_resume

    _request(
        ctx,
        as_json,
        lambda managed: write_resume(managed.settings, managed.ledger(), me()),
    )


@click.command(cls=CeleryCommand)
@_number
@_pool
@_for_a_while
@json_option
@click.pass_context
def hire(ctx: click.Context, number: int, pool: str | None, lasts: float, as_json: bool) -> None:
    """Run NUMBER more workers than now, for a while.

    Never more than max_workers. It ends every fire by hand in the pool. POOL may be left out if
    the app has only one.
    """
    _change_by(ctx, number, pool, lasts, as_json)


@click.command(cls=CeleryCommand)
@_number
@_pool
@_for_a_while
@json_option
@click.pass_context
def fire(ctx: click.Context, number: int, pool: str | None, lasts: float, as_json: bool) -> None:
    """Run NUMBER fewer workers than now, for a while.

    Never fewer than min_workers. It ends every hire by hand in the pool. Workers finish their
    tasks first, as always. POOL may be left out if the app has only one.
    """
    _change_by(ctx, -number, pool, lasts, as_json)


def _change_by(
    ctx: click.Context, more: int, pool: str | None, lasts: float, as_json: bool
) -> None:
    from celery_middle_management.ledger.manual_scaling import QuantityUnknown, ask_for, me

    def ask(managed: ManagedApp) -> dict[str, Any]:
        of = _pool_named(ctx, managed, pool)
        try:
            return ask_for(managed.ledger(), of, more, me(), lasts)
        except QuantityUnknown:
            managed.ensure_evaluation()  # it reads how many there are
            return ask_for(managed.ledger(), of, more, me(), lasts)

    _request(ctx, as_json, ask)


def _pool_named(ctx: click.Context, managed: ManagedApp, name: str | None) -> Pool:
    from celery_middle_management.core.pools import pool_named

    pools = managed.settings.pools
    pool = pool_named(pools, name)
    if pool is None:
        raise click.UsageError(no_such_pool(name, [pool.name for pool in pools]), ctx)
    return pool


def _request(
    ctx: click.Context, as_json: bool, ask: Callable[[ManagedApp], dict[str, Any]]
) -> None:
    """Write a request into the ledger, print it, and have an evaluation made."""
    import redis

    from celery_middle_management.cli.log import log_line
    from celery_middle_management.ledger.manual_scaling import NotDone, outlook

    managed = managed_app_of_context(ctx)
    try:
        entry = ask(managed)
    except NotDone as error:
        raise CouldNot(one_line(error)) from None
    except (redis.RedisError, OSError) as error:
        raise redis_failed("written", error, managed) from None
    click.echo(json.dumps(entry, indent=2) if as_json else log_line(entry))
    if note := outlook(managed.settings):
        click.echo(f"Note: {note}.", err=True)
    managed.ensure_evaluation()
