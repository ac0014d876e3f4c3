"""Shared by the commands: errors, exit statuses, output, and the app that ``-A`` names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click
from celery.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from celery_middle_management.managed_app import ManagedApp


class CouldNot(click.ClickException):
    """The command failed."""

    exit_code = 1


class UsedWrongly(click.ClickException):
    """The arguments of the command, or the app's settings, are wrong."""

    exit_code = 2


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def managed_app_of_context(ctx: click.Context) -> ManagedApp:
    """Return the managed app that ``-A`` names.

    Raises:
        UsedWrongly: the app is not managed, or not from here.
    """
    from celery_middle_management.app_setup import enabled_app_of

    try:
        managed = enabled_app_of(ctx.obj.app)
    except ImproperlyConfigured as error:
        raise UsedWrongly(one_line(error)) from None
    if not managed.in_reach:
        raise UsedWrongly(
            "no worker can be hired: the app's broker keeps its tasks in this process or machine"
        )
    return managed


def show(screen: RenderableType, console: Console) -> None:
    """Print *screen*; into a file or a pipe, without trailing blanks."""
    if console.is_terminal:
        console.print(screen, end="")
        return
    with console.capture() as captured:
        console.print(screen, end="")
    for text in captured.get().splitlines():
        click.echo(text.rstrip())


def redis_failed(done: str, error: Exception, managed: ManagedApp) -> CouldNot:
    """The error to raise if the ledger's Redis could not be *done*: "read" or "written"."""
    from celery_middle_management.views import remedies

    return CouldNot(remedies.redis_failed(done, error, managed.settings))


def no_such_pool(name: str | None, known: Iterable[str]) -> str:
    """Say that the pool *name* is not one of the *known* ones, or that the name is missing."""
    what = "name a pool" if name is None else f"there is no pool {name!r}"
    return f"{what}; allowed: {', '.join(map(repr, known))}"


def one_line(error: BaseException) -> str:
    """The message of *error* on one line, or its type if it has none."""
    return " ".join(str(error).split()) or type(error).__name__
