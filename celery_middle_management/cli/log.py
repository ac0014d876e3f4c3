"""``celery mm log``: what was decided, and asked for, and why."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import click
from celery.bin.base import CeleryCommand

from celery_middle_management.cli.common import CouldNot, line, runtime_of_context
from celery_middle_management.cli.duration import Duration


@click.command(cls=CeleryCommand)
@click.option("--since", type=Duration(), help="Such as 90s, 10m, 2h, 1d ago; default: all.")
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each.")
@click.pass_context
def log(ctx: click.Context, since: float | None, as_json: bool) -> None:
    """Show what was decided, and why: the latest 100 hires, fires, and what people asked for."""
    import redis

    from celery_middle_management.apps import look_only

    look_only()
    runtime = runtime_of_context(ctx)
    try:
        now, entries = runtime.actions()
    except (redis.RedisError, OSError) as error:
        raise CouldNot(f"Redis could not be read: {line(error)}") from None
    for entry in _later(entries, None if since is None else now - timedelta(seconds=since)):
        click.echo(json.dumps(entry) if as_json else told(entry))


def told(entry: Mapping[str, Any]) -> str:
    """One entry of the history, as a line."""
    at = datetime.fromisoformat(entry["at"]).strftime("%Y-%m-%d %H:%M:%S")
    would = "would " if entry.get("dry_run") else ""
    parts = [at, entry["pool"] or "all pools", f"{would}{entry['action']}"]
    if entry["action"] == "pause":
        parts.append(" and ".join(what for what in ("hires", "fires") if entry.get(what)))
    if "to" in entry:
        parts.append(f"{entry['from']} -> {entry['to']}")
    if entry.get("until"):
        parts.append(f"until {datetime.fromisoformat(entry['until']):%Y-%m-%d %H:%M:%S}")
    if "by" in entry:
        parts.append(f"by {entry['by']}")
    return "  ".join([*parts, *([entry["reason"]] if "reason" in entry else [])])


def _later(entries: list[dict[str, Any]], than: datetime | None) -> Iterator[dict[str, Any]]:
    """Those later *than* a time, the oldest first."""
    for entry in reversed(entries):
        if than is None or datetime.fromisoformat(entry["at"]) >= than:
            yield entry
