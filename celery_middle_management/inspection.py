"""Answers what people and programs ask about a managed app. Reads only."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from celery_middle_management.app_import_path import celery_command
from celery_middle_management.brokers import broker_of
from celery_middle_management.counting.declared import named_queues
from celery_middle_management.counting.delayed import delayed_natively
from celery_middle_management.evaluation.ports import Queues
from celery_middle_management.managed_app import ManagedApp
from celery_middle_management.views.look import look_at
from celery_middle_management.views.money import days_of, money_of
from celery_middle_management.views.status import MINUTES, status_of
from celery_middle_management.views.troubles import may_pass

if TYPE_CHECKING:
    from celery_middle_management.doctor import Finding

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
    declared = named_queues(app)
    # One minute more than is shown, to know what the counters were before.
    past, snapshot = ledger.history(MINUTES + 1), ledger.snapshot()
    broker = broker_of(app, settings, ledger.redis)
    look = look_at(broker, settings, snapshot, Queues(declared, delayed_natively(app)))
    document = status_of(
        settings,
        snapshot,
        declared,
        past,
        look=look,
        full=ledger.full,
        celery=celery_command(app, settings.celery_app),
    )
    return document | {"money": money_of(settings, snapshot, ledger.bill())}


def daily_cost(managed: ManagedApp) -> tuple[datetime, list[dict[str, Any]]]:
    """Return the time now, and what each pool cost on each day, the earliest first.

    Raises:
        redis.RedisError: the ledger cannot be read.
    """
    ledger = managed.ledger()
    snapshot = ledger.snapshot()
    now = datetime.fromisoformat(snapshot.iso(snapshot.now))
    return now, days_of(snapshot, ledger.bill())


def actions(managed: ManagedApp) -> tuple[datetime, list[dict[str, Any]]]:
    """Return the time now, and what was done or requested, the latest first.

    Raises:
        redis.RedisError: the ledger cannot be read.
    """
    ledger = managed.ledger()
    entries = [json.loads(entry) for entry in ledger.actions()]
    # An evaluation writes its entries together, at its end, but each has its own time.
    entries.sort(key=lambda entry: datetime.fromisoformat(entry["at"]), reverse=True)
    snapshot = ledger.snapshot()
    return datetime.fromisoformat(snapshot.iso(snapshot.now)), entries


def examine(managed: ManagedApp) -> Iterator[Finding]:
    """Check the installation, and yield the findings."""
    from celery_middle_management.doctor import examine as examine_installation
    from celery_middle_management.doctor.installation import Installation

    return examine_installation(Installation(managed.app, managed.settings, managed.ledger()))
