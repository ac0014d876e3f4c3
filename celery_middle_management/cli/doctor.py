"""``celery mm doctor``: what is wrong in this installation, and how to mend it."""

from __future__ import annotations

import json

import click
from celery.bin.base import CeleryCommand

from celery_middle_management.cli.common import json_option, managed_app_of_context, show


@click.command(cls=CeleryCommand)
@json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Check this installation and say how to mend it.

    Changes nothing. Exit status 1 means that something must be mended. On Heroku, run it in a
    one-off dyno, which has the app's config vars: heroku run celery -A proj mm doctor
    """
    from celery_middle_management import inspection
    from celery_middle_management.doctor import FAILURE

    findings = list(inspection.examine(managed_app_of_context(ctx)))
    if as_json:
        click.echo(json.dumps([finding._asdict() for finding in findings], indent=2))
    else:
        from rich.console import Console

        from celery_middle_management.cli.doctor_screen import doctor_screen

        show(doctor_screen(findings), Console(no_color=ctx.obj.no_color or None))
    if any(finding.level == FAILURE for finding in findings):
        ctx.exit(1)
