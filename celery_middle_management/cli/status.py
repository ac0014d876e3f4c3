"""``celery mm status``: shown once, refreshed until a condition is met, or as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click
from celery.bin.base import CeleryCommand

from celery_middle_management.cli.common import (
    UsedWrongly,
    json_option,
    managed_app_of_context,
    no_such_pool,
    redis_failed,
    show,
)

if TYPE_CHECKING:
    from celery_middle_management.managed_app import ManagedApp


@click.command(cls=CeleryCommand)
@json_option
@click.option("--watch", is_flag=True, help="Refresh every 2 s, until Ctrl-C.")
@click.option(
    "--until-idle",
    is_flag=True,
    help="Refresh until no task waits or runs and no pool has more than min_workers.",
)
@click.argument("pools", nargs=-1, metavar="[POOL]...")
@click.pass_context
def status(
    ctx: click.Context, as_json: bool, watch: bool, until_idle: bool, pools: tuple[str, ...]
) -> None:
    """Show workers, tasks and decisions, and what is wrong.

    If the app has more than two pools, each has one line, unless you name it as POOL.
    Exit status 1 means that something is wrong.
    """
    from celery_middle_management.app_setup import look_only

    look_only()
    managed = managed_app_of_context(ctx)
    watch = watch or until_idle
    if watch and as_json:
        raise click.UsageError("--watch, --until-idle and --json exclude each other", ctx)
    _check_pools(managed, pools)
    if watch:
        well = _show_until(ctx, managed, pools, until_idle=until_idle)
    else:
        well = _show_once(ctx, managed, pools, as_json=as_json)
    if not well:
        ctx.exit(1)


def _check_pools(managed: ManagedApp, pools: tuple[str, ...]) -> None:
    known = [pool.name for pool in managed.settings.pools]
    for pool in pools:
        if pool not in known:
            raise UsedWrongly(no_such_pool(pool, known))


def _show_until(
    ctx: click.Context, managed: ManagedApp, pools: tuple[str, ...], *, until_idle: bool
) -> bool:
    from celery_middle_management.cli.watch import Watch
    from celery_middle_management.views.status import idle

    watch = Watch(
        lambda: _document(managed, pools),
        idle if until_idle else lambda _: False,
        full=bool(pools),
        no_color=ctx.obj.no_color,
    )
    return watch.run()


def _show_once(
    ctx: click.Context, managed: ManagedApp, pools: tuple[str, ...], *, as_json: bool
) -> bool:
    document = _document(managed, pools)
    if as_json:
        click.echo(json.dumps(document, indent=2))
    else:
        from rich.console import Console

        from celery_middle_management.cli.status_screen import status_screen

        screen = status_screen(document, full=bool(pools))
        show(screen, Console(no_color=ctx.obj.no_color or None))
    return not document["trouble"]


def _document(managed: ManagedApp, pools: tuple[str, ...]) -> dict[str, Any]:
    import redis

    from celery_middle_management import inspection
    from celery_middle_management.views.status import of_pools

    try:
        return of_pools(inspection.status(managed), pools)
    except (redis.RedisError, OSError) as error:
        raise redis_failed("read", error, managed) from None
