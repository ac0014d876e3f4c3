"""What several commands share: errors, exit statuses, and the app that ``-A`` names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from celery.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from celery_middle_management.runtime import Runtime


class CouldNot(click.ClickException):
    """What was asked for could not be done."""

    exit_code = 1


class UsedWrongly(click.ClickException):
    """The command, or the app's settings, are wrong."""

    exit_code = 2


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def runtime_of_context(ctx: click.Context) -> Runtime:
    """The runtime of the app that ``-A`` names."""
    from celery_middle_management.apps import enabled_runtime_of

    try:
        runtime = enabled_runtime_of(ctx.obj.app)
    except ImproperlyConfigured as error:
        raise UsedWrongly(line(error)) from None
    if not runtime.in_reach:
        raise UsedWrongly(
            "nobody can be hired: the tasks of the app's broker cannot be seen from elsewhere."
        )
    return runtime


def line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
