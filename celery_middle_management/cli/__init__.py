"""``celery mm …``: what the package adds to the ``celery`` command.

Errors go to standard error; the exit status is 1 for "could not", 2 for "used wrongly". Every
``celery`` command loads this module, workers among them, so what only some need is imported there.
"""

from __future__ import annotations

from typing import Any

import click

from celery_middle_management.cli.doctor import doctor
from celery_middle_management.cli.log import log
from celery_middle_management.cli.manual_scaling import fire, hire, pause, resume
from celery_middle_management.cli.run import run

# Also registers the task of `mm slack` in every worker, since every `celery` command loads this.
from celery_middle_management.cli.slack import slack
from celery_middle_management.cli.status import status


@click.group()
def mm(**preload_options: Any) -> None:
    """Middle Management: the workers that hire and fire themselves."""


for command in (status, doctor, run, log, pause, resume, hire, fire, slack):
    mm.add_command(command)
