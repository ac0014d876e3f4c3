"""``celery mm log``: what was decided, went wrong, and was asked for, and why."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import click
from celery.bin.base import CeleryCommand

from celery_middle_management.cli.common import managed_app_of_context, redis_failed
from celery_middle_management.cli.duration import Duration
from celery_middle_management.views.words import span

#: So many entries are shown where it is not said since when.
LATEST = 100


@click.command(cls=CeleryCommand)
@click.option(
    "--since", type=Duration(), help=f"Such as 90s, 10m, 2h, 1d ago; default: the latest {LATEST}."
)
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each.")
@click.pass_context
def log(ctx: click.Context, since: float | None, as_json: bool) -> None:
    """Show what was decided, what went wrong and for how long, and what people asked for, and why.

    The oldest comes first. The last 1,000 are kept, for a week after the last sign of life.
    """
    import redis

    from celery_middle_management import inspection
    from celery_middle_management.app_setup import look_only

    look_only()
    managed = managed_app_of_context(ctx)
    try:
        now, entries = inspection.actions(managed)
    except (redis.RedisError, OSError) as error:
        raise redis_failed("read", error, managed) from None
    shown = entries[:LATEST] if since is None else _later(entries, now - timedelta(seconds=since))
    # A program gets a line for each entry, a person what fits the screen.
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for entry in reversed(shown):
        click.echo(json.dumps(entry) if as_json else told(entry, width))
    if not shown:
        click.echo("Nothing was decided, went wrong or was asked for.", err=True)
    if since is None and len(shown) < len(entries):
        click.echo(f"The latest {LATEST} of {len(entries)}; --since 7d shows them all.", err=True)


def told(entry: Mapping[str, Any], width: int | None = None) -> str:
    """One entry of the history, as a line; beyond a *width* it goes on below, indented."""
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
        # What was wrong was told when it began: its first sentence tells which it was.
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


def _time(told: str) -> str:
    return f"{datetime.fromisoformat(told):%Y-%m-%d %H:%M:%SZ}"


def _later(entries: Iterable[dict[str, Any]], than: datetime) -> list[dict[str, Any]]:
    return [entry for entry in entries if datetime.fromisoformat(entry["at"]) >= than]
