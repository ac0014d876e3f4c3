"""What several commands share: errors, exit statuses, and the app that ``-A`` names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click
from celery.exceptions import ImproperlyConfigured

from celery_middle_management.settings.secret import shown

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from celery_middle_management.managed_app import ManagedApp


class CouldNot(click.ClickException):
    """What was asked for could not be done."""

    exit_code = 1


class UsedWrongly(click.ClickException):
    """The command, or the app's settings, are wrong."""

    exit_code = 2


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def managed_app_of_context(ctx: click.Context) -> ManagedApp:
    """The managed app that ``-A`` names."""
    from celery_middle_management.app_setup import enabled_app_of

    try:
        managed = enabled_app_of(ctx.obj.app)
    except ImproperlyConfigured as error:
        raise UsedWrongly(line(error)) from None
    if not managed.in_reach:
        raise UsedWrongly(
            "nobody can be hired: the tasks of the app's broker cannot be seen from elsewhere."
        )
    return managed


def show(screen: RenderableType, console: Console) -> None:
    """Print it; into a file or a pipe without the blanks that fill lines up."""
    if console.is_terminal:
        console.print(screen, end="")
        return
    with console.capture() as captured:
        console.print(screen, end="")
    for text in captured.get().splitlines():
        click.echo(text.rstrip())


def redis_failed(done: str, error: Exception, managed: ManagedApp) -> CouldNot:
    """The ledger's Redis could not be *done*: read, or written."""
    where, why = shown(managed.settings.redis_url.reveal()), line(error).rstrip(".")
    return CouldNot(
        f"Redis could not be {done} ({where}): {why}. Is it up, does this process reach it, and is "
        "middle_management_redis_url, or the broker's address, right?"
    )


def no_such_pool(name: str | None, known: Iterable[str]) -> str:
    """That the pool *name* is not among the *known* ones, or that none was named."""
    what = "the pool is missing" if name is None else f"there is no pool {name!r}"
    return f"{what}; allowed: {', '.join(map(repr, known))}"


def line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
