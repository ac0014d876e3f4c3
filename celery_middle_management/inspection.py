"""Answers what people and programs ask about a managed app. Reads only."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from celery_middle_management.app_import_path import celery_command
from celery_middle_management.brokers import broker_of
from celery_middle_management.core.history import COUNTERS, Sample, Totals
from celery_middle_management.counting.declared import named_queues
from celery_middle_management.counting.delayed import delayed_natively
from celery_middle_management.evaluation.ports import Queues
from celery_middle_management.ledger.model import Snapshot
from celery_middle_management.managed_app import ManagedApp
from celery_middle_management.views.look import Look, carried_on, look_at
from celery_middle_management.views.money import days_of, money_of
from celery_middle_management.views.status import MINUTES, sample_of, status_of
from celery_middle_management.views.timeline import timeline_of
from celery_middle_management.views.troubles import may_pass

if TYPE_CHECKING:
    from celery_middle_management.doctor import Finding
    from celery_middle_management.sim.trace import Trace

#: A process reports a task that it has published within this time (s), however busy it is.
_PUBLISHERS_REPORT_WITHIN = 2.0


def status(managed: ManagedApp) -> dict[str, Any]:
    """Return the status of every pool now. If the broker cannot be reached, it says so.

    Raises:
        redis.RedisError: the ledger cannot be read.
    """
    document = _status(managed)
    if not may_pass(document):
        return document
    time.sleep(_PUBLISHERS_REPORT_WITHIN)
    return _status(managed)


def _status(managed: ManagedApp) -> dict[str, Any]:
    app, settings, ledger = managed.app, managed.settings, managed.ledger()
    # One minute more than is shown, to know what the counters were before.
    past, (snapshot, bill) = ledger.history(MINUTES + 1), ledger.billed()
    document = status_of(
        settings,
        snapshot,
        named_queues(app),
        past,
        look=_look(managed, snapshot),
        full=ledger.full,
        celery=celery_command(app, settings.celery_app),
    )
    return document | {"money": money_of(settings, snapshot, bill)}


def daily_cost(managed: ManagedApp) -> tuple[datetime, list[dict[str, Any]]]:
    """Return the time now, and what each pool cost on each day, the earliest first.

    Raises:
        redis.RedisError: the ledger cannot be read.
    """
    snapshot, bill = managed.ledger().billed()
    now = datetime.fromisoformat(snapshot.iso(snapshot.now))
    return now, days_of(snapshot, bill)


def look(managed: ManagedApp) -> Look:
    """Count what waits in the broker now, for :func:`page_document`.

    Raises:
        redis.RedisError: the ledger cannot be read.
    """
    return _look(managed, managed.ledger().snapshot())


def _look(managed: ManagedApp, snapshot: Snapshot) -> Look:
    app, settings = managed.app, managed.settings
    broker = broker_of(app, settings, managed.ledger().redis)
    return look_at(broker, settings, snapshot, _queues(managed))


def _queues(managed: ManagedApp) -> Queues:
    return Queues(named_queues(managed.app), delayed_natively(managed.app))


def page_document(managed: ManagedApp, look: Look) -> dict[str, Any]:
    """Return what the page shows, from one call of the ledger and an earlier *look* at the broker.

    Raises:
        redis.RedisError: the ledger cannot be read.
    """
    app, settings, page = managed.app, managed.settings, managed.ledger().page()
    snapshot, queues = page.snapshot, _queues(managed)
    status = status_of(
        settings,
        snapshot,
        queues.declared,
        page.minutes,
        look=carried_on(look, settings, snapshot, queues),
        full=page.full,
        celery=celery_command(app, settings.celery_app),
    )
    pools = [pool.name for pool in settings.pools]
    now = sample_of(status, snapshot)
    return {
        "status": status,
        "history": timeline_of(pools, now, page.minutes, page.tens, snapshot.offset),
        "events": _latest_first(page.actions),
        "money": money_of(settings, snapshot, page.bill),
    }


def actions(managed: ManagedApp) -> tuple[datetime, list[dict[str, Any]]]:
    """Return the time now, and what was done or requested, the latest first.

    Raises:
        redis.RedisError: the ledger cannot be read.
    """
    ledger = managed.ledger()
    entries = _latest_first(ledger.actions())
    snapshot = ledger.snapshot()
    return datetime.fromisoformat(snapshot.iso(snapshot.now)), entries


def _latest_first(packed: Iterable[str]) -> list[dict[str, Any]]:
    """Return entries of the history, the latest first.

    An evaluation writes its entries together, at its end, but each has its own time.
    """
    entries = [json.loads(entry) for entry in packed]
    return sorted(entries, key=lambda e: datetime.fromisoformat(e["at"]), reverse=True)


def history_trace(managed: ManagedApp, pool: str, seed: int) -> Trace:
    """Return tasks like those that *pool* had in the last days, up to a week.

    Raises:
        redis.RedisError: the ledger cannot be read.
    """
    from celery_middle_management.sim.history import trace_of

    ledger = managed.ledger()
    snapshot = ledger.snapshot()
    tasks, runtime, squares = (
        snapshot.number(f"{pool}/{name}") for name in ("finished", "runtime", "runtime_squares")
    )
    variation = math.sqrt(max(tasks * squares / runtime**2 - 1, 0.0)) if runtime else 0.0
    counters = (snapshot.number(f"{pool}/{name}") for name in COUNTERS)
    now = Sample(snapshot.now, {pool: Totals(*counters)})
    return trace_of(pool, [*ledger.history(), now], variation, seed)


def examine(managed: ManagedApp) -> Iterator[Finding]:
    """Check the installation, and yield the findings."""
    from celery_middle_management.doctor import examine as examine_installation
    from celery_middle_management.doctor.installation import Installation

    return examine_installation(Installation(managed.app, managed.settings, managed.ledger()))
