"""``celery mm …``: what the package adds to the ``celery`` command.

Errors go to standard error; the exit status is 1 for "could not", 2 for "used wrongly". Every
``celery`` command loads this module, workers among them, so what only some need is imported there.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click
from celery.bin.base import CeleryCommand

from celery_middle_management.cli.common import (
    CouldNot,
    UsedWrongly,
    json_option,
    line,
    managed_app_of_context,
    no_such_pool,
    redis_failed,
    show,
)
from celery_middle_management.cli.log import log
from celery_middle_management.cli.manual_scaling import fire, hire, pause, resume
from celery_middle_management.cli.run import run

# Here, so that whatever worker runs knows its task.
from celery_middle_management.slacker import slack as publish_slack

if TYPE_CHECKING:
    from celery_middle_management.managed_app import ManagedApp


@click.group()
def mm(**preload_options: Any) -> None:
    """Middle Management: the workers that hire and fire themselves."""


@mm.command(cls=CeleryCommand)
@json_option
@click.option("--watch", is_flag=True, help="Show it anew every 2 s, until Ctrl-C ...")
@click.option(
    "--until-idle",
    is_flag=True,
    help="... or until no task waits or runs, and no worker is hired beyond min_workers.",
)
@click.argument("pools", nargs=-1, metavar="[POOL]...")
@click.pass_context
def status(
    ctx: click.Context, as_json: bool, watch: bool, until_idle: bool, pools: tuple[str, ...]
) -> None:
    """Show workers, tasks and decisions of every pool or of each POOL, and what is wrong.

    Of more than two pools, each has one line, unless it is named. Exit status 1 says that something
    is wrong.
    """
    from celery_middle_management.app_setup import look_only

    look_only()
    managed = managed_app_of_context(ctx)
    watch = watch or until_idle
    if watch and as_json:
        raise click.UsageError("--watch, --until-idle and --json exclude each other", ctx)
    _check_pools(managed, pools)
    if watch:
        from celery_middle_management.cli.watch import watch_status
        from celery_middle_management.views.status import idle

        until = idle if until_idle else lambda _: False
        calm = watch_status(
            lambda: _status(managed, pools),
            until,
            full=bool(pools),
            no_color=ctx.obj.no_color,
        )
    else:
        document = _status(managed, pools)
        calm = not document["trouble"]
        if as_json:
            click.echo(json.dumps(document, indent=2))
        else:
            from rich.console import Console

            from celery_middle_management.cli.status_screen import status_screen

            screen = status_screen(document, full=bool(pools))
            show(screen, Console(no_color=ctx.obj.no_color or None))
    if not calm:
        ctx.exit(1)


def _check_pools(managed: ManagedApp, pools: tuple[str, ...]) -> None:
    known = [pool.name for pool in managed.settings.pools]
    for pool in pools:
        if pool not in known:
            raise UsedWrongly(no_such_pool(pool, known))


def _status(managed: ManagedApp, pools: tuple[str, ...]) -> dict[str, Any]:
    import redis

    from celery_middle_management.views.status import of_pools

    try:
        return of_pools(managed.status(), pools)
    except (redis.RedisError, OSError) as error:
        raise redis_failed("read", error, managed) from None


@mm.command(cls=CeleryCommand)
@json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Look for what is wrong in this installation, and say how to mend it.

    Changes nothing. Exit status 1 says that something must be mended. On Heroku, run it in a
    one-off dyno, which has the app's config vars: heroku run celery -A proj mm doctor
    """
    from celery_middle_management.doctor import FAILURE

    findings = list(managed_app_of_context(ctx).examine())
    if as_json:
        click.echo(json.dumps([finding._asdict() for finding in findings], indent=2))
    else:
        from rich.console import Console

        from celery_middle_management.cli.doctor_screen import doctor_screen

        show(doctor_screen(findings), Console(no_color=ctx.obj.no_color or None))
    if any(finding.level == FAILURE for finding in findings):
        ctx.exit(1)


@mm.command(cls=CeleryCommand)
@click.argument("count", type=click.IntRange(min=0))
@click.argument("seconds", type=click.FloatRange(min=0))
@json_option
@click.pass_context
def slack(ctx: click.Context, count: int, seconds: float, as_json: bool) -> None:
    """Publish COUNT tasks that do nothing for SECONDS each."""
    from kombu.exceptions import OperationalError

    from celery_middle_management.brokers.redacting import broker_trouble

    managed = managed_app_of_context(ctx)
    try:
        publish_slack(managed.app, count, seconds)
    except ValueError as error:
        raise click.UsageError(line(error), ctx) from None
    except (OperationalError, OSError) as error:
        said = " ".join(broker_trouble(managed.app, error).split())
        raise CouldNot(f"the tasks could not be published: {said}") from None
    if as_json:
        click.echo(json.dumps({"published": count, "seconds": seconds}))
    else:
        tasks = "1 task that takes" if count == 1 else f"{count} tasks that take"
        click.echo(f"Published {tasks} {seconds:g} s{'' if count == 1 else ' each'}.")


for command in (run, log, pause, resume, hire, fire):
    mm.add_command(command)
