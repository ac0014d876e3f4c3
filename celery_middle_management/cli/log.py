"""``celery mm log``: the history of decisions, troubles and requests by hand."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import click
from celery.bin.base import CeleryCommand

from celery_middle_management.cli.common import managed_app_of_context, redis_failed
from celery_middle_management.cli.cost import day_line
from celery_middle_management.cli.duration import Duration
from celery_middle_management.views.words import span

if TYPE_CHECKING:
    from celery_middle_management.managed_app import ManagedApp

#: The maximum number of entries shown without ``--since``.
LATEST = 100


@click.command(cls=CeleryCommand)
@click.option(
    "--since",
    type=Duration(),
    help=f"How far back: 90s, 10m, 2h, 1d. Default: the latest {LATEST} entries.",
)
@click.option("--cost", is_flag=True, help="Show what each pool has cost each day (UTC) instead.")
@click.option("--json", "as_json", is_flag=True, help="Print each entry as a line of JSON.")
@click.pass_context
def log(ctx: click.Context, since: float | None, cost: bool, as_json: bool) -> None:
    """Show decisions, troubles and requests by hand, or the cost.

    The oldest entry comes first. The ledger keeps the last 1,000 entries, until a week after the
    app was last active, and the cost of 62 days. The first of these may be known in part only:
    mm status says since when.
    """
    from celery_middle_management.app_setup import look_only

    look_only()
    managed = managed_app_of_context(ctx)
    if cost:
        _show_cost(managed, since, as_json=as_json)
    else:
        _show_actions(managed, since, as_json=as_json)


def _show_cost(managed: ManagedApp, since: float | None, *, as_json: bool) -> None:
    import redis

    from celery_middle_management import inspection

    try:
        now, days = inspection.daily_cost(managed)
    except (redis.RedisError, OSError) as error:
        raise redis_failed("read", error, managed) from None
    first = "" if since is None else (now - timedelta(seconds=since)).date().isoformat()
    shown = [day for day in days if day["day"] >= first]
    priced = managed.settings.platform == "heroku"
    for day in shown:
        click.echo(json.dumps(day) if as_json else day_line(day, priced=priced))
    if not shown:
        click.echo("No entries.", err=True)


def _show_actions(managed: ManagedApp, since: float | None, *, as_json: bool) -> None:
    import redis

    from celery_middle_management import inspection

    try:
        now, entries = inspection.actions(managed)
    except (redis.RedisError, OSError) as error:
        raise redis_failed("read", error, managed) from None
    shown = entries[:LATEST] if since is None else _since(entries, now - timedelta(seconds=since))
    # In a pipe, each entry is one line; on a terminal, it is wrapped to the width.
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for entry in reversed(shown):
        click.echo(json.dumps(entry) if as_json else log_line(entry, width))
    if not shown:
        click.echo("No entries.", err=True)
    if since is None and len(shown) < len(entries):
        click.echo(
            f"The latest {LATEST} of {len(entries)} entries; --since 7d shows all of them.",
            err=True,
        )


def log_line(entry: Mapping[str, Any], width: int | None = None) -> str:
    """Format an entry of the history as a line, wrapped and indented if a *width* is given."""
    at = _time(entry["at"])
    would = "would " if entry.get("dry_run") else ""
    parts = [entry["pool"] or "all pools", f"{would}{entry['action']}"]
    if entry["action"] == "pause":
        parts.append(" and ".join(what for what in ("hires", "fires") if entry.get(what)))
    if "to" in entry:
        parts.append(f"{entry['from']} -> {entry['to']}")
    if entry.get("until"):
        parts.append(f"until {_time(entry['until'])}")
    if "lasted" in entry:
        parts.append(f"after {span(entry['lasted'])}")
    if "by" in entry:
        parts.append(f"by {entry['by']}")
    if "reason" in entry:
        # The entry that ends a trouble shows its first sentence; the one that began it shows all.
        parts.append(entry["reason"].partition(". ")[0] if "lasted" in entry else entry["reason"])
    text = "  ".join([at, *parts])
    if width is None:
        return text
    return textwrap.fill(
        text,
        max(width, 40),
        subsequent_indent=" " * (len(at) + 2),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _time(at: str) -> str:
    return f"{datetime.fromisoformat(at):%Y-%m-%d %H:%M:%SZ}"


def _since(entries: Iterable[dict[str, Any]], start: datetime) -> list[dict[str, Any]]:
    return [entry for entry in entries if datetime.fromisoformat(entry["at"]) >= start]
