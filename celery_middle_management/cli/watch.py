"""``celery mm status --watch``: shown anew, until Ctrl-C or until nothing is left to do."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from typing import Any

from click import ClickException
from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from celery_middle_management.cli.common import show
from celery_middle_management.cli.status_screen import status_screen

#: Seconds between two looks.
INTERVAL = 2.0

Document = Mapping[str, Any]


def watch_status(
    status: Callable[[], Document],
    until: Callable[[Document], bool],
    *,
    full: bool,
    no_color: bool,
) -> bool:
    """Show what *status* returns, in *full* or not, until Ctrl-C or *until* is true of it.

    Also when it could not be had for a while. Returns whether all was well at the end.
    """
    console = Console(no_color=no_color or None)
    last: RenderableType = ""
    calm = True
    # Noted, that it interrupts nothing at a bad moment, where it may be lost.
    interrupts: list[int] = []

    def follow(display: Callable[[RenderableType], None]) -> None:
        nonlocal last, calm
        over = False
        while not (over or interrupts):
            try:
                document = status()
            except ClickException as error:
                last, calm = Text(f"WRONG  {error.message}\n", style="bold red"), False
            else:
                last, over = status_screen(document, full=full), until(document)
                calm = not document["trouble"]
            display(last)
            again = time.monotonic() + INTERVAL
            while not (over or interrupts) and time.monotonic() < again:
                time.sleep(0.1)

    before = signal.signal(signal.SIGINT, lambda number, _: interrupts.append(number))
    try:
        if not console.is_terminal:
            follow(lambda screen: show(screen, console))
            return calm
        with Live(console=console, auto_refresh=False, screen=True) as live:
            follow(lambda screen: live.update(screen, refresh=True))
        # The screen that it was on is gone.
        console.print(last, end="")
        return calm
    finally:
        signal.signal(signal.SIGINT, before)
