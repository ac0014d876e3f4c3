"""``celery mm run``: a process that only hires and fires."""

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
from celery_middle_management.cli.common import (
    CouldNot,
    UsedWrongly,
    managed_app_of_context,
    one_line,
)

if TYPE_CHECKING:
    from celery_middle_management.ledger.new_entries import NewEntries
    from celery_middle_management.ledger.redis import RedisLedger
    from celery_middle_management.managed_app import ManagedApp
    from celery_middle_management.reporting.reporter import Evaluator, Reporter
    from celery_middle_management.web.metrics_server import MetricsServer

logger = logging.getLogger("celery_middle_management")

#: The process reports to the ledger at least this often (s), even if other processes do so too.
LOOK_INTERVAL = 5.0
#: A dry run does not report, and evaluates this often (s).
DRY_INTERVAL = 10.0


@click.command(cls=CeleryCommand)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Only log decisions, and change nothing. Other processes of the app go on as usual.",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    help="Serve metrics for Prometheus at /metrics on this port; 0: on any that is free.",
)
@click.option(
    "--metrics-host",
    help="The address to serve them on, such as 0.0.0.0 for other machines. Default: 127.0.0.1",
)
@click.pass_context
def run(
    ctx: click.Context, dry_run: bool, metrics_port: int | None, metrics_host: str | None
) -> None:
    """Hire and fire until SIGTERM or Ctrl-C.

    Needed only if scheduled tasks must wake a pool of 0 workers while no other process of the app
    is alive. Logs its decisions, and those of other processes, to standard error.
    """
    from celery_middle_management.platforms import PlatformError

    managed = managed_app_of_context(ctx)
    if managed.settings.why_inactive:
        raise UsedWrongly(managed.settings.why_inactive)
    server = _metrics_server(managed, metrics_host, metrics_port)
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    logger.setLevel(logging.INFO)
    pools = ", ".join(pool.name for pool in managed.settings.pools)
    try:
        if dry_run:
            scaler = managed.dry_scaler()
            _until_signal(lambda stop: _watch_dry(scaler, stop), f"{pools}, in a dry run", server)
            return
        reporter, ledger = managed.reporter(), managed.ledger()
        reporter.prepare()
    except PlatformError as error:
        raise CouldNot(one_line(error)) from None
    _until_signal(lambda stop: _watch(reporter, ledger, stop), pools, server, reporter)


def _metrics_server(
    managed: ManagedApp, host: str | None, port: int | None
) -> MetricsServer | None:
    """Return a server that listens at *port*; None without one."""
    if port is None:
        if host is not None:
            raise UsedWrongly("--metrics-host needs --metrics-port")
        return None
    try:
        from celery_middle_management.web.metrics_server import MetricsServer
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "prometheus_client":
            raise
        raise CouldNot(
            "--metrics-port needs prometheus_client: "
            "pip install 'celery-middle-management[metrics]'"
        ) from None
    host = host or "127.0.0.1"
    try:
        return MetricsServer(managed, host, port)
    except (OSError, UnicodeError) as error:  # UnicodeError: a name that no host can have
        why = getattr(error, "strerror", None) or one_line(error)
        raise CouldNot(f"metrics cannot be served at port {port} of {host}: {why}") from None


def _until_signal(
    watch: Callable[[threading.Event], None],
    pools: str,
    server: MetricsServer | None,
    reporter: Reporter | None = None,
) -> None:
    """Run *watch* in a thread until SIGTERM or SIGINT; then let its *reporter* leave."""
    from celery_middle_management.reporting.reporter import wait_for_last_report

    ending = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ending)  # sigwait below takes them
    stop = threading.Event()
    # A call to Redis may hang; in a thread, it cannot keep this process from ending in time.
    thread = threads.start("mm-run", watch, stop)
    logger.info("watching %s", pools)
    if server is not None:
        server.start()
        logger.info("metrics at %s", server.url)
    signal.sigwait(ending)
    stop.set()
    if reporter is not None:
        wait_for_last_report(thread, reporter)
    logger.info("stopped watching %s", pools)


def _watch_dry(scaler: Evaluator, stop: threading.Event) -> None:
    from celery_middle_management.ledger.model import Lease

    while not stop.is_set():
        scaler.evaluate(Lease("", monotonic()))
        stop.wait(DRY_INTERVAL)


def _watch(reporter: Reporter, ledger: RedisLedger, stop: threading.Event) -> None:
    from celery_middle_management.core.timing import EVALUATION_GAP
    from celery_middle_management.ledger.new_entries import NewEntries
    from celery_middle_management.reporting.reporter import RETRY

    entries = NewEntries(ledger)
    while not stop.is_set():
        wait = RETRY
        try:
            reply = reporter.report()
            if reply is not None:
                # With a lease, the reply's wait only tells how long the lock lasts.
                wait = EVALUATION_GAP if reply.lease else min(reply.wait, LOOK_INTERVAL)
            _log_new(entries)
        except Exception:
            logger.exception("mm run goes on after an error")
        stop.wait(wait)
    reporter.leave()


def _log_new(entries: NewEntries) -> None:
    """Log the decisions and troubles of other processes, and requests by hand."""
    import redis

    try:
        new = entries.read()
    except (redis.RedisError, OSError):
        return  # the report logs it
    for entry in map(json.loads, new):
        level = logging.WARNING if entry["action"] == "trouble" else logging.INFO
        logger.log(level, "%s", key_value_line(entry))


def key_value_line(entry: Mapping[str, Any]) -> str:
    """Format an entry of the history as a log line of keys and values."""
    keys = ("pool", "from", "to", "hires", "fires", "until", "lasted", "by", "reason")
    would = "would " if entry.get("dry_run") else ""
    values = {key: entry[key] for key in keys if entry.get(key) is not None}
    pairs = (f"{k}={json.dumps(v) if k == 'reason' else v}" for k, v in values.items())
    return f"{would}{entry['action']} {' '.join(pairs)}".rstrip()
