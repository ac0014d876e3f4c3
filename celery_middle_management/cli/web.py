"""``celery mm web``: the page, for the people on this machine."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any
from urllib.parse import quote

import click
from celery.bin.base import CeleryCommand
from celery.exceptions import ImproperlyConfigured

from celery_middle_management.cli.common import (
    CouldNot,
    UsedWrongly,
    managed_app_of_context,
    one_line,
)


class _Port(click.IntRange):
    """The number of a port."""

    name = "port"

    def __init__(self) -> None:
        super().__init__(0, 65535)

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        """Read it, or say what is allowed."""
        try:
            return int(super().convert(value, param, ctx))
        except click.BadParameter:
            self.fail(f"{value!r} is not a number from 0 to 65535", param, ctx)


@click.command(cls=CeleryCommand)
@click.option(
    "--port",
    type=_Port(),
    default=8765,
    show_default=True,
    help="Where to listen on 127.0.0.1; 0: on any port that is free.",
)
@click.pass_context
def web(ctx: click.Context, port: int) -> None:
    """Serve the live page to this machine, until SIGTERM or Ctrl-C.

    Prints the address to open, with a token without which nothing is shown. Prometheus sends it as
    `Authorization: Bearer TOKEN`; MM_WEB_TOKEN in the environment fixes it (20 letters and digits
    at least). To show the page to others, mount it in your web app, behind its login:
    celery_middle_management.web.Page(app, visitor).
    """
    from celery_middle_management.app_setup import look_only
    from celery_middle_management.ledger.manual_scaling import me
    from celery_middle_management.web.extra import NEEDED, require
    from celery_middle_management.web.server import HOST, TOKEN_VARIABLE, make_server, token_of

    look_only()
    managed = managed_app_of_context(ctx)
    try:
        require(*NEEDED, "waitress")
        token = token_of(os.environ)
    except (ImproperlyConfigured, ValueError) as error:
        raise UsedWrongly(one_line(error)) from None
    try:
        server = make_server(managed.app, port, token, me())
    except OSError as error:
        raise CouldNot(f"cannot listen on {HOST}:{port}: {one_line(error)}") from None
    # A token that the environment fixes lasts, and this output may become part of a log.
    fixed = TOKEN_VARIABLE in os.environ
    shown = f"${TOKEN_VARIABLE}" if fixed else quote(token.reveal(), safe="")
    click.echo(f"http://{HOST}:{server.effective_port}/?token={shown}")
    sys.stdout.flush()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        server.run()
    finally:
        server.close()
