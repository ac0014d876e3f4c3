"""`celery mm …`: what the package adds to the `celery` command.

Errors go to standard error; the exit status is 1 for "could not", 2 for "used wrongly". Every
`celery` command loads this module, workers among them, so what only some need is imported there.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import click
from celery.bin.base import CeleryCommand
from celery.exceptions import ImproperlyConfigured

# Here, so that whatever worker runs knows its task.
from celery_middle_management.slacker import slack as publish_slack

if TYPE_CHECKING:
    from celery_middle_management.agents.reporter import Reporter
    from celery_middle_management.runtime import Runtime

logger = logging.getLogger("celery_middle_management")

#: `mm run` looks at the ledger at least this often (s), whoever else does.
LOOK_INTERVAL = 5.0


class CouldNot(click.ClickException):
    """What was asked for could not be done."""

    exit_code = 1


class UsedWrongly(click.ClickException):
    """The command, or the app's settings, are wrong."""

    exit_code = 2


_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def mm(**preload_options: Any) -> None:
    """Middle Management: the workers that hire and fire themselves."""


@mm.command(cls=CeleryCommand)
@_json_option
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> None:
    """Show workers, tasks and the last action of every pool."""
    import redis

    from celery_middle_management.agents.declared import declared_queues
    from celery_middle_management.views.status import status_of

    runtime = _runtime(ctx)
    try:
        snapshot = runtime.ledger().snapshot()
    except (redis.RedisError, OSError) as error:
        raise CouldNot(f"Redis could not be read: {_line(error)}") from None
    document = status_of(runtime.settings, snapshot, declared_queues(runtime.app))
    if as_json:
        click.echo(json.dumps(document, indent=2))
        return
    from rich.console import Console

    from celery_middle_management.cli.status_table import status_table

    now = datetime.fromtimestamp(snapshot.now - snapshot.offset, timezone.utc)
    Console(no_color=ctx.obj.no_color or None).print(status_table(document, now))


@mm.command(cls=CeleryCommand)
@click.pass_context
def run(ctx: click.Context) -> None:
    """Keep watch, hire and fire, until SIGTERM or Ctrl-C.

    Needed only where scheduled tasks shall wake a pool of 0 workers while no process of the app
    is alive. Logs its hires and fires to standard error.
    """
    from celery_middle_management.platforms import PlatformError

    runtime = _runtime(ctx)
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    logger.setLevel(logging.INFO)
    reporter = runtime.reporter()
    try:
        reporter.prepare()
    except PlatformError as error:
        raise CouldNot(_line(error)) from None
    _watch_until_signal(reporter, ", ".join(pool.name for pool in runtime.settings.pools))


@mm.command(cls=CeleryCommand)
@click.argument("count", type=click.IntRange(min=0))
@click.argument("seconds", type=click.FloatRange(min=0))
@_json_option
@click.pass_context
def slack(ctx: click.Context, count: int, seconds: float, as_json: bool) -> None:
    """Publish COUNT tasks that do nothing for SECONDS each."""
    from kombu.exceptions import OperationalError

    from celery_middle_management.brokers.discreet import broker_trouble

    runtime = _runtime(ctx)
    try:
        publish_slack(runtime.app, count, seconds)
    except ValueError as error:
        raise click.UsageError(_line(error), ctx) from None
    except (OperationalError, OSError) as error:
        said = " ".join(broker_trouble(runtime.app, error).split())
        raise CouldNot(f"the tasks could not be published: {said}") from None
    if as_json:
        click.echo(json.dumps({"published": count, "seconds": seconds}))
    else:
        tasks = "1 task that takes" if count == 1 else f"{count} tasks that take"
        click.echo(f"Published {tasks} {seconds:g} s{'' if count == 1 else ' each'}.")


def _runtime(ctx: click.Context) -> Runtime:
    """The runtime of the app that `-A` names."""
    from celery_middle_management.apps import runtime_of
    from celery_middle_management.settings.reading import read_settings

    app = ctx.obj.app
    try:
        # The runtime alone would not tell twice what is wrong.
        enabled = read_settings(app) is not None
        runtime = runtime_of(app) if enabled else None
    except ImproperlyConfigured as error:
        raise UsedWrongly(_line(error)) from None
    if runtime is None:
        raise UsedWrongly(
            f"Middle Management is not enabled for the app {app.main or 'default'!r}: name your "
            "app with -A, and set middle_management_enabled=True in its settings."
        )
    if not runtime.in_reach:
        raise UsedWrongly(
            "nobody can be hired: the tasks of the app's broker cannot be seen from elsewhere."
        )
    return runtime


def _watch_until_signal(reporter: Reporter, pools: str) -> None:
    from celery_middle_management.agents.reporter import see_off

    ending = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ending)  # to be waited for, not handled
    stop = threading.Event()
    # In a thread, for a call of Redis that hangs must not keep us from ending in time.
    watch = threading.Thread(target=_watch, args=(reporter, stop), name="mm-run", daemon=True)
    watch.start()
    logger.info("watching %s", pools)
    signal.sigwait(ending)
    stop.set()
    see_off(watch, reporter)
    logger.info("stopped watching %s", pools)


def _watch(reporter: Reporter, stop: threading.Event) -> None:
    from celery_middle_management.agents.reporter import RETRY
    from celery_middle_management.core.timing import EVALUATION_GAP

    while not stop.is_set():
        wait = RETRY
        try:
            reply = reporter.report()
            if reply is not None:
                # With a lease, it only says how long our lock lasts.
                wait = EVALUATION_GAP if reply.lease else min(reply.wait, LOOK_INTERVAL)
        except Exception:
            logger.exception("the watch goes on after an error")
        stop.wait(wait)
    reporter.leave()


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
