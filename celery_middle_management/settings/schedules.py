"""A pool's schedule, as the settings describe it."""

from __future__ import annotations

from importlib.util import find_spec

from celery.exceptions import ImproperlyConfigured

from celery_middle_management.core.policies.schedule import Entry, Schedule
from celery_middle_management.settings import kinds
from celery_middle_management.settings.source import (
    Given,
    checked,
    refuse_crossed,
    refuse_unknown,
)
from celery_middle_management.settings.table import TABLE


def read_schedule(
    given: Given, zone: Given, least: Given, most: Given, where: str, *, cap: float
) -> Schedule | None:
    """Read the schedule of a pool, whose own limits are *least* and *most*, if it has one.

    *where* is the pool in words, for messages. No limit of an entry counts beyond the *cap*.
    """
    if given.value is None:
        return None
    if find_spec("cronsim") is None:
        raise ImproperlyConfigured(
            f"{given.label} needs a package that is not installed: "
            "pip install 'celery-middle-management[schedule]'"
        )
    entries = tuple(
        _entry(f"{given.label}[{number}]", entry, least, most, where)
        for number, entry in enumerate(given.value)
    )
    its_zone = checked(kinds.TIMEZONE, zone).value
    if not most.value:
        return None  # a maximum of 0 switches the pool off, whatever the time
    return Schedule(tuple(entry.within(cap) for entry in entries), its_zone)


def _entry(
    label: str, entry: dict[str, object], pools_least: Given, pools_most: Given, where: str
) -> Entry:
    """Read an entry. A limit that it leaves out is the pool's own."""
    refuse_unknown(f"{label}.", [f"{label}.{key}" for key in entry], Entry._fields)
    cron = entry.get("cron")
    if cron is None:
        raise ImproperlyConfigured(f"{label}.cron is required; allowed: {kinds.CRON.allowed}")
    limits = {
        name: checked(TABLE[name].kind, Given(f"{label}.{name}", entry[name]))
        for name in ("min_workers", "max_workers")
        if entry.get(name) is not None
    }
    if not limits:
        raise ImproperlyConfigured(
            f"{label} has no limits; allowed: min_workers, max_workers, or both"
        )
    least, most = limits.get("min_workers", pools_least), limits.get("max_workers", pools_most)
    refuse_crossed(least, most, where)
    return Entry(
        cron=checked(kinds.CRON, Given(f"{label}.cron", cron)).value,
        min_workers=least.value if most.value else 0,
        max_workers=most.value,
    )
