"""``celery mm slack``: publish tasks that only sleep, to try out scaling."""

from __future__ import annotations

import json

import click
from celery.bin.base import CeleryCommand

from celery_middle_management.cli.common import (
    CouldNot,
    json_option,
    managed_app_of_context,
    one_line,
)
from celery_middle_management.slacker import slack as publish_slack


@click.command(cls=CeleryCommand)
@click.argument("count", type=click.IntRange(min=0))
@click.argument("seconds", type=click.FloatRange(min=0))
@json_option
@click.pass_context
def slack(ctx: click.Context, count: int, seconds: float, as_json: bool) -> None:
    """Publish COUNT tasks that sleep for SECONDS each."""
    from kombu.exceptions import OperationalError

    from celery_middle_management.brokers.redacting import broker_trouble

    managed = managed_app_of_context(ctx)
    try:
        publish_slack(managed.app, count, seconds)
    except ValueError as error:
        raise click.UsageError(one_line(error), ctx) from None
    except (OperationalError, OSError) as error:
        why = " ".join(broker_trouble(managed.app, error).split())
        raise CouldNot(f"the tasks could not be published: {why}") from None
    if as_json:
        click.echo(json.dumps({"published": count, "seconds": seconds}))
    else:
        tasks = "1 task that takes" if count == 1 else f"{count} tasks that take"
        click.echo(f"Published {tasks} {seconds:g} s{'' if count == 1 else ' each'}.")
