"""What the admin's panel shows: the document of ``mm status`` in the words of a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from celery.exceptions import ImproperlyConfigured

from celery_middle_management.app_setup import enabled_app_of
from celery_middle_management.views.words import span
from celery_middle_management.web.django.managed import celery_app
from celery_middle_management.web.latest_status import KEPT, read_status
from celery_middle_management.web.problem import problem_of

Document = Mapping[str, Any]

#: A visitor waits this long (s) at most if something is known, and if nothing is.
_PATIENCE, _FIRST_PATIENCE = 4.0, 5.0


def panel() -> dict[str, Any]:
    """Return what the template needs; a sentence, ``failed``, if it cannot be known."""
    try:
        managed = enabled_app_of(celery_app())
    except ImproperlyConfigured as error:
        return {"failed": str(error)}
    # Anew: the visitor may just have pressed a button of the live page.
    reading = read_status(managed, _PATIENCE, _FIRST_PATIENCE, anew=True)
    # The status is made of what both say.
    problem = problem_of(reading, managed.settings, _PATIENCE, "Redis or the broker")
    if problem is None and reading.value is not None:
        return panel_of(reading.value)
    problem = problem or "Redis has not answered yet"
    said = f"{problem[0].upper()}{problem[1:].rstrip('.')}."
    if reading.value is None or reading.age >= KEPT:
        return {"failed": said}
    return panel_of(reading.value) | {"problem": f"{said} What you see is {span(reading.age)} old."}


def panel_of(document: Document) -> dict[str, Any]:
    """Return the lines and the table of the panel."""
    now = datetime.fromisoformat(document["at"])
    return {
        "troubles": [_trouble(each, now) for each in document["trouble"]],
        "notes": list(_notes(document)),
        "pools": [_pool(each, now) for each in document["pools"]],
    }


def _trouble(trouble: Document, now: datetime) -> str:
    whose = f"{trouble['pool']}: " if trouble["pool"] else ""
    since = f" (for {_since(trouble['since'], now)})" if trouble["since"] else ""
    return f"{whose}{trouble['what']}{since}"


def _notes(document: Document) -> Iterator[str]:
    if document["dry_run"]:
        yield "Dry run: decisions are recorded but not carried out."
    if pause := document["pause"]:
        which = " and ".join(f"no {what}" for what in ("hires", "fires") if pause[what])
        yield f"Paused: {which}, by {pause['by']}."
    if why := document["inactive"]:
        yield f"Inactive: this process neither hires nor fires, because {why}."


def _pool(pool: Document, now: datetime) -> dict[str, Any]:
    workers, tasks, last = pool["workers"], pool["tasks"], pool["last_action"]
    current = workers["current"]
    return {
        "name": pool["name"],
        "workers": "?" if current is None else current,
        "needed": workers["needed"],
        "limits": f"{workers['min']} to {workers['max']}",
        "draining": len(workers["draining"]),
        "waiting": tasks["waiting"],
        "running": tasks["running"],
        "scheduled": tasks["scheduled"],
        "last": last and _last(last, now),
    }


def _last(action: Document, now: datetime) -> str:
    change = f" {action['from']} → {action['to']}" if {"from", "to"} <= action.keys() else ""
    why = f": {action['reason']}" if action.get("reason") else ""
    return f"{action['action']}{change}, {_since(action['at'], now)} ago{why}"


def _since(at: str, now: datetime) -> str:
    return span(max((now - datetime.fromisoformat(at)).total_seconds(), 0.0))
