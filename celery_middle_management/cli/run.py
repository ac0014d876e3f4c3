"""``celery mm run``: a process that does nothing but hire and fire."""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any

import click
from celery.bin.base import CeleryCommand

from celery_middle_management import threads
from celery_middle_management.cli.common import CouldNot, UsedWrongly, line, managed_app_of_context

if TYPE_CHECKING:
    from celery_middle_management.ledger.redis import RedisLedger
    from celery_middle_management.reporting.reporter import Evaluator, Reporter

logger = logging.getLogger("celery_middle_management")

#: It looks at the ledger at least this often (s), whatever else does.
LOOK_INTERVAL = 5.0
#: In a dry run nothing tells it when to look (s).
DRY_INTERVAL = 10.0


@click.command(cls=CeleryCommand)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Decide and log, and change nothing, whatever other processes of the app do.",
)
@click.pass_context
def run(ctx: click.Context, dry_run: bool) -> None:
    """Keep watch, hire and fire, until SIGTERM or Ctrl-C.

    Needed only where scheduled tasks shall wake a pool of 0 workers while no process of the app
    is alive. Logs to standard error what it decides, and what other processes of the app do.
    """
    from celery_middle_management.platforms import PlatformError

    managed = managed_app_of_context(ctx)
    if managed.settings.why_inactive:
        raise UsedWrongly(managed.settings.why_inactive)
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    logger.setLevel(logging.INFO)
    pools = ", ".join(pool.name for pool in managed.settings.pools)
    try:
        if dry_run:
            scaler = managed.dry_scaler()
            _until_signal(lambda stop: _watch_dry(scaler, stop), f"{pools}, in a dry run")
            return
        reporter, ledger = managed.reporter(), managed.ledger()
        reporter.prepare()
    except PlatformError as error:
        raise CouldNot(line(error)) from None
    _until_signal(lambda stop: _watch(reporter, ledger, stop), pools, reporter)


def _until_signal(
    watch: Callable[[threading.Event], None], pools: str, reporter: Reporter | None = None
) -> None:
    """Have a thread *watch* until SIGTERM or SIGINT, and its *reporter* leave in time."""
    from celery_middle_management.reporting.reporter import see_off

    ending = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ending)  # to be waited for, not handled
    stop = threading.Event()
    # In a thread, for a call of Redis that hangs must not keep us from ending in time.
    thread = threads.start("mm-run", watch, stop)
    logger.info("watching %s", pools)
    signal.sigwait(ending)
    stop.set()
    if reporter is not None:
        see_off(thread, reporter)
    logger.info("stopped watching %s", pools)


def _watch_dry(scaler: Evaluator, stop: threading.Event) -> None:
    from celery_middle_management.ledger.model import Lease

    while not stop.is_set():
        scaler.evaluate(Lease("", monotonic()))
        stop.wait(DRY_INTERVAL)


def _watch(reporter: Reporter, ledger: RedisLedger, stop: threading.Event) -> None:
    from celery_middle_management.core.timing import EVALUATION_GAP
    from celery_middle_management.reporting.reporter import RETRY

    while not stop.is_set():
        wait = RETRY
        try:
            reply = reporter.report()
            if reply is not None:
                # With a lease, it only says how long our lock lasts.
                wait = EVALUATION_GAP if reply.lease else min(reply.wait, LOOK_INTERVAL)
            _tell_news(ledger)
        except Exception:
            logger.exception("the watch goes on after an error")
        stop.wait(wait)
    reporter.leave()


def _tell_news(ledger: RedisLedger) -> None:
    """Log what other processes have decided or met, and what people asked for."""
    import redis

    try:
        news = ledger.news()
    except (redis.RedisError, OSError):
        return  # the report says so
    for entry in map(json.loads, news):
        level = logging.WARNING if entry["action"] == "trouble" else logging.INFO
        logger.log(level, "%s", said(entry))


def said(entry: Mapping[str, Any]) -> str:
    """An entry of the history as a log has it: with keys and values."""
    keys = ("pool", "from", "to", "hires", "fires", "until", "lasted", "by", "reason")
    would = "would " if entry.get("dry_run") else ""
    values = {key: entry[key] for key in keys if entry.get(key) is not None}
    told = (f"{k}={json.dumps(v) if k == 'reason' else v}" for k, v in values.items())
    return f"{would}{entry['action']} {' '.join(told)}".rstrip()
