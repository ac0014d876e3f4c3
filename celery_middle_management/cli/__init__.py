"""``celery mm …``: the commands that the package adds to ``celery``.

Errors go to standard error; the exit status is 1 if a command failed, 2 if it was used wrongly.
Every ``celery`` command, even a worker, loads this module, so functions import what few need.
"""

from __future__ import annotations

from typing import Any

import click

from celery_middle_management.cli.doctor import doctor
from celery_middle_management.cli.log import log
from celery_middle_management.cli.manual_scaling import fire, hire, pause, resume
from celery_middle_management.cli.run import run
from celery_middle_management.cli.simulate import simulate

# Also registers the task of `mm slack` in every worker, since every `celery` command loads this.
from celery_middle_management.cli.slack import slack
from celery_middle_management.cli.status import status
from celery_middle_management.cli.web import web


@click.group()
def mm(**preload_options: Any) -> None:
    """Middle Management: hire and fire the workers of this app."""


for command in (status, doctor, run, log, pause, resume, hire, fire, simulate, slack, web):
    mm.add_command(command)
